"""Checks of the process: its environment, its interpreter, what is installed."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from markgraph.security.found import Found

_MUST_BE_UNSET = {
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "torch.load would run what a pickle says",
    "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE": "a config could call what Hydra blocks",
    "LANGCHAIN_ENV": "langchain-core's own guard against private addresses opens for local*",
}


def _unset(name: str, _: Mapping[str, Any]) -> Found:
    if name in os.environ:
        return Found("failed", f"is set, and {_MUST_BE_UNSET[name]}", f"Unset {name}")
    return Found("ok", "is not set")


def _strict_rows(_: Mapping[str, Any]) -> Found:
    serde = import_module("langgraph.checkpoint.serde._msgpack")
    if serde.STRICT_MSGPACK_ENABLED:
        return Found("ok", "make plain data and known classes, and call nothing")
    advice = "Set LANGGRAPH_STRICT_MSGPACK=true, or import markgraph before langgraph"
    return Found("failed", "may name any class, which is then called", advice)


def _assertions(_: Mapping[str, Any]) -> Found:
    if sys.flags.optimize:
        return Found("failed", "libraries check their input by assert, and -O drops that", "Run without -O")
    return Found("ok", "is not used: libraries check their input by assert")


def _kernels(_: Mapping[str, Any]) -> Found:
    if find_spec("kernels"):
        return Found("failed", "is installed, which fetches code from a hub", "pip uninstall kernels")
    return Found("ok", "is not installed: no code is fetched from a hub")


def _tracing(_: Mapping[str, Any]) -> Found:
    names = [f"{maker}_TRACING{version}" for maker in ("LANGSMITH", "LANGCHAIN") for version in ("", "_V2")]
    on = [name for name in names if os.environ.get(name, "false").lower() not in ("", "0", "false")]
    if on:
        return Found("failed", f"{on[0]} sends questions and passages to LangSmith", f"Set {on[0]}=false")
    return Found("ok", "nothing is sent to LangSmith")


def _offline(_: Mapping[str, Any]) -> Found:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Found("ok", "is set: nothing is fetched from a hub")
    return Found("off", "is not set: models may be fetched", "Fetch what you need, then set HF_HUB_OFFLINE=1")


CHECKS: Mapping[str, Callable[[Mapping[str, Any]], Found]] = {
    "checkpoint rows": _strict_rows,
    "python -O": _assertions,
    "kernels": _kernels,
    **{name: partial(_unset, name) for name in _MUST_BE_UNSET},
    "tracing": _tracing,
    "HF_HUB_OFFLINE": _offline,
}
