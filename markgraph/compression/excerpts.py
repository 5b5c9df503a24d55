"""Takes out of passages the whole sentences that are worth most to a question.

Does NOT write: what is kept is word for word, in its own order, and under its own passage.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from markgraph.compression.tokens import Count
from markgraph.text import sentences, words
from markgraph.validation.features import Embed, Rarity

POOL = 32
"""Sentences to embed: those with most of the question's words, weighed by how rare they are."""
_REFERS = re.compile(r"\W*(?:he|she|it|they|this|that|these|those|his|her|its|their|such)\b", re.IGNORECASE)


@dataclass(frozen=True)
class _Sentence:
    passage: int
    """Index of its passage, which is its rank too."""
    nth: int
    """Index within the passage."""
    text: str
    stems: frozenset[str]
    tokens: int


def excerpt(
    question: str,
    passages: Sequence[str],
    room: int,
    *,
    count: Count,
    embed: Embed,
    titles: Sequence[str] = (),
) -> list[str]:
    """Return what of each passage fits in `room` tokens together; an empty string where nothing does.

    A sentence is worth its cosine to the question and the share of the question's words that it has, more
    in a passage that has them too, and less in a passage that ranks lower. The best by worth per token
    are kept, one that begins with a pronoun together with the sentence before it. The first of a passage
    pays for the passage's title as well. Calls `embed` at most once.
    """
    heads = [count(f"[{mark}] {title}\n") for mark, title in enumerate(titles or [""] * len(passages), 1)]
    if sum(map(count, passages)) + sum(heads) <= room:
        return list(passages)
    found = list(_sentences_of(passages, count))
    if not found:
        return [""] * len(passages)
    worths = _worths(question, passages, found, embed)
    kept = _choose(found, worths, heads, room)
    return [
        _join(text, [each.nth for each in kept if each.passage == at]) for at, text in enumerate(passages)
    ]


def _sentences_of(passages: Sequence[str], count: Count) -> Iterator[_Sentence]:
    for passage, text in enumerate(passages):
        for nth, (start, end) in enumerate(sentences(text)):
            said = text[start:end]
            # One more for what joins it to the next.
            yield _Sentence(passage, nth, said, frozenset(words(said)), count(said) + 1)


def _worths(question: str, passages: Sequence[str], found: Sequence[_Sentence], embed: Embed) -> list[float]:
    """Return what each sentence is worth to the question."""
    asked = set(words(question))
    rarity = Rarity.over([each.stems for each in found])
    nearby = [rarity.share(asked, set(words(text))) for text in passages]
    covered = [rarity.share(asked, each.stems) for each in found]
    likely = np.array([c + nearby[s.passage] / (1 + s.passage) for c, s in zip(covered, found, strict=True)])
    pool = np.argsort(-likely, kind="stable")[:POOL]
    vectors = np.asarray(embed([question, *(found[at].text for at in pool)]))
    cosines = np.zeros(len(found))
    cosines[pool] = np.maximum(vectors[1:] @ vectors[0], 0.0)
    worth = (cosines + covered) * [nearby[each.passage] / (1 + each.passage) ** 0.5 for each in found]
    return [float(each) for each in worth]


def _choose(
    found: Sequence[_Sentence], worths: Sequence[float], heads: Sequence[int], room: int
) -> set[_Sentence]:
    """Return sentences within `room`, greedily by worth per token."""
    before = dict(zip(found[1:], found, strict=False))
    order = sorted(range(len(found)), key=lambda at: (-worths[at] / found[at].tokens, at))
    kept: set[_Sentence] = set()
    opened: set[int] = set()
    for at in order:
        wanted = [found[at]]
        if found[at].nth and _REFERS.match(found[at].text):
            wanted.append(before[found[at]])
        for group in (wanted, wanted[:1]):
            new = [each for each in group if each not in kept]
            cost = sum(each.tokens for each in new)
            cost += 0 if found[at].passage in opened else heads[found[at].passage]
            if new and cost <= room:
                kept.update(new)
                opened.add(found[at].passage)
                room -= cost
                break
    return kept


def _join(text: str, kept: list[int]) -> str:
    """Return the sentences of `text` at these places: as they stand where they are neighbours."""
    spans, kept = sentences(text), sorted(kept)
    if not kept:
        return ""
    parts = [text[slice(*spans[kept[0]])]]
    for last, nth in pairwise(kept):
        gap = text[spans[last][1] : spans[nth][0]] if nth == last + 1 else "\n"
        parts += [gap, text[slice(*spans[nth])]]
    return "".join(parts)
