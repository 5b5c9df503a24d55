"""The policy: what must have happened in a run before a node may do what it does."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from markgraph.security.effects import Effect
from markgraph.verification.flow import EVERYTHING, Node, Tool

ACTING = frozenset(
    {
        Effect.READS_PRIVATE,
        Effect.INGESTS_UNTRUSTED,
        Effect.GENERATES,
        Effect.RUNS_TOOLS,
        Effect.SIDE_EFFECTS,
        Effect.STORES,
        Effect.EGRESS,
    }
)
"""What nobody's run may do."""
READING = frozenset({Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED})
TRIFECTA = READING | {Effect.EGRESS}
"""Together these let a document's author have private data sent out (Willison 2025, the lethal trifecta)."""
GUARDING = frozenset({Effect.AUTHORIZES, Effect.APPROVES, Effect.VALIDATES, Effect.QUOTES, Effect.REFUSES})
"""What makes a run safer, and so does not count where the node failed."""


class Rule(StrEnum):
    """What can be broken."""

    AUTHORIZE = "authorize first"
    VALIDATE = "validate before an answer"
    APPROVE = "approval before side effects"
    TRIFECTA = "a person before private data can get out"
    LABEL = "say what it does"
    SIZE = "small enough to be proved"


@dataclass(frozen=True)
class Finding:
    """A way to break the policy."""

    rule: Rule
    node: str
    why: str
    path: tuple[str, ...] = ()
    """What runs, step by step, until it happens; nodes that run together are one step, `a + b`."""

    def __str__(self) -> str:
        path = f"\n    {' → '.join(self.path)}" if self.path else ""
        return f"{self.rule}: {self.why}{path}"


class Draft(StrEnum):
    """What has become of the model's words."""

    NONE = "none"
    UNCHECKED = "unchecked"
    CHECKED = "checked"
    REFUSED = "refused"


class Facts(NamedTuple):
    """What has happened in a run."""

    authorized: bool = False
    draft: Draft = Draft.NONE
    approved: frozenset[str] = frozenset()
    """The tools that a person has agreed to since something was last read or generated."""
    used: frozenset[Effect] = frozenset()
    """What of the trifecta was done; sending does not count where a person has agreed to it."""


class Broken(NamedTuple):
    """A rule that a node breaks."""

    rule: Rule
    node: str
    why: str


def broken_by(nodes: Sequence[Node], facts: Facts) -> Iterator[Broken]:
    """Yield what nodes that run together break after `facts`; a guard among them comes too late."""
    used = facts.used.union(*(_trifecta(node, facts.approved) for node in nodes))
    for node in nodes:
        name = node.name
        if not facts.authorized and (acts := _all(node) & ACTING):
            yield Broken(Rule.AUTHORIZE, name, f"{name!r} {_words(acts)}, and nobody was authorized.")
        if Effect.ANSWERS in node.effects and facts.draft is not Draft.CHECKED:
            yield Broken(Rule.VALIDATE, name, f"{name!r} answers with what nothing has validated.")
        for what in _acts_unasked(node, facts.approved):
            yield Broken(Rule.APPROVE, name, f"{what} has side effects, and no person was asked.")
        if used == TRIFECTA and (by := _trifecta(node, facts.approved, free_only=True)):
            yield Broken(
                Rule.TRIFECTA,
                name,
                f"{name!r} {_words(by)} in a run that {_words(TRIFECTA)}, and no person was asked.",
            )


def broken_at_the_end(last: Sequence[Node], facts: Facts) -> Iterator[Broken]:
    """Yield what is broken by a run that ends here."""
    if facts.draft is Draft.UNCHECKED:
        name = " + ".join(node.name for node in last)
        yield Broken(Rule.VALIDATE, name, f"A run ends at {name!r} with a draft that nothing has validated.")


def after(nodes: Sequence[Node], facts: Facts, broken: Iterable[Rule]) -> Facts:
    """Return what has happened once these nodes have run together.

    A rule that was broken counts as kept from then on: what follows from one mistake is one finding.
    """
    effects = frozenset[Effect]().union(*(node.effects for node in nodes))
    approved = facts.approved.union(*(node.asks for node in nodes))
    if not effects.union(*(_all(node) for node in nodes)).isdisjoint(READING | {Effect.GENERATES}):
        approved = frozenset()  # a person's word covers what was there when it was given
    if any(node.pauses_after for node in nodes):
        approved = approved | {EVERYTHING}
    return Facts(
        authorized=facts.authorized or Effect.AUTHORIZES in effects or Rule.AUTHORIZE in broken,
        draft=Draft.CHECKED if Rule.VALIDATE in broken else _draft(effects, facts.draft),
        approved=approved,
        used=facts.used.union(*(_trifecta(node, facts.approved) for node in nodes)),
    )


def _draft(effects: frozenset[Effect], before: Draft) -> Draft:
    if Effect.GENERATES in effects:
        return Draft.UNCHECKED
    if effects & {Effect.VALIDATES, Effect.QUOTES}:
        return Draft.CHECKED
    return Draft.REFUSED if Effect.REFUSES in effects and before is Draft.UNCHECKED else before


def _all(node: Node) -> frozenset[Effect]:
    return node.effects.union(*(tool.effects for tool in node.tools))


def _acts_unasked(node: Node, approved: frozenset[str]) -> Iterator[str]:
    if Effect.SIDE_EFFECTS in node.effects and EVERYTHING not in approved:
        yield f"{node.name!r}"
    for tool in node.tools:
        if Effect.SIDE_EFFECTS in tool.effects and not _agreed(tool, approved):
            yield f"Tool {tool.name!r} in {node.name!r}"


def _trifecta(node: Node, approved: frozenset[str], *, free_only: bool = False) -> frozenset[Effect]:
    """Return what of the trifecta a node does; what a person has agreed to sends nothing out unseen."""
    parts = [(node.effects, EVERYTHING in approved)]
    parts += [(tool.effects, _agreed(tool, approved)) for tool in node.tools]
    counted = frozenset[Effect]()
    for effects, agreed in parts:
        if not (agreed and free_only):
            counted |= effects & (READING if agreed else TRIFECTA)
    return counted


def _agreed(tool: Tool, approved: frozenset[str]) -> bool:
    return not approved.isdisjoint({tool.name, EVERYTHING})


def _words(effects: Iterable[Effect]) -> str:
    *most, last = [effect.value for effect in Effect if effect in set(effects)]
    return f"{', '.join(most)} and {last}" if most else last
