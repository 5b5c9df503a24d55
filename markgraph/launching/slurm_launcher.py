"""Jobs on a SLURM cluster, by submitit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markgraph.errors import MarkError, MissingExtraError
from markgraph.launching.command import Done, Job
from markgraph.launching.launcher import CommandLauncher, in_order, say

POLL = 1.0
"""Seconds between looks at which jobs have ended; submitit itself asks SLURM less often."""


class Slurm(CommandLauncher):
    """Submits each job; a folder that all machines see holds its log, below that of the sweep."""

    def __init__(
        self,
        cluster: str = "slurm",
        timeout_min: int = 240,
        cpus_per_task: int = 4,
        mem_gb: float = 16,
        gpus_per_node: int = 0,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Ask for so much for each job.

        Args:
            cluster: `slurm`; `local` for processes of this machine, `debug` for this process.
            timeout_min: minutes after which a job is stopped.
            cpus_per_task: processors of a job.
            mem_gb: its memory.
            gpus_per_node: its GPUs.
            more: anything else that submitit's `update_parameters` takes: `slurm_partition`, ...
        """
        self.cluster, self.threads = cluster, cpus_per_task
        self.settings = {
            "timeout_min": timeout_min,
            "cpus_per_task": cpus_per_task,
            "mem_gb": mem_gb,
            "gpus_per_node": gpus_per_node,
            **(more or {}),
        }

    def run_all(self, jobs: Sequence[Job]) -> Iterable[Done]:
        """Run jobs, and yield what they left, in their order.

        Raises:
            MissingExtraError: submitit is not installed.
            MarkError: there is no SLURM here, or it stopped a job.
        """
        try:
            from submitit.core.utils import FailedJobError, UncompletedJobError
            from submitit.helpers import as_completed
        except ImportError as error:
            raise MissingExtraError("This launcher needs submitit: pip install 'markgraph[sweep]'") from error
        executor = self._executor()
        try:
            executor.update_parameters(name="markgraph", **self.settings)
            submitted = executor.map_array(Job.__call__, jobs)
            for job in jobs:
                say(f"{job.name} submitted: {job.differs}")
            yield from in_order(jobs, submitted, as_completed(submitted, poll_frequency=POLL))
        except (RuntimeError, FailedJobError, UncompletedJobError) as error:
            raise MarkError(
                f"A job of the cluster {self.cluster!r} failed: {error} Its log is in {self.folder}/submitit."
            ) from error

    def _executor(self) -> Any:
        import submitit

        try:
            return submitit.AutoExecutor(folder=self.folder / "submitit", cluster=self.cluster)
        except RuntimeError as error:
            raise MarkError(
                f"There is no cluster {self.cluster!r} here: {error} Start it where `srun` and `sbatch` are, "
                "or say hydra.launcher.cluster=local, which runs the same jobs as processes of this machine."
            ) from error
