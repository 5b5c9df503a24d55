"""The compiled recurrences compute what those of torch compute, however the rows are cut."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from markgraph.engines.native.scans import EagerScans, Inputs, Scans, scans_for

LENGTHS = [1, 70, 3]
CHANNELS, STATE, TAPS, GROUPS, HEADS = 64, 16, 4, 2, 4


@pytest.fixture(params=["compiled", "eager"])
def scans(request: pytest.FixtureRequest) -> Scans:
    return EagerScans() if request.param == "eager" else scans_for([CHANNELS], STATE)


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def kept(shape: Sequence[int], draw: torch.Generator) -> list[Tensor]:
    return [torch.randn(*shape, generator=draw) for _ in LENGTHS]


def inputs(steps: int, shared: int, draw: torch.Generator) -> Inputs:
    sizes = (CHANNELS, steps, shared, shared, CHANNELS)
    x, dt, B, C, gate = (torch.randn(sum(LENGTHS), size, generator=draw) for size in sizes)  # noqa: N806
    return Inputs(x, dt.exp(), B, C, gate)


def gated(y: Tensor, given: Inputs, D: Tensor) -> Tensor:  # noqa: N803
    return (y + given.x * D) * torch.nn.functional.silu(given.gate)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-5)


def test_convolves_each_sequence_after_what_it_has_read(scans: Scans, draw: torch.Generator) -> None:
    windows = kept((TAPS - 1, CHANNELS), draw)
    x = torch.randn(sum(LENGTHS), 2 * CHANNELS, generator=draw)[:, CHANNELS:]
    weight, bias = torch.randn(TAPS, CHANNELS, generator=draw), torch.randn(CHANNELS, generator=draw)
    whole = [torch.cat(each) for each in zip(windows, x.split(LENGTHS), strict=True)]
    y = [torch.conv1d(each.t()[None], weight.t()[:, None], bias, groups=CHANNELS)[0].t() for each in whole]
    close(scans.convolve(windows, LENGTHS, x, weight, bias), torch.nn.functional.silu(torch.cat(y)))
    for window, each in zip(windows, whole, strict=True):
        assert torch.equal(window, each[1 - TAPS :])


def test_scans_as_the_paper_of_mamba_says(scans: Scans, draw: torch.Generator) -> None:
    hiddens, given = kept((STATE, CHANNELS), draw), inputs(CHANNELS, STATE, draw)
    A, D = -torch.rand(STATE, CHANNELS, generator=draw), torch.randn(CHANNELS, generator=draw)  # noqa: N806
    expected, ends, row = [], [each.clone() for each in hiddens], 0
    for h, length in zip(ends, LENGTHS, strict=True):
        for _ in range(length):
            dt, x = given.dt[row], given.x[row]
            h.copy_((dt * A).exp() * h + torch.outer(given.B[row], dt * x))
            expected.append(given.C[row] @ h)
            row += 1
    close(scans.selective(hiddens, LENGTHS, given, A, D), gated(torch.stack(expected), given, D))
    for found, end in zip(hiddens, ends, strict=True):
        close(found, end)


def test_scans_as_the_paper_of_mamba_2_says(scans: Scans, draw: torch.Generator) -> None:
    width, p = CHANNELS // GROUPS, CHANNELS // HEADS
    hiddens, given = kept((GROUPS, STATE, width), draw), inputs(HEADS, GROUPS * STATE, draw)
    A, D = -torch.rand(HEADS, generator=draw), torch.randn(CHANNELS, generator=draw)  # noqa: N806
    expected, ends, row = [], [each.clone() for each in hiddens], 0
    for h, length in zip(ends, LENGTHS, strict=True):
        for _ in range(length):
            dt = given.dt[row].repeat_interleave(p)
            decay = (dt * A.repeat_interleave(p)).exp().reshape(GROUPS, 1, width)
            B, C = (each[row].reshape(GROUPS, STATE, 1) for each in (given.B, given.C))  # noqa: N806
            h.copy_(decay * h + B * (dt * given.x[row]).reshape(GROUPS, 1, width))
            expected.append((C * h).sum(1).flatten())
            row += 1
    close(scans.ssd(hiddens, LENGTHS, given, A, D), gated(torch.stack(expected), given, D))
    for found, end in zip(hiddens, ends, strict=True):
        close(found, end)


def test_gives_a_sequence_the_same_in_any_company(draw: torch.Generator) -> None:
    scans, given = scans_for([CHANNELS], STATE), inputs(CHANNELS, STATE, draw)
    hiddens = kept((STATE, CHANNELS), draw)
    A, D = -torch.rand(STATE, CHANNELS, generator=draw), torch.randn(CHANNELS, generator=draw)  # noqa: N806
    alone = hiddens[1].clone()
    together = scans.selective(hiddens, LENGTHS, given, A, D)[1:71]
    rows = [Inputs(*(each[begin:end] for each in given)) for begin, end in ((1, 2), (2, 40), (40, 71))]
    apart = [scans.selective([alone], [len(each.x)], each, A, D) for each in rows]
    torch.testing.assert_close(torch.cat(apart), together, atol=1e-6, rtol=1e-6)
