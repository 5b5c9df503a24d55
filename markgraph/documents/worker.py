"""The child process that reads documents for `Sandbox`: `python -P -m markgraph.documents.worker LIMITS`.

Takes the options as JSON and the bytes of a file over the socket that is its standard input, and gives back
the document or an error as JSON. It opens no document itself, and reaches no network where the kernel lets it
give that up. It ends when the socket does.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import threading
from dataclasses import asdict
from math import ceil
from typing import Any

from markgraph.documents.frames import receive, send, send_json
from markgraph.documents.load import parse
from markgraph.documents.options import PAGE_WAS_READ, ReadOptions
from markgraph.errors import DocumentError

_NEW_USER_AND_NETWORK = 0x10000000 | 0x40000000
_LARGEST_FILE = 2**26
"""Bytes that may be written to a file: no reader writes any, but tesseract may keep a cache."""

_MEMORY = json.dumps({"memory": True}).encode()
_LONGEST_ERROR = 2000


def main(memory: int, seconds: float, page_seconds: float) -> None:
    """Read documents until the parent hangs up."""
    is_offline = _give_up_network()
    _limit(memory)
    sock = socket.socket(fileno=os.dup(0))
    threading.Thread(target=_end_with, args=(sock,), daemon=True).start()
    send_json(sock, {"ready": True, "offline": is_offline})
    _silence()

    def page_was_read() -> None:
        _allow(page_seconds, more=True)
        send_json(sock, {"page": True})

    PAGE_WAS_READ.set(page_was_read)
    while True:
        try:
            request, data = json.loads(receive(sock, 2**20)), receive(sock, 2**40)
        except EOFError:
            return
        _allow(seconds)
        send(sock, _answer(request, data))
        del data


def _answer(request: dict[str, Any], data: bytes) -> bytes:
    """Return the document or what went wrong, as JSON."""
    source = request["source"]
    options = ReadOptions(**request["options"] | {"languages": tuple(request["options"]["languages"])})
    try:
        return json.dumps({"document": asdict(parse(data, request["suffix"], source, options))}).encode()
    except MemoryError:
        return _MEMORY
    except DocumentError as error:  # readers call whatever they meet damage
        if isinstance(error.__cause__, MemoryError):
            return _MEMORY
        return json.dumps({"error": str(error)[:_LONGEST_ERROR]}).encode()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        return json.dumps(
            {"error": f"Cannot read {source} ({reason}). It is damaged: save it anew."}
        ).encode()


def _limit(memory: int) -> None:
    if sys.platform != "darwin":  # which has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))


def _allow(seconds: float, *, more: bool = False) -> None:
    """Let this process compute for so long from now, or for so much longer; then the kernel ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    start = soft if more else usage.ru_utime + usage.ru_stime
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(start + seconds), hard))


def _give_up_network() -> bool:
    """Move into a network of one's own with nothing in it; False where the kernel does not let everybody."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).unshare(_NEW_USER_AND_NETWORK) == 0)


def _end_with(sock: socket.socket) -> None:
    """End this process and what it started as soon as the parent is gone, in the midst of a document too."""
    poll = select.poll()
    poll.register(sock, getattr(select, "POLLRDHUP", 0))  # POLLHUP is always told
    poll.poll()
    os.killpg(0, signal.SIGKILL)


def _silence() -> None:
    """Write nothing more: parsers tell of every flaw of every file."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
