"""Several jobs at a time on this machine."""

import os
from collections.abc import Iterable, Sequence

from markgraph.errors import MissingExtraError
from markgraph.launching.command import Done, Job
from markgraph.launching.launcher import CommandLauncher, say, shared


class Joblib(CommandLauncher):
    """Starts processes from joblib's threads: `n_jobs` as joblib counts them, -1 for one a processor."""

    def __init__(self, n_jobs: int = 2) -> None:
        """Run so many jobs at a time."""
        self.n_jobs = n_jobs

    def run_all(self, jobs: Sequence[Job]) -> Iterable[Done]:
        """Run jobs, and yield what they left, in their order.

        Raises:
            MissingExtraError: joblib is not installed.
        """
        try:
            from joblib import Parallel, delayed, effective_n_jobs  # noqa: TID251 -- threads pickle nothing
        except ImportError as error:
            raise MissingExtraError("This launcher needs joblib: pip install 'markgraph[sweep]'") from error
        threads = shared(effective_n_jobs(self.n_jobs), os.cpu_count() or 1)
        calls = [delayed(_run)(job._replace(threads=threads)) for job in jobs]
        done: Iterable[Done] = Parallel(n_jobs=self.n_jobs, backend="threading", return_as="generator")(calls)
        return done


def _run(job: Job) -> Done:
    say(f"{job.name}: {job.differs}")
    done = job()
    say(f"{job.name} ended: exit code {done.outcome.code}")
    return done
