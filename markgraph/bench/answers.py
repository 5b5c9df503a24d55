"""Cases of the engine suite: answers by a Transformer of the Llama kind, one and many at once."""

from collections.abc import Callable
from statistics import median
from uuid import uuid4
from zlib import crc32

from markgraph.bench.figures import (
    Measure,
    alone,
    answer,
    at_least,
    at_most,
    batch,
    fastest,
    of_answer,
    rival,
    versus,
)
from markgraph.bench.measure import Case, Runner
from markgraph.bench.plan import MARK, Plan
from markgraph.bench.processes import Process, Setting
from markgraph.bench.results import Figures, Results
from markgraph.bench.table import Row, compare

GUESSING, MASKED = "MARK with speculation", "MARK, AMX masked"
ONE = "MARK, one request"
SECOND = "MARK, first request"
LLAMA, OPENVINO, TRANSFORMERS = "llama.cpp", "OpenVINO", "transformers"


def cases(plan: Plan) -> list[Case]:
    """Return the cases in the order in which they are measured."""
    return [_job(plan), *_first_tokens(plan), _decode(plan), _many(plan), _copies(plan), _prefix(plan)]


def plain(plan: Plan) -> Callable[[], tuple[Setting, ...]]:
    """Return MARK without speculation: what it computes, not what it need not compute."""
    return lambda: (plan.mark(speculation="off"),)


def _rivals(plan: Plan, measure: Measure, cost: Callable[[Figures], float]) -> tuple[Runner, ...]:
    window = plan.sizes.long + plan.sizes.answer
    return (
        *rival(plan, "llamacpp", lambda: plan.llamacpp(window), measure, cost),
        *rival(plan, "openvino", plan.openvino, measure, cost),
        *rival(plan, "transformers", plan.transformers, measure, cost),
    )


def _job(plan: Plan) -> Case:
    size = plan.sizes
    measure = answer(lambda: plan.prompts.text(size.long), size.answer)
    what = f"answer over a prompt of {size.long:,} tokens, {size.answer} new ones"

    def rows(results: Results) -> list[Row]:
        targets = {LLAMA: at_least(2), OPENVINO: at_least(1.15), TRANSFORMERS: None}
        found = versus(results, what, "s", "seconds", targets, times_faster=True)
        masked, why = (MASKED, "AMX masked") if plan.has_amx else (MARK, "no AMX on this machine")
        found += versus(
            results, f"{what}, {why}", "s", "seconds", {LLAMA: at_least(1.4)}, mine=masked, times_faster=True
        )
        return found + alone(results, f"{what}, with speculation", "s", "seconds", mine=GUESSING)

    without_amx = Runner(MASKED, lambda: (plan.mark(speculation="off", masked=True),), measure, ours=True)
    runners = (
        Runner(MARK, plain(plan), measure, ours=True),
        *_rivals(plan, measure, lambda figures: figures["seconds"]),
        Runner(GUESSING, lambda: (plan.mark(),), measure, ours=True),
        *((without_amx,) if plan.has_amx else ()),
    )
    return Case("job", "answer over a long prompt", runners, rows, seconds=18)


def _first_tokens(plan: Plan) -> list[Case]:
    size = plan.sizes
    return [_first_token(plan, size.medium, 0.5, 3.5), _first_token(plan, size.long, 0.4, 10)]


def _first_token(plan: Plan, tokens: int, share: float, seconds: float) -> Case:
    measure = answer(lambda: plan.prompts.text(tokens), 1)

    def rows(results: Results) -> list[Row]:
        targets = {LLAMA: at_most(share), OPENVINO: None, TRANSFORMERS: None}
        return versus(results, f"time to first token after {tokens:,} tokens", "s", "first", targets)

    runners = (Runner(MARK, plain(plan), measure, ours=True), *_rivals(plan, measure, lambda f: f["first"]))
    return Case("prefill", f"time to first token after {tokens:,}", runners, rows, seconds)


def _decode(plan: Plan) -> Case:
    size = plan.sizes
    measure = answer(lambda: plan.prompts.text(size.short), size.answer)

    def rows(results: Results) -> list[Row]:
        what, first = f"decode after {size.short} tokens", f"time to first token after {size.short} tokens"
        targets = {LLAMA: at_least(0.65), TRANSFORMERS: at_least(3.5), OPENVINO: None}
        found = versus(results, what, "tokens/s", "decode", targets)
        if results.has(MARK):
            runs, said = results.of(MARK, "decode"), f"the memory's limit ({plan.limit.words})"
            found.append(compare(what, "tokens/s", runs, said, [plan.limit.tokens_per_second]))
        return found + versus(results, first, "s", "first", {LLAMA: None, OPENVINO: None})

    runners = (Runner(MARK, plain(plan), measure, ours=True), *_rivals(plan, measure, fastest))
    return Case("decode", "decode at a short context", runners, rows, seconds=5)


