"""Cases of the engine suite: Mamba and Mamba-2 of 130 M random weights."""

from collections.abc import Callable
from pathlib import Path

from markgraph.bench.answers import LLAMA, TRANSFORMERS
from markgraph.bench.figures import answer, at_least, at_most, batch, fastest, of_answer, rival, versus
from markgraph.bench.measure import Case, Runner
from markgraph.bench.plan import MARK, Plan
from markgraph.bench.processes import Process, Setting
from markgraph.bench.results import Figures, Results
from markgraph.bench.table import Row, compare

EXACT, SMALL = "MARK, float32", "MARK, small"
ONE, ONE_EXACT = "MARK, one request", "MARK, float32, one request"
NEW = 32


def cases(plan: Plan) -> list[Case]:
    """Return the cases in the order in which they are measured."""
    return [_mamba(plan), _many(plan), _far(plan), _document(plan), _mamba2(plan)]


def _native(plan: Plan, folder: Callable[[], Path], mode: str) -> Callable[[], tuple[Setting, ...]]:
    return lambda: (plan.mark(folder(), mode=mode, speculation="off"),)


def _theirs(plan: Plan, folder: Callable[[], Path]) -> Callable[[], tuple[Setting, ...]]:
    return lambda: plan.transformers("float32", folder())


def _mamba(plan: Plan) -> Case:
    size = plan.sizes
    measure = answer(lambda: plan.prompts.text(size.long), NEW)

    def rows(results: Results) -> list[Row]:
        read, decode = f"Mamba: prefill of {size.long:,} tokens", "Mamba: decode"
        exact = {TRANSFORMERS: at_least(5)}
        return [
            *versus(results, f"{read}, float32", "s", "first", exact, mine=EXACT, times_faster=True),
            *versus(
                results, f"{decode}, float32", "tokens/s", "decode", {TRANSFORMERS: at_least(2)}, mine=EXACT
            ),
            *versus(
                results, f"{decode}, int4", "tokens/s", "decode", {TRANSFORMERS: at_least(3.5)}, mine=SMALL
            ),
            *versus(results, read, "s", "first", {LLAMA: at_least(1.7)}, times_faster=True),
            *versus(results, decode, "tokens/s", "decode", {LLAMA: None}),
        ]

    runners = (
        Runner(MARK, _native(plan, lambda: plan.mamba, "fast"), measure, ours=True),
        Runner(EXACT, _native(plan, lambda: plan.mamba, "exact"), measure, ours=True),
        Runner(SMALL, _native(plan, lambda: plan.mamba, "small"), measure, ours=True),
        *rival(plan, "llamacpp", plan.llamacpp_mamba, measure, fastest),
        *rival(plan, "transformers", _theirs(plan, lambda: plan.mamba), measure, fastest),
    )
    return Case("mamba", "Mamba", runners, rows, seconds=30)


def _many(plan: Plan) -> Case:
    size = plan.sizes
    measure = batch(lambda: plan.prompts.many(size.requests, size.each), size.each_answer)
    one = batch(lambda: plan.prompts.many(1, size.each), size.each_answer)
    fast, exact = (_native(plan, lambda: plan.mamba, "fast"), _native(plan, lambda: plan.mamba, "exact"))

    def rows(results: Results) -> list[Row]:
        what, target = f"Mamba: {size.requests} requests at once", at_least(4)
        return [
            *versus(results, what, "tokens/s", "decode", {ONE: target}),
            *versus(results, f"{what}, float32", "tokens/s", "decode", {ONE_EXACT: target}, mine=EXACT),
        ]

    runners = (
        Runner(MARK, fast, measure, ours=True),
        Runner(ONE, fast, one, ours=True),
        Runner(EXACT, exact, measure, ours=True),
        Runner(ONE_EXACT, exact, one, ours=True),
    )
    return Case("mamba_batch", f"Mamba, {size.requests} requests at once", runners, rows, seconds=20)


def _far(plan: Plan) -> Case:
    """Decoding after a short and a long context, which is read in the first round and kept."""
    size = plan.sizes

    def measure(process: Process) -> Figures:
        figures = {}
        for name, tokens in (("near", size.near), ("far", size.far)):
            timed = process.call("answer", prompt=plan.prompts.text(tokens), new=NEW, scope="context")
            figures[name] = 1000 / of_answer(timed, NEW)["decode"]
        return figures

    def rows(results: Results) -> list[Row]:
        what = f"Mamba: decode after {size.far:,} tokens"
        return _far_and_near(results, what, "ms/token", f"MARK after {size.near:,}", 1.1)

    runner = Runner(MARK, _native(plan, lambda: plan.mamba, "fast"), measure, ours=True)
    return Case("mamba_far", "Mamba after a long context", (runner,), rows, seconds=3)


def _document(plan: Plan) -> Case:
    """A document is read once; each round asks another question about it."""
    size = plan.sizes

    def measure(process: Process) -> Figures:
        figures = {}
        asked = plan.prompts.next_question()
        for name, tokens in (("near", size.near), ("far", size.far)):
            ids = plan.prompts.about(tokens, asked)
            timed = process.call("answer", prompt=ids, new=2, scope="document")
            figures[name] = of_answer(timed, 2)["first"]
        return figures

    def rows(results: Results) -> list[Row]:
        what = f"a document of {size.far:,} tokens read before by Mamba, then a question: time to first token"
        return _far_and_near(results, what, "s", f"MARK on {size.near:,} tokens", 1.2)

    runner = Runner(MARK, _native(plan, lambda: plan.mamba, "fast"), measure, ours=True)
    return Case("document", "a document that was read before", (runner,), rows, seconds=1)


def _far_and_near(results: Results, what: str, unit: str, against: str, most: float) -> list[Row]:
    if not results.has(MARK):
        return []
    far, near = results.of(MARK, "far"), results.of(MARK, "near")
    return [compare(what, unit, far, against, near, at_most(most))]


def _mamba2(plan: Plan) -> Case:
    size = plan.sizes
    measure = answer(lambda: plan.prompts.text(size.long), NEW)

    def rows(results: Results) -> list[Row]:
        target, read = {TRANSFORMERS: at_least(1.7)}, f"Mamba-2: prefill of {size.long:,} tokens, float32"
        return [
            *versus(results, read, "s", "first", target, mine=EXACT, times_faster=True),
            *versus(results, "Mamba-2: decode, float32", "tokens/s", "decode", target, mine=EXACT),
        ]

    runners = (
        Runner(EXACT, _native(plan, lambda: plan.mamba2, "exact"), measure, ours=True),
        *rival(plan, "transformers", _theirs(plan, lambda: plan.mamba2), measure, fastest),
    )
    return Case("mamba2", "Mamba-2", runners, rows, seconds=15)
