"""Which recurrences serve: those of scan.c where there is a compiler, else those of scan.py.

Shapes as in scan.py; m rows (tokens) of some sequences, one sequence after another.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import silu

from markgraph.engines.native.kernels import address, built, integer
from markgraph.engines.native.scan import (
    convolve_scan,
    convolve_step,
    for_each,
    selective_scan,
    selective_step,
    ssd_scan,
    ssd_step,
)

SOURCE = Path(__file__).with_name("scan.c")
LANES, LARGEST = 16, 256
"""As in scan.c."""


class Inputs(NamedTuple):
    """What a recurrence reads."""

    x: Tensor
    """(m, e)"""
    dt: Tensor
    """(m, e), or (m, heads) for Mamba-2"""
    B: Tensor
    """(m, g n)"""
    C: Tensor
    gate: Tensor
    """(m, e), before its SiLU"""


class Scans(Protocol):
    """The recurrences of a layer, with what stands right behind them."""

    def convolve(
        self, windows: Sequence[Tensor], lengths: Sequence[int], x: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        """Return SiLU of the causal convolution of `x`, (m, c), with `weight`, (k, c)."""

    def selective(
        self,
        hiddens: Sequence[Tensor],
        lengths: Sequence[int],
        inputs: Inputs,
        A: Tensor,  # noqa: N803
        D: Tensor,  # noqa: N803
    ) -> Tensor:
        """Return Mamba's recurrence, with D and the gate, (m, e)."""

    def ssd(
        self,
        hiddens: Sequence[Tensor],
        lengths: Sequence[int],
        inputs: Inputs,
        A: Tensor,  # noqa: N803
        D: Tensor,  # noqa: N803
    ) -> Tensor:
        """Return Mamba-2's recurrence, with D and the gate, (m, e)."""


class EagerScans:
    """The recurrences with torch's own operations."""

    def convolve(
        self, windows: Sequence[Tensor], lengths: Sequence[int], x: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        """Convolve."""
        y = for_each(convolve_step, convolve_scan, windows, lengths, [x], [weight, bias])
        return silu(y, inplace=True)

    def selective(
        self,
        hiddens: Sequence[Tensor],
        lengths: Sequence[int],
        inputs: Inputs,
        A: Tensor,  # noqa: N803
        D: Tensor,  # noqa: N803
    ) -> Tensor:
        """Scan or step."""
        x, dt, B, C, gate = inputs  # noqa: N806
        y = for_each(selective_step, selective_scan, hiddens, lengths, [x, dt, B, C], [A])
        return y.addcmul_(x, D).mul_(silu(gate))

    def ssd(
        self,
        hiddens: Sequence[Tensor],
        lengths: Sequence[int],
        inputs: Inputs,
        A: Tensor,  # noqa: N803
        D: Tensor,  # noqa: N803
    ) -> Tensor:
        """Scan block by block, or step."""
        x, dt, B, C, gate = inputs  # noqa: N806
        grouped = [each.reshape(len(x), len(hiddens[0]), -1) for each in (B, C)]
        y = for_each(ssd_step, ssd_scan, hiddens, lengths, [x, dt, *grouped], [A])
        return y.addcmul_(x, D).mul_(silu(gate))


class CompiledScans:
    """The recurrences of scan.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def convolve(
        self, windows: Sequence[Tensor], lengths: Sequence[int], x: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        """Convolve."""
        y = torch.empty(x.shape)
        self._library.mark_convolve(
            ctypes.byref(_sequences(windows, lengths)),
            *(x.shape[1], len(weight), x.data_ptr(), x.stride(0)),
            *(each.data_ptr() for each in (weight, bias, y)),
        )
        return y

    def selective(
        self,
        hiddens: Sequence[Tensor],
        lengths: Sequence[int],
        inputs: Inputs,
        A: Tensor,  # noqa: N803
        D: Tensor,  # noqa: N803
    ) -> Tensor:
        """Scan or step, which is the same here."""
        y = torch.empty(inputs.x.shape)
        scan = _scan(inputs, A, D, y, (y.shape[1], len(A), 1, 1))
        self._library.mark_selective(ctypes.byref(_sequences(hiddens, lengths)), ctypes.byref(scan))
        return y

    def ssd(
        self,
        hiddens: Sequence[Tensor],
        lengths: Sequence[int],
        inputs: Inputs,
        A: Tensor,  # noqa: N803
        D: Tensor,  # noqa: N803
    ) -> Tensor:
        """Scan or step, which is the same here."""
        y, (groups, n, _) = torch.empty(inputs.x.shape), hiddens[0].shape
        scan = _scan(inputs, A, D, y, (y.shape[1], n, groups, len(A)))
        self._library.mark_ssd(ctypes.byref(_sequences(hiddens, lengths)), ctypes.byref(scan))
        return y


def scans_for(widths: Sequence[int], state_size: int) -> Scans:
    """Return the recurrences for layers with so many channels side by side, all and in each part."""
    fits = all(width % LANES == 0 for width in widths) and state_size % 4 == 0 and state_size <= LARGEST
    library = _library() if fits else None
    return CompiledScans(library) if library else EagerScans()


class _Sequences(ctypes.Structure):
    _fields_ = [("count", integer), ("threads", integer), ("begin", address), ("kept", address)]


class _Scan(ctypes.Structure):
    _fields_ = [
        *((name, integer) for name in ("e", "n", "groups", "heads")),
        *((name, address) for name in ("A", "D", *Inputs._fields)),
        *((f"{name}_stride", integer) for name in Inputs._fields),
        ("y", address),
    ]


@cache
def _library() -> ctypes.CDLL | None:
    sequences, scan = ctypes.POINTER(_Sequences), ctypes.POINTER(_Scan)
    convolve = (sequences, integer, integer, address, integer, address, address, address)
    return built(
        SOURCE,
        (
            ("mark_convolve", convolve),
            ("mark_selective", (sequences, scan)),
            ("mark_ssd", (sequences, scan)),
        ),
    )


def _sequences(kept: Sequence[Tensor], lengths: Sequence[int]) -> _Sequences:
    count = len(kept)
    begin = (integer * (count + 1))(*accumulate(lengths, initial=0))
    pointers = (address * count)(*(each.data_ptr() for each in kept))
    return _Sequences(
        count, torch.get_num_threads(), ctypes.cast(begin, address), ctypes.cast(pointers, address)
    )


def _scan(inputs: Inputs, A: Tensor, D: Tensor, y: Tensor, sizes: tuple[int, int, int, int]) -> _Scan:  # noqa: N803
    return _Scan(
        *sizes,
        *(each.data_ptr() for each in (A, D, *inputs)),
        *(each.stride(0) for each in inputs),
        y.data_ptr(),
    )
