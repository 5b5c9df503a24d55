"""Cases of the engine suite: how soon MARK answers, what memory it takes, and what its formats cost."""

from collections.abc import Callable

from markgraph.bench.figures import alone, at_least, at_most
from markgraph.bench.limit import matrix_weights
from markgraph.bench.measure import Case, Runner
from markgraph.bench.plan import MARK, Plan
from markgraph.bench.processes import Process, Setting
from markgraph.bench.results import Figures, Results
from markgraph.bench.table import Row

MODES = ("fast", "small")


def cases(plan: Plan) -> list[Case]:
    """Return the cases in the order in which they are measured."""
    return [_start(plan), _memory(plan), _quality(plan), _alike(plan)]


def _start(plan: Plan) -> Case:
    """A new process, from nothing to the first token; the weights were converted before."""
    size = plan.sizes

    def measure(process: Process) -> Figures:
        timed = process.call("answer", prompt=plan.prompts.text(size.short), new=1)
        return {"seconds": process.seconds + timed[0][0] - process.call("torch")}

    def rows(results: Results) -> list[Row]:
        return alone(results, "start to first token, importing torch not counted", "s", "seconds", at_most(3))

    runner = Runner(MARK, lambda: (plan.mark(fresh=True),), measure, ours=True)
    return Case("start", "start to first token", (runner,), rows, seconds=6)


def _memory(plan: Plan) -> Case:
    def measure(process: Process) -> Figures:
        taken = process.call("footprint")
        parameters = sum(matrix_weights(plan.folder))
        return {
            "weights": taken["weights"] / parameters,
            "peak": taken["peak"] / taken["weights"],
            "after": taken["after"] / taken["weights"],
        }

    def rows(results: Results) -> list[Row]:
        what = "small mode: "
        return [
            *alone(results, f"{what}weights", "bytes a parameter", "weights", at_most(0.8)),
            *alone(results, f"{what}peak memory while loading", "x of the weights", "peak", at_most(2)),
            *alone(results, f"{what}memory once loaded", "x of the weights", "after"),
        ]

    runner = Runner(MARK, lambda: (plan.decoder("small", fresh=True),), measure, ours=True)
    return Case("memory", "memory in the small mode", (runner,), rows, seconds=6, rounds=1)


def _quality(plan: Plan) -> Case:
    """Every format against the unquantised model, over the contract."""
    size = plan.sizes

    def measure(process: Process) -> Figures:
        found = process.call("quality", ids=plan.prompts.text(size.long)).values()
        return {
            "kl": max(each["kl"] for each in found),
            "top1": min(each["top1"] for each in found),
        }

    def rows(results: Results) -> list[Row]:
        found = []
        for mode in MODES:
            who = f"MARK, {mode}"
            found += alone(results, f"{mode} mode: KL from float32", "nats", "kl", at_most(0.01), mine=who)
            least = at_least(0.95) if mode == "fast" else None
            found += alone(results, f"{mode} mode: top-1 agreement", "share", "top1", least, mine=who)
        return found

    def decoder(mode: str) -> Callable[[], tuple[Setting, ...]]:
        return lambda: (plan.decoder(mode),)

    runners = tuple(Runner(f"MARK, {mode}", decoder(mode), measure, ours=True) for mode in MODES)
    return Case("quality", "quality of the formats", runners, rows, seconds=40, rounds=1)


def _alike(plan: Plan) -> Case:
    """Answers of many requests at once, and of each alone."""
    size = plan.sizes

    def measure(process: Process) -> Figures:
        prompts = plan.prompts.many(size.requests, size.each)
        together = process.call("batch", prompts=prompts, new=size.each_answer)
        alone = [process.call("answer", prompt=prompt, new=size.each_answer) for prompt in prompts]
        same = sum(_ids(one) == _ids(other) for one, other in zip(together, alone, strict=True))
        return {"same": same / len(prompts)}

    def rows(results: Results) -> list[Row]:
        what = f"answers that don't change with who shares the batch, of {size.requests}"
        return alone(results, what, "share", "same", at_least(1))

    runner = Runner(MARK, lambda: (plan.mark(),), measure, ours=True)
    return Case("alike", "answers alone and together", (runner,), rows, seconds=12, rounds=1)


def _ids(timed: list[tuple[float, int]]) -> list[int]:
    return [token for _, token in timed]
