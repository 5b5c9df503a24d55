"""What `markgraph serve` says before it serves."""

import socket

import pytest

from markgraph.commands.serve import _listen
from markgraph.errors import UsageError


def test_an_address_takes_connections_before_it_is_told() -> None:
    with _listen("127.0.0.1", 0) as listener:
        socket.create_connection(listener.getsockname(), timeout=5).close()


def test_a_port_that_is_taken_is_one_message() -> None:
    with _listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=f"Can't listen on 127.0.0.1:{port}: .* Try another port=NUMBER"):
            _listen("127.0.0.1", port)
