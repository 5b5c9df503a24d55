"""Who may read a document: its tenant, its readers, and its classification, all three at once."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markgraph.errors import ConfigError
from markgraph.security.caller import PUBLIC, Caller, readers_of
from markgraph.security.classification import CLASSIFICATIONS


@dataclass(frozen=True)
class Permissions:
    """Who may read something: callers of its tenant who hold a reader atom and are cleared for it."""

    tenant: str = "default"
    readers: tuple[str, ...] = ()
    """Reader atoms (`public`, `u:SUBJECT`, `g:GROUP`); empty means nobody."""
    classification: int = 0
    """Level in `CLASSIFICATIONS`."""


def may_read(caller: Caller, permissions: Permissions) -> bool:
    """Tell whether `caller` may read what has these permissions.

    Raises:
        DeniedError: the caller is nobody.
    """
    held = readers_of(caller)
    return (
        caller.tenant == permissions.tenant
        and permissions.classification <= caller.clearance
        and not set(held).isdisjoint(permissions.readers)
    )


def together(several: Iterable[Permissions]) -> Permissions:
    """Return who may read all of these, as far as reader atoms can say it.

    Two documents for two groups have no reader atom in common: then it is nobody, although a caller may be
    in both.

    Raises:
        ValueError: there are none, or they are of different tenants.
    """
    each = list(several)
    tenants = {permissions.tenant for permissions in each}
    if len(tenants) != 1:
        raise ValueError(f"Expected permissions of one tenant; got those of {sorted(tenants) or 'none'}.")
    readers = {PUBLIC}
    for permissions in each:
        theirs = set(permissions.readers)
        if PUBLIC in theirs:
            continue
        readers = theirs if PUBLIC in readers else readers & theirs
    return Permissions(tenants.pop(), tuple(sorted(readers)), max(one.classification for one in each))


def reading_rule(caller: Caller, permissions: Permissions) -> tuple[bool, str, str]:
    """Return what `may_read` says, the attribute that decided, and why in words.

    Raises:
        DeniedError: the caller is nobody.
    """
    held = [atom for atom in readers_of(caller) if atom in permissions.readers]
    if may_read(caller, permissions):
        return True, f"documents.readers: {held[0]}", ""
    if caller.tenant != permissions.tenant:
        return False, "documents.tenant", f"The document is not of the caller's tenant, {caller.tenant!r}."
    if not held:
        who = ", ".join(permissions.readers) or "nobody"
        return False, "documents.readers", f"{caller.subject!r} is none of its readers: {who}."
    level, cleared = CLASSIFICATIONS[permissions.classification], CLASSIFICATIONS[caller.clearance]
    reason = f"The document is {level}, and {caller.subject!r} is cleared for {cleared}."
    return False, "documents.classification", reason


def check_readers(readers: Sequence[str]) -> tuple[str, ...]:
    """Return `readers` if each is an atom: `public`, `u:SUBJECT`, or `g:GROUP`.

    Raises:
        ConfigError: one is not, or there are none: nobody could find the documents.
    """
    atoms = [readers] if isinstance(readers, str) else list(readers)
    wrong = [atom for atom in atoms if atom != PUBLIC and not re.fullmatch(r"[ug]:\S.*", str(atom))]
    if wrong or not atoms or isinstance(readers, str):
        got = wrong[0] if wrong else readers
        raise ConfigError(
            f"readers is a list of who may read; got {got!r}. Allowed: public, g:GROUP, u:SUBJECT, "
            "for example readers=[g:legal,u:ada]."
        )
    return tuple(atoms)
