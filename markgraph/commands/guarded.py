"""What a command that runs no graph asks before it does something, and what it leaves in the audit log."""

from uuid import uuid4

from omegaconf import DictConfig

from markgraph.audit.journal import Journal
from markgraph.build import make_services
from markgraph.errors import DeniedError
from markgraph.security.caller import Caller
from markgraph.security.doors import Door, LocalDoor
from markgraph.security.guard import Guard


def journal_of(config: DictConfig, verb: str, caller: Caller) -> Journal:
    """Return what asks the policy of `config` for each permission that a verb needs, and takes it down."""
    policy, audit = make_services(config, "policy", "audit")
    return Journal(Guard(policy, audit), verb, caller, uuid4().hex)


def check_tenant(door: Door, tenant: str) -> None:
    """Refuse to deal with another tenant than the caller's own, but for whoever owns this machine's files.

    Raises:
        DeniedError: naming both.
    """
    if not isinstance(door, LocalDoor) and tenant != door.caller.tenant:
        raise DeniedError(
            f"{door.caller.subject!r} is of tenant {door.caller.tenant!r}, and this is about {tenant!r}. "
            "Allowed: one's own tenant; others with auth=none, at the machine itself."
        )
