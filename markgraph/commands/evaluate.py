"""`markgraph evaluate`: how good it is, on data that somebody has judged."""

from importlib import import_module
from pathlib import Path

from omegaconf import DictConfig

from markgraph.bench.plot import check_plot
from markgraph.commands.checks import OUTPUTS, check_choice, check_number, check_writable
from markgraph.launching.outcome import Outcome

SUITES = {
    "retrieval": "markgraph.commands.evaluate_retrieval",
    "answers": "markgraph.commands.evaluate_answers",
    "models": "markgraph.commands.evaluate_models",
}
"""The module of each suite: its `run(config)` measures, prints, and returns its outcome."""


def run(config: DictConfig) -> Outcome:
    """Run the suite that the config names.

    A sweep looks at `metric`, or else F1, of answers; at nDCG@10 of the last retriever; at a model's
    perplexity, of which less is better: `hydra.sweeper.direction=minimize`.
    """
    check_choice(config, "suite", tuple(SUITES))
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "resume", (True, False))
    check_number(config, "limit", 1, 10**9, optional=True)
    if config.plot is not None:
        check_plot(Path(config.plot))
        check_writable("plot", Path(config.plot))
    outcome: Outcome = import_module(SUITES[config.suite]).run(config)
    return outcome
