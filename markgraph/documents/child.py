"""Starts one process of `markgraph.documents.worker`, asks it, and tells what became of it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from markgraph.documents.frames import TooLongError, receive, send, send_json
from markgraph.documents.options import ReadOptions
from markgraph.errors import MarkError

_MIB = 2**20
_START = 120
"""Seconds within which a child must be there: it imports parsers, maybe on a busy machine."""
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TESSDATA_PREFIX", "TMPDIR")
"""What a child sees of the environment: no keys, no tokens."""
_SPLIT = "Leave it out, split it, or raise the reader's limit."
_CALM = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Threads reserve address space, and other children use the other cores."""


class LostError(Exception):
    """A child gave no answer; the message goes on from the name of the document."""

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.is_final = is_final
        """Whether another child would give none either."""


@dataclass(frozen=True)
class Limits:
    """What a child may take."""

    memory: int
    """MiB of address space."""
    seconds: float
    page_seconds: float
    text: int
    """MiB of an answer."""


class Child:
    """A process that reads documents, one after the other, until it is ended.

    Raises:
        MarkError: when it does not start.
    """

    def __init__(self, limits: Limits) -> None:
        self.served = 0
        self._limits = limits
        self._socket, theirs = socket.socketpair()
        arguments = [limits.memory * _MIB, limits.seconds, limits.page_seconds]
        with theirs:
            # -P: a folder of documents may be the working folder, and must not be imported from.
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "markgraph.documents.worker", *map(str, arguments)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT if name in os.environ} | _CALM,
                start_new_session=True,  # Ctrl-C is for the parent
            )
        try:
            self.is_offline = bool(json.loads(receive(self._socket, _MIB, monotonic() + _START))["offline"])
        except BaseException as error:
            code = self.end()
            if not isinstance(error, (EOFError, OSError)):
                raise
            raise MarkError(
                f"The process that reads documents did not start (exit {code}). Run "
                f"`{sys.executable} -m markgraph.documents.worker {' '.join(map(str, arguments))}` to see "
                "why, or give it more memory."
            ) from error

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def ask(self, suffix: str, source: str, data: bytes, options: ReadOptions) -> dict[str, Any]:
        """Return the answer: a `document` as plain data, or an `error`.

        Raises:
            LostError: there is none, and the child is of no more use.
        """
        self.served += 1
        deadline = monotonic() + self._limits.seconds
        try:
            self._socket.settimeout(self._limits.seconds)
            send_json(self._socket, {"suffix": suffix, "source": source, "options": asdict(options)})
            send(self._socket, data)
            for _ in range(options.ocr_pages + 1):
                answer = json.loads(receive(self._socket, self._limits.text * _MIB, deadline))
                if "page" not in answer:
                    return self._checked(answer)
                deadline += self._limits.page_seconds
            raise EOFError
        except TimeoutError as error:
            raise self._too_slow() from error
        except TooLongError as error:
            reason = f"gives {error} of text and structure; {self._limits.text} MiB are allowed. Split it."
            raise LostError(reason, is_final=True) from error
        except (EOFError, OSError, ValueError) as error:
            raise self._cause_of_death() from error

    def end(self) -> int:
        """End the process and what it started, and return how it ended, as `Popen.returncode` does."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # the latter is how macOS calls it
                os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._socket.close()
        return code

    def _checked(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        if "memory" in answer:
            reason = f"needs more than {self._limits.memory:,} MiB of memory. {_SPLIT}"
            raise LostError(reason, is_final=self._is_fresh)
        return dict(answer)

    @property
    def _is_fresh(self) -> bool:
        return self.served == 1

    def _too_slow(self) -> LostError:
        return LostError(f"took longer than {self._limits.seconds:g} s to read. {_SPLIT}", is_final=True)

    def _cause_of_death(self) -> LostError:
        code = self.end()
        if code == -signal.SIGXCPU:
            return self._too_slow()
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return LostError(
            f"ended the process that read it ({name}), as damaged documents do, and those that need more "
            f"than {self._limits.memory:,} MiB of memory. {_SPLIT}",
            is_final=self._is_fresh,
        )
