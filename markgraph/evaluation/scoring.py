"""Scores how a question was answered: all metrics at once, each between 0 and 1, higher is better."""

from collections.abc import Sequence

from typing_extensions import TypedDict

from markgraph.evaluation import answers
from markgraph.evaluation.log import Record
from markgraph.evaluation.questions import Question
from markgraph.validation.claims import check_answer
from markgraph.validation.drafts import marks_of
from markgraph.validation.features import Embed
from markgraph.validation.refusals import is_refusal

WORDS = {
    "exact_match": answers.exact_match,
    "contains": answers.contains,
    "f1": answers.token_f1,
    "rouge_l": answers.rouge_l,
    "bleu": answers.bleu,
    "refusal": answers.refusal,
}
"""What is told from an answer and its references."""
METRICS = (*WORDS, "citation_precision", "citation_recall", "groundedness")


class Answered(TypedDict):
    """What came back for a question."""

    id: str
    answer: str
    """With marks; `REFUSAL` for a graph's refusal."""
    sources: list[str]
    """The document behind each mark, from [1]."""
    texts: list[str]
    """What each mark stands for, as far as it was shown."""
    route: str
    seconds: float
    input_tokens: int
    output_tokens: int


def record_of(question: Question, answered: Answered, embed: Embed) -> Record:
    """Return an answer with its scores.

    Raises:
        MissingExtraError: ROUGE or BLEU can't be computed.
    """
    said = answered["answer"]
    scores = {name: score(said, question.answers) for name, score in WORDS.items()}
    scores["citation_precision"], scores["citation_recall"] = _citing(question, answered)
    scores["groundedness"] = groundedness(said, answered["texts"], embed)
    return Record(
        id=question.id,
        question=question.text,
        references=list(question.answers),
        answer=said,
        answerable=bool(question.answers),
        refused=is_refusal(said),
        route=answered["route"],
        seconds=round(answered["seconds"], 4),
        input_tokens=answered["input_tokens"],
        output_tokens=answered["output_tokens"],
        scores={name: round(value, 6) for name, value in scores.items()},
    )


def groundedness(answer: str, passages: Sequence[str], embed: Embed) -> float:
    """Return the share of an answer's claims that the passages support; a refusal claims nothing."""
    if is_refusal(answer):
        return 1.0
    claims = check_answer(answer, passages, embed)
    return sum(claim.supported for claim in claims) / len(claims) if claims else 0.0


def _citing(question: Question, answered: Answered) -> tuple[float, float]:
    """Return how many of the marks are right, and how much of what holds the answer is cited.

    Where nobody has said which documents hold the answer, what was shown of one has to contain it.
    """
    shown = list(enumerate(zip(answered["sources"], answered["texts"], strict=True), 1))
    if question.gold:
        gold = {mark: source for mark, (source, _) in shown if source in question.gold}
    else:
        gold = {mark: "" for mark, (_, text) in shown if answers.contains(text, question.answers)}
    if not question.answers:
        return (float(is_refusal(answered["answer"])),) * 2
    if not gold:
        return 0.0, 0.0
    found = {gold[mark] for mark in marks_of(answered["answer"]) if mark in gold}
    return answers.citation_precision(answered["answer"], gold), len(found) / max(1, len(question.gold))
