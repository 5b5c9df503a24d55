"""What all launchers of jobs have in common, as Hydra wants a launcher."""

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from markgraph.launching.command import Done, Job
from markgraph.launching.outcome import differing, note


class Running(Protocol):
    """A job that was submitted."""

    def result(self) -> Done:
        """Wait for its end, and return what it left."""


class CommandLauncher(Launcher):
    """Runs each job as `markgraph VERB OVERRIDES`, and prints what it said when it has ended.

    A subclass says where, and tells on stderr when a job starts, or is submitted, and when it ends. The exit
    code of a sweep is the worst of its jobs'.
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

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs, and return what they came to in their order."""
        jobs = self._jobs(job_overrides, initial_job_idx + 1)
        returns = []
        for number, (overrides, done) in enumerate(
            zip(job_overrides, self.run_all(jobs), strict=True), start=initial_job_idx + 1
        ):
            print(f"[{','.join(overrides)}]\n{done.err}", end="", file=sys.stderr, flush=True)  # noqa: T201
            print(done.out, end="", flush=True)  # noqa: T201
            note(done.outcome._replace(job=number, overrides=tuple(overrides)))
            status = JobStatus.COMPLETED
            returns.append(JobReturn(overrides=overrides, _return_value=done.outcome.figure, status=status))
        return returns

    def _jobs(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Return the jobs of these overrides; the first of them is job number `first` of the sweep."""
        _, verb = str(self.config.hydra.help.app_name).split()
        given = [each for each in self.config.hydra.overrides.hydra if each.startswith("hydra.searchpath=")]
        sweeper = self.config.hydra.sweeper
        # A sweeper that launches some at a time says how many there will be, or nobody knows.
        total = sweeper.get("n_trials", None if sweeper.get("max_batch_size") else len(job_overrides))
        return [
            Job(
                [verb, *given, *overrides],
                self.threads,
                f"job {number} of {total}" if total else f"job {number}",
                differs,
            )
            for number, (overrides, differs) in enumerate(
                zip(job_overrides, differing(job_overrides), strict=True), start=first
            )
        ]

    @abstractmethod
    def run_all(self, jobs: Sequence[Job]) -> Iterable[Done]:
        """Run jobs, and yield what they left, in their order."""

    @property
    def folder(self) -> Path:
        """Return where the sweep may write."""
        return Path(str(self.config.hydra.sweep.dir))


def say(line: str) -> None:
    """Say something of a job on stderr, at once, and in one piece: others may speak at the same time."""
    print(f"{line}\n", end="", file=sys.stderr, flush=True)  # noqa: T201


def in_order(jobs: Sequence[Job], running: Sequence[Running], ended: Iterable[Running]) -> Iterator[Done]:
    """Say of each job that it has ended as soon as it has, and yield what they left, in their order.

    Args:
        running: the jobs, as they were submitted.
        ended: the same, each when it has ended.

    Raises:
        Exception: a job could not be run to its end; those before it are yielded first.
    """
    at, have_ended = 0, set()
    for one in ended:
        index = next(number for number, each in enumerate(running) if each is one)
        say(f"{jobs[index].name} ended: {_end(one)}")
        have_ended.add(index)
        while at in have_ended:
            yield running[at].result()
            at += 1


def _end(one: Running) -> str:
    try:
        return f"exit code {one.result().outcome.code}"
    except Exception:  # it is raised when its turn has come
        return "it was stopped"


def shared(count: int, cpus: int) -> int:
    """Return how many threads each of `count` jobs has of the processors of one machine."""
    return max(1, cpus // count)
