"""`markgraph token`: tokens, the clients that may ask for them, and API keys."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from markgraph.build import make, make_service
from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.commands.guarded import journal_of
from markgraph.config_errors import nearest
from markgraph.errors import DeniedError, UnauthenticatedError, UsageError
from markgraph.security.caller import Caller, local_caller
from markgraph.security.classification import CLASSIFICATIONS
from markgraph.security.doors import TOKEN
from markgraph.security.policy import ACTIONS as PERMISSIONS
from markgraph.security.policy import Need, Policy, Resource

if TYPE_CHECKING:
    from markgraph.security.issuer.server import Issuer
    from markgraph.security.tokens.api_keys import ApiKeys

WIDE = 200
"""Columns of a table that goes into a file or another program."""
YEARS = 3650
"""Days that the longest API key lives."""


def run(config: DictConfig) -> int:
    """Do what the words say."""
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "at_once", (True, False))
    check_number(config, "days", 1, YEARS)
    action, *rest = str(config.what).split() or [""]
    if action not in ACTIONS:
        action, rest = "issue", [action, *rest]
    _check_words(action, rest)
    _require(config, action)
    _show(config, ACTIONS[action](config, *rest))
    return 0


def issue(config: DictConfig, name: str) -> dict[str, Any]:
    """Issue a token to a client."""
    _check_scopes([] if config.scope is None else str(config.scope).split())
    return {"token": _issuer(config).issue(name, config.scope)}


def add(config: DictConfig, name: str) -> dict[str, Any]:
    """Add a client."""
    if name in ACTIONS:
        raise UsageError(f"{name!r} is an action of this command. Name the client in another way.")
    return {"client_id": name, "client_secret": _issuer(config).clients.add(_described(config, name))}


def key(config: DictConfig, name: str) -> dict[str, Any]:
    """Make an API key."""
    return {"api_key": _api_keys(config).make(_described(config, name), config.days)}


def listed(config: DictConfig) -> dict[str, Any]:
    """Return clients and API keys."""
    clients = [_about(caller) for caller in _issuer(config).clients.listed()] if _has_issuer(config) else []
    keys = [
        {
            "id": each.id,
            **_about(each.caller),
            "expires": each.expires,
            "used": each.used,
            "revoked": each.revoked,
        }
        for each in _api_keys(config).listed()
    ]
    return {"clients": clients, "api_keys": keys}


def remove(config: DictConfig, name: str) -> dict[str, Any]:
    """Remove a client."""
    _issuer(config).clients.remove(name)
    return {"removed": name}


def revoke(config: DictConfig, what: str) -> dict[str, Any]:
    """Revoke a token, or an API key."""
    if "." in what:
        _issuer(config).revoke(what)
        return {"revoked": "token"}
    name = what.removeprefix("mk_")[:8] if what.startswith("mk_") else what
    _api_keys(config).revoke(name)
    return {"revoked": name}


def rotate(config: DictConfig) -> dict[str, Any]:
    """Make the next key of the issuer."""
    return {"kid": _issuer(config).keys.rotate(at_once=config.at_once)}


ACTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "issue": issue,
    "add": add,
    "key": key,
    "list": listed,
    "remove": remove,
    "revoke": revoke,
    "rotate": rotate,
}
NOTHING = "no further word"
USES = {
    "issue": ("one name", "ada"),
    "add": ("one name", "add ada"),
    "key": ("one name", "key ada"),
    "list": (NOTHING, "list"),
    "remove": ("one name", "remove ada"),
    "revoke": ("one token, or one id of an API key", "revoke TOKEN"),
    "rotate": (NOTHING, "rotate"),
}
"""What each action takes, and an example."""


def _check_words(action: str, words: list[str]) -> None:
    takes, example = USES[action]
    if len(words) == (0 if takes == NOTHING else 1):
        return
    others = ", ".join(name for name in ACTIONS if name != "issue")
    raise UsageError(
        f"`token {'NAME' if action == 'issue' else action}` takes {takes}; got {', '.join(words) or 'none'}. "
        f"For example: markgraph token {example}. What the first word may be: a client's name, {others}."
    )


def _require(config: DictConfig, action: str) -> None:
    """Go on only where whoever is here may manage tokens, and take that down.

    Raises:
        DeniedError: the token in the environment doesn't give that.
    """
    need = Need("tokens:manage", Resource("tokens", action))
    if not os.environ.get(TOKEN):
        return journal_of(config, "token", make(config, "operator")).require(need)
    try:
        return journal_of(config, "token", make(config, "auth").caller).require(need)
    except DeniedError as error:
        hint = f"{TOKEN} says who is asking; unset {TOKEN} to be whoever owns the files here."
        raise type(error)(f"{error} {hint}") from error


def _issuer(config: DictConfig) -> "Issuer":
    if not _has_issuer(config):
        raise UsageError("Only auth=dev issues tokens. With auth=oidc your identity provider does.")
    issuer: Issuer = make(config, "auth").issuer
    return issuer


def _has_issuer(config: DictConfig) -> bool:
    return "url" in config.auth  # to list API keys, a door's settings need not be complete


def _api_keys(config: DictConfig) -> "ApiKeys":
    from markgraph.security.tokens.api_keys import ApiKeys
    from markgraph.security.tokens.store import AuthStore

    if "path" not in config.auth:
        raise UsageError("auth=none takes no API keys. Choose auth=dev or auth=oidc.")
    return ApiKeys(AuthStore(str(config.auth.path)))


def _described(config: DictConfig, name: str) -> Caller:
    """Return the caller that the config describes.

    Raises:
        UsageError: no door would take it for a caller, or its roles or scopes give nothing.
    """
    from markgraph.security.tokens.claims import ClaimNames, caller_of_claims, claims_of

    roles, groups, scopes = (OmegaConf.to_object(config)[key] for key in ("roles", "groups", "scopes"))  # type: ignore[index,call-overload]
    plain = local_caller(name, roles, str(config.tenant), groups, str(config.clearance))
    caller = Caller(name, plain.roles, plain.tenant, plain.groups, plain.clearance, scopes)
    try:
        described = caller_of_claims(claims_of(caller), ClaimNames())
    except UnauthenticatedError as error:
        raise UsageError(
            f"{name!r} in tenant {config.tenant!r} with roles {roles}, groups {groups} and scopes {scopes} "
            "is nobody who could ask. Names are printable, not empty, and at most 255 characters."
        ) from error
    _check_roles(make_service(config, "policy"), described.roles)
    _check_scopes(described.scopes or ())
    return described


def _check_roles(policy: Policy, roles: Iterable[str]) -> None:
    """Refuse a role that gives nothing: it is misspelt."""
    for role in roles:
        if role not in policy.roles:
            raise UsageError(f"The policy {policy.name!r} has no role {role!r}.{nearest(role, policy.roles)}")


def _check_scopes(scopes: Iterable[str]) -> None:
    """Refuse a scope that is no permission, with or without a resource."""
    for scope in scopes:
        action = ":".join(scope.split(":")[:2])
        if action not in PERMISSIONS or scope.endswith(":"):
            raise UsageError(
                f"Scope {scope!r} is no permission.{nearest(action, PERMISSIONS)} "
                f"Limit one to a resource as {PERMISSIONS[0]}:NAME."
            )


def _about(caller: Caller) -> dict[str, Any]:
    return asdict(caller) | {"clearance": CLASSIFICATIONS[caller.clearance]}


def _show(config: DictConfig, answer: dict[str, Any]) -> None:
    if config.output == "json":
        print(json.dumps(answer))  # noqa: T201
    elif "clients" not in answer:
        for name, value in answer.items():
            print(value if len(answer) == 1 else f"{name}: {value}")  # noqa: T201
    else:
        for title in ("clients", "api_keys"):
            _print_table(title.replace("_", " "), answer[title])


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in rows[0] if rows else ():
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    width = None if sys.stdout.isatty() else WIDE
    console = Console(highlight=False, markup=False, width=width)
    console.print(f"{title}:" if rows else f"{title}: none")
    if rows:
        console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