def _many(plan: Plan) -> Case:
    size = plan.sizes
    new, window = size.each_answer, size.each + size.each_answer
    measure = batch(lambda: plan.prompts.many(size.requests, size.each), new)
    one = batch(lambda: plan.prompts.many(1, size.each), new)

    def rows(results: Results) -> list[Row]:
        what = f"{size.requests} requests at once"
        targets = {ONE: at_least(6), LLAMA: at_least(1.2), OPENVINO: at_least(1), TRANSFORMERS: None}
        rivals = {name: None for name in targets if name != ONE}
        return versus(results, f"{what}, while all decode", "tokens/s", "decode", targets) + versus(
            results, f"{what}, from start to end", "tokens/s", "whole", rivals
        )

    runners = (
        Runner(MARK, plain(plan), measure, ours=True),
        Runner(ONE, plain(plan), one, ours=True),
        *rival(plan, "llamacpp", lambda: plan.llamacpp(window, size.requests), measure, fastest),
        *rival(plan, "openvino", plan.openvino, measure, fastest),
        *rival(plan, "transformers", plan.transformers, measure, fastest),
    )
    return Case("batch", f"{size.requests} requests at once", runners, rows, seconds=35)


def _copies(plan: Plan) -> Case:
    """Answers that copy from their sources, each prompt with and without speculation."""
    size = plan.sizes

    def measure(process: Process) -> Figures:
        figures = {}
        for at, prompt in enumerate(plan.prompts.copies(size.long)):
            timed = process.call("answer", prompt=prompt, new=2 * size.answer)
            figures[f"{at} seconds"] = timed[-1][0]
            figures[f"{at} tokens"] = float(crc32(str([token for _, token in timed]).encode()))
        return figures

    def rows(results: Results) -> list[Row]:
        return _copied(results) if results.has(MARK) and results.has(GUESSING) else []

    runners = (
        Runner(MARK, lambda: (plan.mark(plan.ending, speculation="off"),), measure, ours=True),
        Runner(GUESSING, lambda: (plan.mark(plan.ending),), measure, ours=True),
    )
    return Case("copy", "answers that copy, speculation on and off", runners, rows, seconds=25)


def _copied(results: Results) -> list[Row]:
    prompts = [name.split()[0] for name in results.runs[MARK][0] if name.endswith("seconds")]
    gains, same = [], True
    for at in prompts:
        off, on = (median(results.of(name, f"{at} seconds")) for name in (MARK, GUESSING))
        gains.append(off / on)
        told = set(results.of(MARK, f"{at} tokens")) | set(results.of(GUESSING, f"{at} tokens"))
        same = same and len(told) == 1
    what = "answers that copy, speculation on against off"
    return [
        compare(f"{what}: median of {len(gains)} prompts", "x", gains, target=at_least(1.4)),
        compare(f"{what}: the worst prompt", "x", [min(gains)], target=at_least(0.95)),
        compare(f"{what}: tokens identical", "1 for yes", [float(same)], target=at_least(1)),
    ]


def _prefix(plan: Plan) -> Case:
    """Two requests that begin alike, and end in different questions."""
    size = plan.sizes

    def measure(process: Process) -> Figures:
        first, second = plan.prompts.questions()[:2]
        scope = uuid4().hex
        asked = [plan.prompts.about(size.prefix, question) for question in (first, second)]
        timed = [process.call("answer", prompt=ids, new=2, scope=scope) for ids in asked]
        figures = [of_answer(each, 2)["first"] for each in timed]
        return {"first": figures[0], "second": figures[1]}

    def rows(results: Results) -> list[Row]:
        if not results.has(MARK):
            return []
        runs, first = results.of(MARK, "second"), results.of(MARK, "first")
        what = f"shared prefix of {size.prefix:,} tokens, second request's time to first token"
        return [compare(what, "s", runs, SECOND, first, at_most(0.15))]

    runner = Runner(MARK, plain(plan), measure, ours=True)
    return Case("prefix", "shared prefix", (runner,), rows, seconds=1.5)
