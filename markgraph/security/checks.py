"""Looks over a machine and a config before strangers may ask: what protects, what is off, what is wrong.

Each check is a function of the config that says what it found. A part that the config lacks is off, like one
that is configured as `none`. Does NOT prove anything about the code: tests do.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from markgraph.errors import UnsafeError
from markgraph.security import environment_checks, part_checks
from markgraph.security.found import Found, State


@dataclass(frozen=True)
class Check:
    """A named check, and what it found."""

    name: str
    state: State
    what: str
    advice: str

    @property
    def said(self) -> str:
        """What was found, and what to do about it."""
        return f"{self.what}. {self.advice}" if self.advice else self.what


def security_checks(config: DictConfig) -> list[Check]:
    """Return every check of `config`. In production, what is off has failed."""
    settings: Any = OmegaConf.to_container(config, resolve=True)
    strict = settings.get("production", False)
    found = [(name, check(settings)) for name, check in _checks()]
    return [
        Check(name, "failed" if strict and each.state == "off" else each.state, each.what, each.advice)
        for name, each in found
    ]


def refuse_unsafe(config: DictConfig) -> None:
    """Refuse a config that production may not start with.

    Raises:
        UnsafeError: naming the checks that failed.
    """
    failed = [check for check in security_checks(config) if check.state == "failed"]
    if failed:
        lines = "".join(f"\n  {check.name}: {check.said}." for check in failed)
        raise UnsafeError(
            f"production=true, and security checks failed:{lines}\n"
            "`markgraph doctor --security production=true` with the same settings lists all of them."
        )


def _checks() -> Iterator[tuple[str, Callable[[Mapping[str, Any]], Found]]]:
    """Yield each check, by name."""
    yield from environment_checks.CHECKS.items()
    yield from part_checks.CHECKS.items()
