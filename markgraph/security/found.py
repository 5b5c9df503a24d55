"""What a security check says."""

from typing import Literal, NamedTuple

State = Literal["ok", "off", "failed"]


class Found(NamedTuple):
    """What was found, and what to do about it."""

    state: State
    what: str
    advice: str = ""
