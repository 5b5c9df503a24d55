"""Scores an answer against what is known to be right; each score is between 0 and 1, and higher is better.

A question without references can't be answered: refusing is right then, and everything else wrong, as in
SQuAD 2.0 (Rajpurkar et al. 2018).
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

from markgraph.errors import MissingExtraError
from markgraph.validation.drafts import marks_of, without_marks
from markgraph.validation.refusals import is_refusal

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return `text` as SQuAD compares it: in lower case, without marks, punctuation and articles."""
    bare = without_marks(text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """Return whether the answer is one of the references, after SQuAD's normalisation."""
    return _best(answer, references, lambda said, right: float(normalised(said) == normalised(right)))


def contains(answer: str, references: Sequence[str]) -> float:
    """Return whether a reference is in the answer word for word, whatever is around it."""
    return _best(
        answer, references, lambda said, right: float(f" {normalised(right)} " in f" {normalised(said)} ")
    )


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Return the best F1 of the answer's words with those of a reference (SQuAD 1.1, section 6.1)."""
    return _best(answer, references, _f1)


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """Return the best F of the longest common subsequence with a reference (Lin 2004).

    Raises:
        MissingExtraError: `rouge-score` is not installed.
    """
    scorer = _rouge()
    return _best(answer, references, lambda said, right: float(scorer.score(right, said)["rougeL"].fmeasure))


def bleu(answer: str, references: Sequence[str]) -> float:
    """Return sentence BLEU with the references, smoothed (Papineni et al. 2002).

    Raises:
        MissingExtraError: `sacrebleu` is not installed.
    """
    score = _sacrebleu()
    if not references or is_refusal(answer):
        return float(not references and is_refusal(answer))
    return min(1.0, float(score(without_marks(answer), list(references)).score) / 100)


def refusal(answer: str, references: Sequence[str]) -> float:
    """Return whether the answer refuses where it should, and nowhere else."""
    return float(is_refusal(answer) is not bool(references))


def citation_precision(answer: str, gold: Collection[int]) -> float:
    """Return the share of the passages it cites that hold the answer.

    Args:
        gold: the passages that do, from 1; none where there is no answer.
    """
    if not gold:
        return float(is_refusal(answer))
    cited = set(marks_of(answer))
    return len(cited.intersection(gold)) / len(cited) if cited else 0.0


def citation_recall(answer: str, gold: Collection[int]) -> float:
    """Return the share of the passages that hold the answer which it cites."""
    if not gold:
        return float(is_refusal(answer))
    return len(set(gold).intersection(marks_of(answer))) / len(set(gold))


def require_scorers() -> None:
    """Refuse to begin where a score can't be computed.

    Raises:
        MissingExtraError: what computes ROUGE or BLEU is not installed.
    """
    _rouge()
    _sacrebleu()


def _best(answer: str, references: Sequence[str], score: Callable[[str, str], float]) -> float:
    """Return the best score with a reference; a refusal is right only where there is none."""
    if not references or is_refusal(answer):
        return float(not references and is_refusal(answer))
    said = without_marks(answer).strip()
    return max(score(said, reference) for reference in references)


def _f1(said: str, right: str) -> float:
    got, wanted = Counter(normalised(said).split()), Counter(normalised(right).split())
    common = (got & wanted).total()
    if not common:
        return float(not got and not wanted)
    precision, recall = common / got.total(), common / wanted.total()
    return 2 * precision * recall / (precision + recall)


@cache
def _rouge() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise _missing("rouge-score") from error
    return RougeScorer(["rougeL"], tokenizer=_Words())


class _Words:
    """Finds the words of any script; those in ASCII are what rouge-score's own tokenizer finds."""

    def tokenize(self, text: str) -> list[str]:
        """Return the runs of letters, their marks, and digits, in lower case."""
        composed = unicodedata.normalize("NFC", text.lower())
        return "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in composed).split()


@cache
def _sacrebleu() -> Any:
    try:
        from sacrebleu import BLEU
    except ImportError as error:
        raise _missing("sacrebleu") from error
    return BLEU(effective_order=True).sentence_score


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(
        f"This score is computed by {package}, which is not installed: pip install 'markgraph[evaluate]'"
    )
