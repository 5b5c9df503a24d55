"""Jobs on the machines of a Ray cluster."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from typing import Any

from markgraph.ingestion.ray_cluster import Cluster, import_ray
from markgraph.launching.command import Done, Job
from markgraph.launching.launcher import CommandLauncher, in_order, say


class Ray(CommandLauncher):
    """Has a Ray cluster run the jobs, each where there are processors and GPUs for it.

    MARK is installed on each of its machines; what the jobs read and write is where all of them see it.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus: int | None = None,
        memory: int = 256,
        cpus_per_job: int = 1,
        gpus_per_job: float = 0,
    ) -> None:
        """Join the cluster at `address`; None starts one of `cpus` and `memory` MiB of shared objects."""
        self.address, self.cpus, self.memory = address, cpus, memory
        self.needs: dict[str, Any] = {"num_cpus": cpus_per_job, "num_gpus": gpus_per_job}
        self.threads = cpus_per_job

    def run_all(self, jobs: Sequence[Job]) -> Iterable[Done]:
        """Run jobs, and yield what they left, in their order.

        Raises:
            MissingExtraError: Ray is not installed.
            MarkError: there is no such cluster.
        """
        ray = import_ray()
        cluster = Cluster(self.address, self.cpus, self.memory)
        try:
            start = ray.remote(_run).options(max_retries=0, **self.needs)
            running = list(_submitted(start, jobs))
            yield from in_order(jobs, running, as_completed(running))
        finally:
            cluster.leave()


def _submitted(start: Any, jobs: Sequence[Job]) -> Iterator[Future[Done]]:
    for job in jobs:
        running = start.remote(job).future()
        say(f"{job.name} submitted: {job.differs}")
        yield running


def _run(job: Job) -> Done:
    return job()
