"""Model tiers: what each needs, and which of them a machine can hold at a speed that people wait for."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml

from markgraph.errors import TooLargeError

REACHED = 0.4
"""The share of the memory's bandwidth that decoding reaches; measured: 0.3 to 0.55, by model and machine."""


@dataclass(frozen=True)
class Tier:
    """A size of model, as `conf/tier` describes it."""

    name: str
    model: str
    """The option of `conf/model` that it chooses."""
    memory: int
    """Bytes: the weights in the forms they are served in, and room for prompts."""
    bytes_per_token: int
    """Bytes of weights that are read for one token."""
    least_speed: float
    """Tokens a second below which waiting is no fun."""

    def speed(self, bandwidth: float) -> float:
        """Return how many tokens a second to expect where memory is read at `bandwidth` GB/s."""
        return REACHED * bandwidth * 1e9 / self.bytes_per_token

    def fits(self, room: int) -> bool:
        """Tell whether `room` bytes of memory hold it."""
        return self.memory <= room


def tiers() -> tuple[Tier, ...]:
    """Return the configured tiers, smallest first."""
    found = []
    for file in (files("markgraph.conf") / "tier").iterdir():
        if file.name.endswith(".yaml"):
            config = yaml.safe_load(file.read_text("utf-8"))
            found.append(Tier(model=config["defaults"][0]["override /model"], **config["tier"]))
    return tuple(sorted(found, key=lambda tier: tier.memory))


def best_tier(among: Sequence[Tier], room: int, bandwidth: float) -> Tier | None:
    """Return the largest tier that `room` bytes hold and that is fast enough; None if not even the smallest.

    One that fits is better than none, however slow: the smallest is judged by its memory alone.
    """
    able = [tier for tier in among if tier.fits(room)]
    quick = [tier for tier in able if tier.speed(bandwidth) >= tier.least_speed]
    usable = quick or able[:1]
    return usable[-1] if usable else None


def require_room(what: str, need: int, room: int, whose: str = "free on this machine") -> None:
    """Refuse to load `what` unless `room` bytes hold it.

    Raises:
        TooLargeError: saying what it needs, what there is, and which tier fits.
    """
    if need <= room:
        return
    able = [tier for tier in tiers() if tier.fits(room)]
    advice = f"tier={able[-1].name} fits ({gigabytes(able[-1].memory)})" if able else "No tier fits"
    raise TooLargeError(
        f"{what} needs {gigabytes(need)} of memory. Got: {gigabytes(room)} {whose}. {advice}; "
        "otherwise free some memory, or raise the limit. `markgraph doctor` shows what there is."
    )


def gigabytes(size: int) -> str:
    """Return `size` bytes in words."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
