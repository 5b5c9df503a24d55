"""What a token's verified claims say of its holder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markgraph.errors import UnauthenticatedError
from markgraph.security.caller import Caller
from markgraph.security.classification import CLASSIFICATIONS

MAX_NAME = 255
"""Characters of a subject, a tenant, a role, a group or a scope."""
MAX_NAMES = 500
"""Roles, groups or scopes of one token."""


@dataclass(frozen=True)
class ClaimNames:
    """Under which names a provider tells what a caller is; `realm_access.roles` means a claim in a claim."""

    subject: str = "sub"
    tenant: str = "tenant"
    roles: str = "roles"
    groups: str = "groups"
    clearance: str = "clearance"
    scope: str | None = "scope"
    """None: this provider's scopes are no permissions of MARK, so they narrow nothing."""


def caller_of_claims(claims: Mapping[str, Any], names: ClaimNames) -> Caller:
    """Return the caller whom verified `claims` describe.

    Without roles, groups or a clearance a caller has none, or the lowest. A scope, where there is one,
    narrows what the roles give.

    Raises:
        UnauthenticatedError: the subject or the tenant is missing, or a claim is not what it should be.
    """
    clearance = _claim(claims, names.clearance, CLASSIFICATIONS[0])
    if clearance not in CLASSIFICATIONS:
        raise _refused(names.clearance, f"one of {', '.join(CLASSIFICATIONS)}")
    scope = _claim(claims, names.scope) if names.scope else None
    return Caller(
        _name(claims, names.subject),
        roles=_names(claims, names.roles),
        tenant=_name(claims, names.tenant),
        groups=_names(claims, names.groups),
        clearance=CLASSIFICATIONS.index(clearance),
        scopes=None if scope is None else _names(claims, names.scope or ""),
    )


def claims_of(caller: Caller) -> dict[str, Any]:
    """Return claims that `caller_of_claims` makes this caller of, under their usual names."""
    claims = {
        "sub": caller.subject,
        "tenant": caller.tenant,
        "roles": list(caller.roles),
        "groups": list(caller.groups),
        "clearance": CLASSIFICATIONS[caller.clearance],
    }
    return claims if caller.scopes is None else claims | {"scope": " ".join(caller.scopes)}


def _claim(claims: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """Return the claim `name`: as it stands, since some are URLs, or else along its dots."""
    if name in claims:
        return default if claims[name] is None else claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return default if found is None else found


def _name(claims: Mapping[str, Any], name: str) -> str:
    value = _claim(claims, name)
    if not _is_name(value):
        raise _refused(name, f"text of 1 to {MAX_NAME} printable characters")
    return str(value)


def _names(claims: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of names; OAuth writes one as words in a string, too."""
    value = _claim(claims, name, [])
    values = value.split() if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > MAX_NAMES or not all(map(_is_name, values)):
        raise _refused(name, f"a list of at most {MAX_NAMES} names")
    return values


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value.strip()) <= len(value) <= MAX_NAME


def _refused(name: str, allowed: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"The token is genuine, and its claim {name!r} is not {allowed}. Ask whoever issues tokens, or "
        "say in auth.claims under which names your provider tells this."
    )
