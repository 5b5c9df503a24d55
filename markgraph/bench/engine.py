"""The suite `engine`: MARK's engine beside llama.cpp, OpenVINO and transformers."""

from markgraph.bench import answers, footprint, recurrent
from markgraph.bench.measure import Case
from markgraph.bench.plan import Plan


def cases(plan: Plan) -> list[Case]:
    """Return all cases, in the order in which they are measured."""
    return [*answers.cases(plan), *recurrent.cases(plan), *footprint.cases(plan)]
