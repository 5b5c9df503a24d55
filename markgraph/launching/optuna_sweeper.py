"""Chooses settings by what those before them came to, with Optuna."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from markgraph.errors import ConfigError, MissingExtraError, UsageError
from markgraph.json_text import json_text
from markgraph.launching.launcher import say
from markgraph.launching.outcome import compared

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIRECTIONS = ("maximize", "minimize")
REGISTERED = "registered"
"""Under what a trial keeps what its job has registered, as it is named elsewhere: MODEL@VERSION."""


class Optuna(Sweeper):
    """Tries `n_trials` settings, `n_jobs` at a time, and says which was best.

    `KEY=a,b` is a choice, `KEY=range(1,9)` or `KEY=int(interval(1,8))` a whole number, `KEY=interval(0,1)`
    any number between, and `KEY=tag(log,interval(1e-5,1e-3))` one whose logarithm is.
    """

    config: DictConfig
    hydra_context: HydraContext
    launcher: Launcher

    def __init__(
        self,
        n_trials: int = 20,
        n_jobs: int = 1,
        direction: str = "maximize",
        seed: int = 0,
        storage: str | None = None,
        study_name: str | None = None,
    ) -> None:
        """Take the settings of the search.

        Args:
            n_trials: how many settings are tried.
            n_jobs: so many are launched together; more are quicker, and learn less from each other.
            direction: `maximize` or `minimize`.
            seed: the same seed tries the same settings, as long as jobs come to the same.
            storage: Optuna's URL of a database in which the study goes on; None forgets it.
            study_name: its name there.

        Raises:
            ConfigError: there is no such direction, or no trial.
        """
        if direction not in DIRECTIONS or n_trials < 1 or n_jobs < 1:
            raise ConfigError(
                f"hydra.sweeper has direction {direction!r}, n_trials {n_trials}, n_jobs {n_jobs}. Allowed: "
                f"{' or '.join(DIRECTIONS)}, and whole numbers from 1."
            )
        self.n_trials, self.n_jobs, self.direction = n_trials, n_jobs, direction
        self.seed, self.storage, self.study_name = seed, storage, study_name

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the config of the sweep, and make its launcher."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Try settings, and return the best, with what it came to."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides(arguments)
        space = {
            each.get_key_element(): _distribution(each) for each in overrides if each.is_sweep_override()
        }
        fixed = [each.input_line or "" for each in overrides if not each.is_sweep_override()]
        if not space:
            raise UsageError("There is nothing to choose from. Give a setting several values: KEY=a,b.")
        study = self._study()
        for first in range(0, self.n_trials, self.n_jobs):
            self._try(study, space, fixed, first)
        return self._told(study)

    def _study(self) -> Any:
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(
            direction=self.direction,
            sampler=optuna.samplers.TPESampler(seed=self.seed),
            storage=self.storage,
            study_name=self.study_name,
            load_if_exists=True,
        )

    def _try(self, study: Any, space: Mapping[str, Any], fixed: Sequence[str], first: int) -> None:
        """Launch the next settings together, and tell the study what they came to."""
        trials = [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - first))]
        jobs = [[*fixed, *(f"{key}={value}" for key, value in trial.params.items())] for trial in trials]
        self.validate_batch_is_legal(jobs)
        failed = _optuna().trial.TrialState.FAIL
        launched = self.launcher.launch(jobs, initial_job_idx=first)
        outcomes = {each.job: each for each in compared()}
        for job, (trial, ran) in enumerate(zip(trials, launched, strict=True), start=first + 1):
            if (outcome := outcomes.get(job)) and outcome.made:
                trial.set_user_attr(REGISTERED, outcome.made)
            figure = ran.return_value
            is_told = figure is not None and math.isfinite(figure)
            study.tell(trial, figure if is_told else None, state=None if is_told else failed)
        if first == 0 and self.direction == "maximize":
            for metric in {each.metric for each in outcomes.values() if each.lower_is_better}:
                say(
                    f"Of {metric}, less is better, and this sweep looks for most: give it "
                    "hydra.sweeper.direction=minimize."
                )

    def _told(self, study: Any) -> dict[str, Any]:
        """Return the best settings, print them on stderr, and keep all in the folder of the sweep.

        Raises:
            UsageError: no run came to a figure.
        """
        tried = [_tried(each) for each in study.get_trials()]
        if all(each["figure"] is None for each in tried):
            raise UsageError("No run of this sweep measured anything that one could be better in.")
        best = _tried(study.best_trial)
        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.json").write_text(json_text({"best": best, "tried": tried}, indent=1), "utf-8")
        words = " ".join(f"{key}={value}" for key, value in best["settings"].items())
        made = f", registered as {best[REGISTERED]}" if REGISTERED in best else ""
        say(f"Best of {len(tried)}: {best['figure']:.6g} with {words}{made}. All: {folder}/sweep.json")
        return best


def _tried(trial: Any) -> dict[str, Any]:
    """Return what is kept of a trial: settings, figure, and what was registered, if anything was."""
    return {"settings": trial.params, "figure": trial.value, **trial.user_attrs}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("This sweeper needs Optuna: pip install 'markgraph[sweep]'") from error
    return optuna


def _distribution(override: Override) -> "BaseDistribution":
    """Return what Optuna chooses a setting from.

    Raises:
        UsageError: it can't choose from such values.
    """
    distributions, sweep, value = _optuna().distributions, override.value(), override
    if isinstance(sweep, IntervalSweep):
        is_whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        kind = distributions.IntDistribution if is_whole else distributions.FloatDistribution
        return kind(sweep.start, sweep.end, log="log" in sweep.tags)  # type: ignore[no-any-return]
    if isinstance(sweep, RangeSweep) and sweep.stop is not None and float(sweep.step).is_integer():
        return distributions.IntDistribution(  # type: ignore[no-any-return]
            int(sweep.start or 0), int(sweep.stop) - 1, step=int(sweep.step)
        )
    if isinstance(sweep, ChoiceSweep):
        choices = [*value.sweep_iterator(transformer=Transformer.encode)]
        return distributions.CategoricalDistribution(choices)  # type: ignore[no-any-return]
    raise UsageError(
        f"{override.input_line!r} can't be searched. Allowed: KEY=a,b, KEY=range(1,9), KEY=interval(0,1), "
        "KEY=tag(log,interval(1e-5,1e-3))."
    )
