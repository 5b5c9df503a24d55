"""Asks the policy, and takes down what it said."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markgraph.audit.types import Audit, Until
from markgraph.errors import DeniedError
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Policy

CHANGES = (
    "documents:write",
    "tools:call",
    "feedback:write",
    "feedback:read",
    "audit:read",
    "keys:manage",
    "tokens:manage",
)
"""What must outlive a power failure before it is done."""


@dataclass(frozen=True)
class Guard:
    """Lets callers do what the policy allows; each decision is in the audit log, where there is one."""

    policy: Policy
    audit: Audit | None = None

    def require(self, caller: Caller, need: Need, **about: Any) -> None:
        """Go on only where the policy allows it.

        Args:
            caller: who asks.
            need: what for.
            about: what the log holds besides: `run`, `graph`.

        Raises:
            DeniedError: naming the permission that is missing.
            StorageError: the decision can't be taken down.
        """
        decision = self.policy.check(caller, *need)
        about |= {"rule": decision.rule}
        if not decision.allowed:
            self.note(caller, need, "denied", about, "written")
            raise DeniedError(decision.reason)
        self.note(caller, need, "allowed", about, "safe" if need.action in CHANGES else "taken")

    def note(
        self, caller: Caller, need: Need, outcome: str, about: Mapping[str, Any], until: Until = "taken"
    ) -> None:
        """Take down what `caller` did, or was refused.

        Args:
            caller: who.
            need: what, and to what.
            outcome: `allowed`, `denied`, `approved`, `declined`, `done`, `refused` or `failed`.
            about: plain data that holds nobody's words.
            until: when to come back.

        Raises:
            StorageError: it can't be taken down.
        """
        if self.audit is None:
            return
        event = {
            "actor": caller.subject,
            "tenant": caller.tenant,
            "action": need.action,
            "resource": str(need.resource),
            "outcome": outcome,
            "policy": self.policy.hash,
            **about,
        }
        self.audit.write(event, until)
