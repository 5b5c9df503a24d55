"""Finds the node behind what LangGraph runs."""

from functools import partial
from inspect import isfunction, ismethod
from typing import Any, TypeVar

_NODE = "__node__"
_T = TypeVar("_T")


def wraps(node: object, wrapper: _T) -> _T:
    """Return `wrapper`, a function, with a note of the node that it calls."""
    vars(wrapper)[_NODE] = node
    return wrapper


def node_of(runnable: Any) -> object:
    """Return the node that `runnable` calls: a function, or an object of a class of its own.

    LangGraph makes a runnable of what it is given, which holds it as `func`, or `afunc`.
    """
    held = vars(runnable) if hasattr(runnable, "__dict__") else {}
    given = held.get("func") or held.get("afunc") or runnable
    if isinstance(given, partial):
        given = given.func
    if ismethod(given):
        given = given.__func__
    return vars(given).get(_NODE, given) if isfunction(given) else given
