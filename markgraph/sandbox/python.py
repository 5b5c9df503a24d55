"""Runs small Python programs in an interpreter that can do nothing but compute.

The interpreter is Monty: Python without files, network, environment and foreign modules, in a process of its
own. Does NOT include numpy and the like, nor calls back into MARK.
"""

import json
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from markgraph.errors import MissingExtraError, SandboxError

if TYPE_CHECKING:
    from pydantic_monty import Monty

_PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


class Ran(NamedTuple):
    """What a program gave."""

    value: Any
    """Of its last line, if that is an expression: plain data, as JSON can hold it."""
    printed: str


@dataclass
class PythonInterpreter:
    """Runs one program after the other; nothing of one is left for the next.

    The process starts with the first program, and ends with `close` or with this object.
    """

    memory: int = 32
    """MiB that a program may hold."""
    seconds: float = 1
    """How long a program may compute; it can't sleep."""
    max_characters: int = 20_000
    """How long a program may be, ..."""
    max_output: int = 20_000
    """... and what it prints, and its value as JSON."""
    _pool: "Monty | None" = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _stop: "weakref.finalize[..., Any] | None" = field(default=None, init=False, repr=False)

    def run(self, code: str, inputs: Mapping[str, Any] | None = None) -> Ran:
        """Run `code`, for which `inputs` are variables.

        Raises:
            SandboxError: the program is wrong or fails, asks for what there isn't, or takes too much.
            MissingExtraError: the interpreter is not installed.
        """
        if len(code) > self.max_characters:
            raise SandboxError(
                f"The program has {len(code):,} characters; {self.max_characters:,} are allowed."
            )
        pool = self._started()
        from pydantic_monty import CollectString, MontyError

        printed = CollectString(max_bytes=self.max_output)
        limits: Any = {
            "max_memory": self.memory << 20,
            "max_feed_duration_secs": self.seconds,
            "max_recursion_depth": 200,
            "max_suspensions": 16,
            "max_total_sleep_secs": 0.0,
        }
        try:
            with pool.checkout(limits=limits) as session:
                value = session.feed_run(code, inputs=dict(inputs or {}), print_callback=printed)
                return Ran(self._checked(value), printed.output)
        except (MontyError, TimeoutError, ValueError, RecursionError) as error:
            raise SandboxError(f"The program failed. {str(error)[:1000]}") from error

    def close(self) -> None:
        """End the process; the next program starts another."""
        with self._lock:
            if self._stop:
                self._stop()
            self._pool = self._stop = None

    def _started(self) -> "Monty":
        try:
            from pydantic_monty import Monty
        except ImportError as error:
            raise MissingExtraError(
                "Running programs needs Monty: pip install 'markgraph[tools]'."
            ) from error
        with self._lock:
            if self._pool is None:
                pool = Monty(checkout_timeout=30, request_timeout=self.seconds + 5)
                self._pool = pool.__enter__()
                self._stop = weakref.finalize(self, _end, pool)
            return self._pool

    def _checked(self, value: Any) -> Any:
        """Return `value` if it is plain data of bounded size.

        A list may hold another twice, and that one a third: what is small there is huge once written out. So
        its size is bounded before it is.
        """
        waiting, size = [value], 0
        while waiting:
            here = waiting.pop()
            size += len(here) if isinstance(here, str) else 1
            self._check_size(size)
            if type(here) not in _PLAIN:
                raise SandboxError(
                    f"The program's value holds a {type(here).__name__}. Allowed: numbers, text, lists and "
                    "dictionaries of them. Print it instead."
                )
            waiting.extend((*here, *here.values()) if isinstance(here, dict) else ())
            waiting.extend(here if isinstance(here, list | tuple) else ())
        try:
            size = len(json.dumps(value))
        except TypeError as error:
            raise SandboxError(f"The program's value is no JSON: {error}. Print it instead.") from error
        self._check_size(size)
        return value

    def _check_size(self, size: int) -> None:
        if size > self.max_output:
            raise SandboxError(
                f"The program's value has more than the {self.max_output:,} characters allowed."
            )


def _end(pool: "Monty") -> None:
    with suppress(Exception):  # at exit the process may be gone already
        pool.__exit__(None, None, None)
