"""Starts a Ray cluster for this process, or joins one: quiet, without telemetry, closed to others."""

import atexit
import logging
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil

from markgraph.errors import MarkError, MissingExtraError

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray tells stdout, which may be JSON, of each worker that died.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
_FOLDER = "/tmp"  # noqa: S108 - the paths of sockets must be short, and TMPDIR need not be
_PATIENCE = 10
"""Seconds within which what was killed must be gone."""
_CRITICAL = logging.CRITICAL


class Cluster:
    """The cluster that this process uses from now on, until it leaves.

    One that was joined before, by an application that uses Ray itself, is used as it is, and not left.
    """

    def __init__(self, address: str | None, cpus: int | None, memory: int) -> None:
        """Join the cluster at `address`; None starts one of `cpus` and `memory` MiB of shared objects.

        Raises:
            MissingExtraError: Ray is not installed.
            MarkError: there is no such cluster, or it can't be started.
        """
        ray = import_ray()
        self._leave: weakref.finalize[Any, Cluster] | None = None
        if ray.is_initialized():
            return
        folder = None if address else tempfile.mkdtemp(prefix=f"mark-{os.getpid()}-", dir=_FOLDER)
        left = threading.Event()
        self._leave = weakref.finalize(self, _leave, folder, left)
        self._leave.atexit = False
        try:
            with _ray_errors(address), _no_stderr():
                _join(address) if address else _in_thread_until(left, partial(_start, folder, cpus, memory))
        except BaseException:
            self._leave()
            raise
        atexit.register(self._leave)  # after Ray has registered its own, and so called before that

    def leave(self) -> None:
        """End the cluster if it was started here, and leave it if it was joined here."""
        if self._leave:
            atexit.unregister(self._leave)
            self._leave()


def import_ray() -> Any:
    """Return the module `ray`, with `ray.data`.

    Raises:
        MissingExtraError: it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(
            "executor=ray needs Ray, which is not installed. Run: pip install 'markgraph[ray]'"
        ) from error
    logging.getLogger("ray.data").setLevel(_CRITICAL)  # what goes wrong is raised
    return ray


def _join(address: str) -> None:
    import ray

    ray.init(address=address, log_to_driver=False, logging_level=_CRITICAL, job_config=_job())


def _start(folder: str | None, cpus: int | None, memory: int) -> None:
    import ray

    # Ray listens on every network interface, and does what anybody asks who knows the token. It remembers
    # the first that it sees, and else makes one of its own in ~/.ray, where others may read it.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(
        address="local",
        # Reading and embedding are two processes, also on one core.
        num_cpus=cpus or max(2, os.cpu_count() or 1),
        object_store_memory=memory * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=_CRITICAL,
        job_config=_job(),
        _temp_dir=folder,
    )


def _in_thread_until(left: threading.Event, start: Callable[[], None]) -> None:
    """Do `start` in a thread that lasts until `left`: the cluster ends with the thread that started it."""
    started: Future[None] = Future()

    def keep() -> None:
        try:
            start()
        except BaseException as error:  # who waits is told
            started.set_exception(error)
            return
        started.set_result(None)
        left.wait()

    threading.Thread(target=keep, name="ray", daemon=True).start()
    started.result()


def _job() -> Any:
    """Return settings by which workers import from where this process does, and not from the working folder.

    That may be a folder of documents, one of which is called `json.py`.
    """
    from ray.job_config import JobConfig

    return JobConfig(_client_job=True)


def _leave(folder: str | None, left: threading.Event) -> None:
    import ray

    family = _family(folder) if folder else []
    ray.shutdown()
    left.set()
    # Some would go on for a minute, until they notice that they are alone.
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=_PATIENCE)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _family(folder: str) -> list[psutil.Process]:
    """Return the processes of the cluster that keeps its files in `folder`."""
    family: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if folder in " ".join(child.cmdline()):
                family += [child, *child.children(recursive=True)]
    return family


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Write nothing to file descriptor 2: Ray's C++ side says that it will be quiet."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _ray_errors(address: str | None) -> Iterator[None]:
    try:
        yield
    except MarkError:
        raise
    except Exception as error:
        what = f"join the Ray cluster at {address}" if address else "start a Ray cluster here"
        raise MarkError(
            f"Cannot {what}: {error}. Check executor.address (null starts a cluster for this run), or take "
            "executor=local."
        ) from error
