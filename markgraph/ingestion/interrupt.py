"""Tells threads that somebody pressed Ctrl-C: Python tells the main thread only, which may wait for them."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

_PRESSED: ContextVar[threading.Event | None] = ContextVar("Ctrl-C was pressed", default=None)


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Let what runs within, in this thread or in others with its context, learn of Ctrl-C.

    Signals belong to the main thread; in another this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    token, before = _PRESSED.set(pressed), signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _PRESSED.reset(token)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Give what interrupts, once it is set, all that runs within, in this thread or in others."""
    pressed = threading.Event()
    token = _PRESSED.set(pressed)
    try:
        yield pressed
    finally:
        _PRESSED.reset(token)


def check_interrupted() -> None:
    """Go no further when Ctrl-C was pressed.

    Raises:
        KeyboardInterrupt: it was.
    """
    if is_interrupted():
        raise KeyboardInterrupt


def is_interrupted() -> bool:
    """Tell whether Ctrl-C was pressed."""
    pressed = _PRESSED.get()
    return pressed is not None and pressed.is_set()
