"""The thread that owns a decoder."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Thread, current_thread

import torch

from markgraph.engines.native.request import Request
from markgraph.engines.native.scheduler import Scheduler


class Worker:
    """Turns a scheduler on a thread of its own, which sleeps while there is nothing to do.

    The model is loaded on that thread too: each thread that computes gets helpers of its own from OpenMP, and
    with more of them than cores, all wait for each other by the system, which doubles the time of a step.
    The thread doesn't keep the process alive.

    Args:
        load: loads the model; what it raises is raised here.
        threads: how many threads compute.
    """

    def __init__(self, load: Callable[[], Scheduler], threads: int) -> None:
        self._wanted = Event()
        self._closing = Event()
        loaded: Future[Scheduler] = Future()
        run = ([load], threads, loaded)  # in a list, to be taken out: a thread keeps its arguments
        self._thread = Thread(target=self._run, args=run, name="markgraph-native", daemon=True)
        self._thread.start()
        self.scheduler = loaded.result()

    @property
    def alive(self) -> bool:
        """Tell whether requests are still answered."""
        return self._thread.is_alive() and not self._closing.is_set()

    def submit(self, request: Request) -> None:
        """Queue `request`; see `Admission.submit` for what it may be refused for."""
        self.scheduler.submit(request)
        self.wake()

    def wake(self) -> None:
        """Have the scheduler look again: somebody came, left, or caught up."""
        self._wanted.set()

    def cancel(self, request: Request) -> None:
        """Say that nobody waits for `request`."""
        request.cancelled = True
        self.wake()

    def close(self) -> None:
        """End what is under way with an error, and wait until the thread has ended."""
        self._closing.set()
        self.wake()
        if current_thread() is not self._thread:  # which may be the one that collects garbage
            self._thread.join()

    def _run(self, load: list[Callable[[], Scheduler]], threads: int, loaded: "Future[Scheduler]") -> None:
        torch.set_num_threads(threads)
        try:
            scheduler = load.pop()()
        except BaseException as error:
            loaded.set_exception(error)
            return
        loaded.set_result(scheduler)
        try:
            with torch.inference_mode():
                while not self._closing.is_set():
                    self._wanted.wait()
                    self._wanted.clear()
                    while not self._closing.is_set() and scheduler.turn():
                        pass
        finally:
            scheduler.close()
