"""The thread that owns a decoder."""

from threading import Event, Thread, current_thread

import torch

from markgraph.engines.native.request import Request
from markgraph.engines.native.scheduler import Scheduler


class Worker:
    """Turns a scheduler on a thread of its own, which sleeps while there is nothing to do.

    The thread doesn't keep the process alive.

    Args:
        threads: how many threads compute.
    """

    def __init__(self, scheduler: Scheduler, threads: int) -> None:
        self.scheduler = scheduler
        self._wanted = Event()
        self._closing = Event()
        self._thread = Thread(target=self._run, args=(threads,), name="markgraph-native", daemon=True)
        self._thread.start()

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

    def _run(self, threads: int) -> None:
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                while not self._closing.is_set():
                    self._wanted.wait()
                    self._wanted.clear()
                    while not self._closing.is_set() and self.scheduler.turn():
                        pass
        finally:
            self.scheduler.close()
