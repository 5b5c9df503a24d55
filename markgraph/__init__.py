"""MARK: cited and checked answers over documents that not everybody may read."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markgraph.build import load_graph
    from markgraph.security.caller import Caller, thread_key
    from markgraph.verification.verify import verify

# langgraph reads this when it is imported: rows of a checkpoint may then name known classes only.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

__all__ = ["Caller", "load_graph", "thread_key", "verify"]

_HOMES = {
    "load_graph": "markgraph.build",
    "Caller": "markgraph.security.caller",
    "thread_key": "markgraph.security.caller",
    "verify": "markgraph.verification.verify",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that `import markgraph` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'markgraph' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
