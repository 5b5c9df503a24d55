"""What all launchers of jobs have in common, as Hydra wants a launcher."""

import sys
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from markgraph.launching.command import Done, Job
from markgraph.launching.outcome import note


class CommandLauncher(Launcher):
    """Runs each job as `markgraph VERB OVERRIDES`, and prints what it said when it has ended.

    A subclass says where. The exit code of a sweep is the worst of its jobs'.
    """

    threads: int | None = None
    """How many threads a job computes with."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,  # noqa: ARG002 -- Hydra's interface
        task_function: TaskFunction,  # noqa: ARG002
        config: DictConfig,
    ) -> None:
        """Take the config of the sweep."""
        self.config = config

    def launch(
        self,
        job_overrides: Sequence[Sequence[str]],
        initial_job_idx: int,  # noqa: ARG002
    ) -> Sequence[JobReturn]:
        """Run all jobs, and return what they came to in their order."""
        _, verb = str(self.config.hydra.help.app_name).split()
        given = [each for each in self.config.hydra.overrides.hydra if each.startswith("hydra.searchpath=")]
        jobs = [Job([verb, *given, *overrides], self.threads) for overrides in job_overrides]
        returns = []
        for overrides, done in zip(job_overrides, self.run_all(jobs), strict=True):
            print(f"[{','.join(overrides)}]\n{done.err}", end="", file=sys.stderr, flush=True)  # noqa: T201
            print(done.out, end="", flush=True)  # noqa: T201
            note(done.outcome)
            status = JobStatus.COMPLETED
            returns.append(JobReturn(overrides=overrides, _return_value=done.outcome.figure, status=status))
        return returns

    @abstractmethod
    def run_all(self, jobs: Sequence[Job]) -> Iterable[Done]:
        """Run jobs, and yield what they left, in their order."""

    @property
    def folder(self) -> Path:
        """Return where the sweep may write."""
        return Path(str(self.config.hydra.sweep.dir))


def shared(count: int, cpus: int) -> int:
    """Return how many threads each of `count` jobs has of the processors of one machine."""
    return max(1, cpus // count)
