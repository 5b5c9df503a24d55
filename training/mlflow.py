"""Follows runs in MLflow: in an SQLite file, or on a server."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

from markgraph.errors import MissingExtraError
from markgraph.training.tracking import Tracking, flat

RUN = "markgraph.run"
"""The tag that tells which run of MARK's one of MLflow's is."""
VALUE = 6000
"""Characters that MLflow takes of a parameter's value."""
BATCH = 100
"""Parameters that MLflow takes at once."""
AT_ONCE = 1000
"""Metrics that it takes at once."""
EVERY = 5.0
"""Seconds between two times that figures are written: each time is a transaction."""


@dataclass(frozen=True)
class Mlflow:
    """Runs of one experiment. A run that goes on after a crash goes on in the same run of MLflow's."""

    uri: str
    """`sqlite:///FILE`, or a server's address."""
    experiment: str = "markgraph"
    artifacts: str | None = None
    """Where a new experiment keeps files; None: where the server says."""

    def run(self, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracking:
        """Return the run called `name`, begun if there is none.

        Raises:
            MissingExtraError: MLflow is not installed.
        """
        client = self._client()
        experiment = self._experiment(client)
        found = client.search_runs([experiment], filter_string=f"tags.`{RUN}` = '{name}'", max_results=1)
        if found:
            run = found[0].info.run_id
            client.update_run(run, status="RUNNING")
        else:
            run = client.create_run(experiment, tags={RUN: name, **tags}, run_name=name).info.run_id
        entities = _entities()
        params = [entities.Param(key, value[:VALUE]) for key, value in flat(config)]
        for at in range(0, len(params), BATCH):
            client.log_batch(run, params=params[at : at + BATCH])
        return _Run(client, run)

    def _client(self) -> Any:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
        try:
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"Following runs in MLflow needs {error.name}. Install it: pip install 'markgraph[train]'. "
                "Or follow none: tracker=none."
            ) from error
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells how it makes its tables
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _experiment(self, client: Any) -> str:
        known = client.get_experiment_by_name(self.experiment)
        if known:
            return str(known.experiment_id)
        place = Path(self.artifacts).absolute().as_uri() if self.artifacts else None
        return str(client.create_experiment(self.experiment, artifact_location=place))


@dataclass
class _Run:
    client: Any
    id: str
    waiting: list[Any] = field(default_factory=list)
    written: float = field(default_factory=time)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        now, entities = time(), _entities()
        self.waiting += [entities.Metric(key, value, int(now * 1000), step) for key, value in figures.items()]
        if now - self.written >= EVERY or len(self.waiting) >= AT_ONCE:
            self._write()

    def keep(self, files: Sequence[Path], folder: str) -> None:
        for file in files:
            self.client.log_artifact(self.id, str(file), folder)

    def end(self, status: str) -> None:
        self._write()
        self.client.set_terminated(self.id, status)

    def _write(self) -> None:
        for at in range(0, len(self.waiting), AT_ONCE):
            self.client.log_batch(self.id, metrics=self.waiting[at : at + AT_ONCE])
        self.waiting.clear()
        self.written = time()


def _entities() -> Any:
    from mlflow import entities

    return entities
