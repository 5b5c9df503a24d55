"""Which forms of a linear layer this machine multiplies rightly and quickly: they are tried, not believed.

The same operation of a library is fast on one processor, a thousand times slower on another, and on a
third gives wrong numbers without a warning.
"""

import logging
from functools import cache
from time import perf_counter

import torch
from torch import Tensor

from markgraph.engines.native.linear import FORMS, Float32, Form, Linear

ERRORS = {
    "float32": 1e-5,
    "float32-onednn": 1e-5,
    "bfloat16": 0.02,
    "int8": 0.03,
    "int8-rows": 0.03,
    "int4": 0.2,
}
"""What rounding alone may cost: the norm of the error over the norm of the product."""
SLOWEST = 100
"""Times as long as float32 that a form may take. Slow paths are 1,000 times slower; a busy machine is 10."""
OUTPUTS, INPUTS, ROWS = 256, 512, (1, 5, 64)

log = logging.getLogger(__name__)


@cache
def serving(name: str, threads: int) -> Form:
    """Return the form `name`, or the next best that works on this machine with so many `threads`."""
    instead = ("float32",) if name.startswith("float32") else ("bfloat16", "float32")
    for candidate in dict.fromkeys((name, *instead)):
        fault = _fault(FORMS[candidate])
        if fault is None:
            return FORMS[candidate]
        log.warning("%s is not used with %d threads: %s.", candidate, threads, fault)
    return Float32()


def _fault(form: Form) -> str | None:
    """Return what is wrong with `form` here, or None."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weight, x = torch.randn(OUTPUTS, INPUTS), torch.randn(max(ROWS), INPUTS)
    try:
        linear, plain = Linear(weight, form), Linear(weight, Float32())
        for rows in ROWS:
            error = relative_error(linear(x[:rows]), x[:rows] @ weight.t())
            if not error <= ERRORS[form.name]:
                return f"its products of {rows} rows are wrong by {error:.2g}"
        if (times := _times_as_long(linear, plain, x)) > SLOWEST:
            return f"its products of {len(x)} rows take {times:.0f} times as long as float32's"
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        return str(error).splitlines()[0]
    return None


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of what was expected."""
    return float((found - expected).norm() / expected.norm())


def _times_as_long(linear: Linear, plain: Linear, x: Tensor) -> float:
    """Compare the two on one thread: threads that wait for each other say more of who else computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _seconds(linear, x) / _seconds(plain, x)
    finally:
        torch.set_num_threads(threads)


def _seconds(linear: Linear, x: Tensor) -> float:
    """Return the shortest of some runs."""
    times = []
    for _ in range(5):
        start = perf_counter()
        linear(x)
        times.append(perf_counter() - start)
    return min(times)
