"""Follows runs in MLflow: in an SQLite file, or on a server."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from markgraph.errors import MissingExtraError, StorageError
from markgraph.training.tracking import Known, Tracking, flat, is_known

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
PATIENCE, LONGEST = 60.0, 960.0
"""Seconds until a server that did not answer is told again while a training goes on, at first and at most."""
RETRIES = "2"
"""How often MLflow's client asks again before it gives up: by itself it does so for minutes."""
TIMEOUT = "30"
"""Seconds that it waits for an answer."""
REASON = 300
"""Characters of a reason that people are shown."""


@dataclass(frozen=True)
class Mlflow:
    """Runs of one experiment. A run that goes on after a crash goes on in the same run of MLflow's."""

    uri: str
    """`sqlite:///FILE`, or a server's address."""
    experiment: str = "markgraph"
    artifacts: str | None = None
    """Where a new experiment of an SQLite file keeps files; None: where MLflow says, as a server does."""

    def run(self, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracking:
        """Return the run called `name`, begun if there is none.

        Raises:
            MissingExtraError: MLflow is not installed.
            StorageError: it does not answer, or refuses.
        """
        client_of = self._imported()
        with _answering(self.uri, name):
            with self._alone():  # tables that two make at once are broken
                client = client_of(tracking_uri=self.uri, registry_uri=self.uri)
                experiment = self._experiment(client)
            found = client.search_runs([experiment], filter_string=f"tags.`{RUN}` = '{name}'", max_results=1)
            if found:
                run = found[0].info.run_id
                client.update_run(run, status="RUNNING")
            else:
                run = client.create_run(experiment, tags={RUN: name, **tags}, run_name=name).info.run_id
            entities, told = _entities(), found[0].data if found else None
            # One that was told is never changed there, though folders may have been moved since.
            fresh = [(key, value) for key, value in flat(config) if not told or key not in told.params]
            params = [entities.Param(key, value[:VALUE]) for key, value in fresh]
            for at in range(0, len(params), BATCH):
                client.log_batch(run, params=params[at : at + BATCH])
            known = {
                key: {each.step: each.value for each in client.get_metric_history(run, key)}
                for key in (told.metrics if told else ())
            }
        return _Run(self.uri, name, client, run, known)

    @property
    def _file(self) -> Path | None:
        """The SQLite file; None: there is a server."""
        scheme, has_it, file = self.uri.partition("sqlite:///")
        return Path(file) if has_it and not scheme else None

    def _imported(self) -> Any:
        """Return MLflow's client, which says nothing to its makers, and little to others."""
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # stdout is the report's
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", TIMEOUT)
        try:
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"Following runs in MLflow needs {error.name}. Install it: pip install 'markgraph[train]'. "
                "Or follow none: tracker=none."
            ) from error
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells how it makes its tables
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # and each time it asks again
        return MlflowClient

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes of this machine off the file; a server keeps order by itself."""
        if self._file is None:
            yield
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._file}.lock"):
            yield

    def _experiment(self, client: Any) -> str:
        known = client.get_experiment_by_name(self.experiment)
        if known:
            return str(known.experiment_id)
        is_here = self._file is not None and self.artifacts is not None
        place = Path(str(self.artifacts)).absolute().as_uri() if is_here else None
        try:
            return str(client.create_experiment(self.experiment, artifact_location=place))
        except _refusal():  # another has made it in the meantime
            known = client.get_experiment_by_name(self.experiment)
            if known is None:
                raise
            return str(known.experiment_id)


@dataclass
class _Run:
    uri: str
    name: str
    client: Any
    id: str
    known: Known
    """What MLflow had when this run was gone on with."""
    waiting: list[Any] = field(default_factory=list)
    written: float = field(default_factory=time)
    every: float = EVERY

    def log(self, figures: Mapping[str, float], step: int) -> None:
        now, entities = time(), _entities()
        self.waiting += [
            entities.Metric(key, value, int(now * 1000), step)
            for key, value in figures.items()
            if not is_known(self.known, key, step, value)
        ]
        if now - self.written >= self.every or (len(self.waiting) >= AT_ONCE and self.every == EVERY):
            self._try()

    def keep(self, files: Sequence[Path], folder: str) -> None:
        with _answering(self.uri, self.name):
            for file in files:
                self.client.log_artifact(self.id, str(file), folder)

    def end(self, status: str) -> None:
        with _answering(self.uri, self.name):
            self._write()
            self.client.set_terminated(self.id, status)

    def _try(self) -> None:
        """Write what waits, or go on training: it can be written later."""
        try:
            self._write()
            self.every = EVERY
        except _refusal() as error:
            if self.every == EVERY:
                logging.getLogger(__name__).warning(
                    "%s It is told again later; the training goes on.", _told(self.uri, error)
                )
            # One that keeps people waiting is asked more and more seldom.
            self.every, self.written = max(PATIENCE, min(2 * self.every, LONGEST)), time()

    def _write(self) -> None:
        while self.waiting:
            self.client.log_batch(self.id, metrics=self.waiting[:AT_ONCE])
            del self.waiting[:AT_ONCE]
        self.written = time()


@contextmanager
def _answering(uri: str, run: str) -> Iterator[None]:
    """Say what to do where MLflow does not answer, or refuses."""
    try:
        yield
    except _refusal() as error:
        raise StorageError(
            f"{_told(uri, error)} Nothing of the run is lost. Go on with it when MLflow answers, or without "
            f"it: markgraph train resume={run} confirm=true [tracker=none]"
        ) from error


def _told(uri: str, error: Exception) -> str:
    """Return what went wrong in one line, without the password that an address may have."""
    user, at, _ = urlsplit(uri).netloc.rpartition("@")
    first: BaseException = error
    while first.__context__:  # refused by the network, and then by everyone who had asked somebody else
        first = first.__context__
    reason = (str(first).strip() or type(first).__name__).splitlines()[0][:REASON].rstrip(".")
    said = f"MLflow at {uri} could not be told of a run: {reason}."
    return said.replace(user + at, "") if user else said


def _refusal() -> tuple[type[Exception], ...]:
    """Return what MLflow's client raises: its own, and what it lets through of the libraries below it."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError  # requests raises these


def _entities() -> Any:
    from mlflow import entities

    return entities
