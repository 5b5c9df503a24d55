"""The compiled kernels multiply exactly, whatever the shape."""

from ctypes import byref

import pytest
import torch

from markgraph.engines.native import kernels
from markgraph.engines.native.compiled import in_blocks
from markgraph.engines.native.linear import ZERO


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 13, 24])
def test_the_kernels_multiply_exactly(rows: int) -> None:
    library = kernels.library()
    if library is None:
        pytest.skip("needs a C compiler")
    block = kernels.integer.in_dll(library, "mark_block").value
    for outputs, inputs in ((1, 16), (31, 48), (32, 64), (33, 64), (50, 192), (100, 576)):
        q = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
        a = torch.randint(0, 256, (rows, inputs), dtype=torch.uint8)
        scale, packed = torch.rand(outputs), in_blocks(q, block)
        offset = q.sum(1, dtype=torch.int32) * ZERO
        y = torch.full((rows + 1, outputs), 7.0)
        matrix = kernels.Matrix(*(each.data_ptr() for each in (packed, scale, offset)), outputs, inputs)
        threads = kernels.Rows(m=rows, threads=2)
        library.mark_product(byref(matrix), byref(threads), rows, a.data_ptr(), y.data_ptr())
        exact = (a.to(torch.int64) - ZERO) @ q.to(torch.int64).t()
        assert torch.equal(y[:rows], exact.float() * scale)
        assert torch.equal(y[rows], torch.full((outputs,), 7.0))
