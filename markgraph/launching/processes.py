"""Several processes of one command, as `torchrun` or `accelerate launch` starts them.

The first does what the command says. The others do what it tells them to, so that only one of them reads
words, writes files and prints.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from markgraph.errors import MarkError

PATIENCE = timedelta(days=7)
"""The others wait so long for the first, which may score a model, or be asked by a person, meanwhile."""
Order = Mapping[str, Any]


def rank() -> int:
    """Return which of the processes this is; 0 is the first, and the only one where there are no others."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """Return how many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def leading() -> Iterator[None]:
    """Let the others go when what is done within has ended, however that was."""
    try:
        yield
    finally:
        if size() > 1:
            send(None)
            _leave()


def orders() -> Iterator[Order]:
    """Yield what the first process tells this one to do, until it lets it go."""
    while (order := _shared(None)) is not None:
        yield order
    _leave()


def send(order: Order | None) -> None:
    """Tell the others to do something; None lets them go. Where there are no others, do nothing."""
    if size() > 1:
        _shared(order)


def _shared(order: Order | None) -> Order | None:
    """Return the order of the first process, in all of them. As JSON: nothing is unpickled.

    Raises:
        MarkError: the processes don't find each other, or one has died.
    """
    import torch
    from torch import distributed

    try:
        group = _group()
        text = json.dumps(order).encode()
        length = torch.tensor([len(text)])
        distributed.broadcast(length, src=0, group=group)
        data = torch.zeros(int(length), dtype=torch.uint8)
        if rank() == 0:
            data = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        distributed.broadcast(data, src=0, group=group)
    except RuntimeError as error:
        raise MarkError(
            f"The {size()} processes of this command lost each other: {error} See what the others say."
        ) from error
    received: Order | None = json.loads(bytes(data.tolist()))
    return received


_GROUPS: dict[int, Any] = {}
"""The group of this process, by its id: a fork has none."""


def _group() -> Any:
    """Return the group that orders go through; what is trained has that of the accelerator."""
    from torch import cuda, distributed

    if os.getpid() not in _GROUPS:
        if not distributed.is_initialized():
            distributed.init_process_group()
        if not cuda.is_available():
            os.environ["ACCELERATE_USE_CPU"] = "true"  # otherwise it takes each process for the only one
        _GROUPS[os.getpid()] = distributed.new_group(backend="gloo", timeout=PATIENCE)
    return _GROUPS[os.getpid()]


def _leave() -> None:
    from torch import distributed

    _GROUPS.clear()
    if distributed.is_initialized():
        distributed.destroy_process_group()
