"""What nodes and tools do, as they declare it themselves: `markgraph verify` proves the policy over that.

A node says it with `@does(...)`, a tool in its metadata. What says nothing counts as doing the worst.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from inspect import isfunction
from typing import Any, Protocol, TypeVar, runtime_checkable

from langchain_core.tools import BaseTool


class Effect(StrEnum):
    """Something that a node or a tool does, in a word that fits behind its name."""

    AUTHORIZES = "authorizes"
    """Stops a run whose caller may not begin it."""
    READS_PRIVATE = "reads private data"
    """Reads what not everybody may read: documents, threads, files."""
    INGESTS_UNTRUSTED = "reads untrusted content"
    """Reads text that somebody else than the caller wrote, retrieved or fetched: it may hold instructions."""
    GENERATES = "generates"
    """Lets a model write. Where the model runs is the operator's choice, and no egress."""
    RUNS_TOOLS = "runs tools"
    """Does what its tools do: they are in its field `tools`."""
    SIDE_EFFECTS = "has side effects"
    """Changes something that a person has to have agreed to."""
    STORES = "stores"
    """Writes MARK's own stores, as the caller has asked; needs no further word."""
    EGRESS = "sends data out"
    """Sends something to a place that a model, a caller or a document can choose or write to."""
    APPROVES = "asks a person"
    """Waits for a person's word on the tools in its field `tools` that need one; without it, on all."""
    VALIDATES = "validates"
    """Compares a draft with what it rests on."""
    QUOTES = "quotes"
    """Replaces a draft by the sources' own sentences."""
    REFUSES = "refuses"
    """Replaces a draft by a refusal."""
    ANSWERS = "answers"
    """Puts the answer together that the caller gets."""


TOOL_LABELS = {
    "reads_private": Effect.READS_PRIVATE,
    "ingests_untrusted": Effect.INGESTS_UNTRUSTED,
    "egress": Effect.EGRESS,
    "side_effects": Effect.SIDE_EFFECTS,
}
"""What a tool says of itself: the keys of its metadata, each true or false."""
_LABEL = "__effects__"
_T = TypeVar("_T", bound=Callable[..., Any])


def does(*effects: Effect) -> Callable[[_T], _T]:
    """Declare all that a node, a class or a function, does; `@does()` says that it only rewrites its state.

    A subclass declares its own: what it overrides may do something else.
    """

    def declare(node: _T) -> _T:
        setattr(node, _LABEL, frozenset(effects))
        return node

    return declare


def declared(node: object) -> frozenset[Effect] | None:
    """Return what a node declares, or None if it doesn't."""
    return declared_by(node if isfunction(node) else type(node))


def declared_by(node: object) -> frozenset[Effect] | None:
    """Return what a function, or the objects of a class, declare; None if they don't."""
    effects: frozenset[Effect] | None = vars(node).get(_LABEL)
    return effects


@runtime_checkable
class HasTools(Protocol):
    """A node that runs tools, or asks a person about them."""

    @property
    def tools(self) -> Sequence[BaseTool]:
        """Return the tools."""


def unsaid(tool: BaseTool) -> list[str]:
    """Return the labels that a tool's metadata lacks."""
    said = tool.metadata or {}
    return [label for label in TOOL_LABELS if type(said.get(label)) is not bool]


def effects_of(tool: BaseTool) -> frozenset[Effect]:
    """Return what a tool does; what it doesn't deny, it does."""
    said = tool.metadata or {}
    return frozenset(effect for label, effect in TOOL_LABELS.items() if said.get(label, True) is not False)


def needs_approval(tool: BaseTool) -> bool:
    """Tell whether a person has to agree before `tool` runs: it changes something, or sends data out."""
    return not effects_of(tool).isdisjoint({Effect.SIDE_EFFECTS, Effect.EGRESS})


def labelled(
    tool: BaseTool, *, reads_private: bool, ingests_untrusted: bool, egress: bool, side_effects: bool
) -> BaseTool:
    """Return `tool`, which somebody else wrote, with what it does written into its metadata."""
    labels = {
        "reads_private": reads_private,
        "ingests_untrusted": ingests_untrusted,
        "egress": egress,
        "side_effects": side_effects,
    }
    return tool.model_copy(update={"metadata": (tool.metadata or {}) | labels})
