"""`markgraph policy explain`: what somebody may do, and which rule decides."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from markgraph.build import make, make_services
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.guarded import check_tenant, journal_of
from markgraph.commands.terminal import printable
from markgraph.errors import DeniedError, UsageError
from markgraph.ingestion.ledger import Ledger
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import Caller
from markgraph.security.classification import level_of
from markgraph.security.doors import Door
from markgraph.security.policy import ACTIONS, Decision, Need, Policy, Resource

USUAL = {
    "document": "documents:read",
    "corpus": "documents:write",
    "graph": "graph:run",
    "tool": "tools:call",
    "model": "models:use",
    "thread": "threads:write",
}
"""What one does to a resource."""
LISTS = ("roles", "groups", "scopes")
FIELDS = ("roles", "tenant", "groups", "clearance", "scopes")


def run(config: DictConfig) -> int:
    """Print the decision and its rule, and return 0, or 4 where it is denied."""
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "what", ("explain",))
    door: Door = make(config, "auth")
    person = door.caller
    journal_of(config, "policy", person).require(Need("audit:read", Resource("policy", "explain")))
    caller = person if config.caller is None else caller_from(str(config.caller))
    check_tenant(door, caller.tenant)
    need = need_from(config)
    with storage_errors(Path(config.data_dir)):
        policy, ledger = make_services(config, "policy", "ledger")
        decision = decide(policy, ledger, caller, need)
    if config.output == "json":
        print(json.dumps(_as_json(policy, caller, need, decision)))  # noqa: T201
    else:
        verdict = "allowed" if decision.allowed else "denied"
        print(printable(f"{verdict}: {caller.subject} {need.action} {need.resource}"))  # noqa: T201
        print(printable(f"rule: {decision.rule} (policy {policy.name}, {policy.hash})"))  # noqa: T201
        print(printable(decision.reason), end="\n" if decision.reason else "")  # noqa: T201
    return 0 if decision.allowed else DeniedError.exit_code


def decide(policy: Policy, ledger: Ledger, caller: Caller, need: Need) -> Decision:
    """Return what `policy` says; who may read a document, the ledger knows."""
    if need.resource.kind != "document" or need.action != USUAL["document"]:
        return policy.check(caller, *need)
    name = need.resource.name
    known = ledger.known(caller.tenant, [name]).get(name) if ledger.path.exists() else None
    may_read_any = policy.check(caller, *need)
    if not may_read_any.allowed:
        return may_read_any
    if known is None or known.permissions is None:
        reason = f"Tenant {caller.tenant!r} has no document {name!r} in this collection."
        return Decision(False, "documents.tenant", reason)
    return policy.check(caller, need.action, need.resource._replace(permissions=known.permissions))


def need_from(config: DictConfig) -> Need:
    """Return what is asked about.

    Raises:
        UsageError: the resource is missing or of no known kind, or the action is none.
    """
    kind, _, name = str(config.resource or "").partition(":")
    if not name or (config.action is None and kind not in USUAL):
        raise UsageError(
            f"Say what it is about: --resource KIND:NAME; got {config.resource!r}. Allowed without "
            f"--action: {', '.join(USUAL)}."
        )
    action = config.action or USUAL[kind]
    if action not in ACTIONS:
        raise UsageError(f"There is no permission {action!r}. Allowed: {', '.join(ACTIONS)}.")
    return Need(action, Resource(kind, name))


def caller_from(text: str) -> Caller:
    """Return who `SUBJECT,roles=A+B,tenant=T,groups=A+B,clearance=LEVEL,scopes=A+B` is.

    Raises:
        UsageError: a part is no setting of a caller.
    """
    subject, *parts = text.split(",")
    given: dict[str, Any] = {}
    for part in parts:
        key, found, value = part.partition("=")
        if not found or key not in FIELDS:
            raise UsageError(
                f"--caller has {part!r}. Allowed: SUBJECT, then {', '.join(f'{key}=' for key in FIELDS)}, "
                "names joined by +: ada,roles=reader+writer,clearance=internal"
            )
        given[key] = [name for name in value.split("+") if name] if key in LISTS else value
    clearance = level_of(given.pop("clearance", "public"))
    return Caller(subject, clearance=clearance, **given)


def _as_json(policy: Policy, caller: Caller, need: Need, decision: Decision) -> dict[str, Any]:
    return {
        "caller": caller.subject,
        "action": need.action,
        "resource": str(need.resource),
        **decision._asdict(),
        "policy": {"name": policy.name, "hash": policy.hash},
    }
