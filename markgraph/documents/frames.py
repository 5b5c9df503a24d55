"""Sends messages between a process and its child over a socket: eight bytes of length, then so many bytes."""

import json
import socket
import struct
from time import monotonic
from typing import Any

_LENGTH = struct.Struct(">Q")
_PIECE = 2**20


class TooLongError(Exception):
    """The other side is about to send more than is taken."""


def send(sock: socket.socket, data: bytes) -> None:
    """Send one message. Raises OSError: TimeoutError, or BrokenPipeError when the other side is gone."""
    sock.sendall(_LENGTH.pack(len(data)))
    sock.sendall(data)


def send_json(sock: socket.socket, message: Any) -> None:
    """Send one message as JSON."""
    send(sock, json.dumps(message).encode())


def receive(sock: socket.socket, most: int, deadline: float | None = None) -> bytes:
    """Return one message, waited for until `deadline` by the monotonic clock.

    Raises:
        TimeoutError: when it was not here by then.
        EOFError: when the other side is gone.
        TooLongError: when it has more than `most` bytes.
    """
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size, deadline))
    if length > most:
        raise TooLongError(f"{length:,} bytes")
    return _exactly(sock, length, deadline)


def _exactly(sock: socket.socket, count: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < count:
        if deadline is not None:
            sock.settimeout(max(deadline - monotonic(), 1e-3))
        piece = sock.recv(min(count - len(data), _PIECE))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
