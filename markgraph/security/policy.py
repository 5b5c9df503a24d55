"""Says what a caller may do: roles give permissions, a token's scopes narrow them, the rest is denied.

A permission is `AREA:VERB`, or `AREA:VERB:NAME` for the resource of that name only. What a caller may read
of the documents is decided for each of them by `markgraph.security.permissions`.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from markgraph.config_errors import nearest
from markgraph.errors import ConfigError, DeniedError
from markgraph.security.caller import NOBODY, Caller
from markgraph.security.permissions import Permissions, reading_rule

ACTIONS = (
    "graph:run",
    "documents:read",
    "documents:write",
    "threads:read",
    "threads:write",
    "tools:call",
    "models:use",
    "feedback:write",
    "feedback:read",
    "audit:read",
    "documents:train",
    "models:train",
    "models:register",
    "keys:manage",
    "tokens:manage",
)
"""Every permission there is; each may be limited to a resource by a third part, `graph:run:qa`."""


class Resource(NamedTuple):
    """What something is done to."""

    kind: str
    name: str = "*"
    permissions: Permissions | None = None
    """Who may read it, where it is a document."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Need(NamedTuple):
    """A permission that is needed to go on."""

    action: str
    resource: Resource


def calling(tool: str) -> Need:
    """Return the permission to call the tool of that name."""
    return Need("tools:call", Resource("tool", tool))


def writing(corpus: str = "*") -> Need:
    """Return the permission to change the documents of a corpus."""
    return Need("documents:write", Resource("corpus", corpus))


class Decision(NamedTuple):
    """What a policy says."""

    allowed: bool
    rule: str
    """The rule that decided, as the config names it: `roles.reader: graph:run:qa`, `default: deny`."""
    reason: str
    """In words, for whoever was denied; empty where it is allowed."""


class _Rules(BaseModel):
    """What a policy's config holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    roles: dict[str, list[str]]

    @field_validator("roles")
    @classmethod
    def gives_what_there_is(cls, roles: dict[str, list[str]]) -> dict[str, list[str]]:
        """Refuse permissions that nothing asks for: a misspelt one would silently give nothing."""
        for role, permissions in roles.items():
            for permission in permissions:
                action, name = _parts(permission)
                if action not in ACTIONS or not name:
                    raise ValueError(
                        f"role {role!r} has {permission!r}, which is no permission."
                        f"{nearest(action, ACTIONS)} Limit one to a resource as {ACTIONS[0]}:NAME."
                    )
        return roles


@dataclass(frozen=True)
class Policy:
    """Decides from a few look-ups, however many roles and rules there are. What nothing gives is denied."""

    name: str
    roles: Mapping[str, Sequence[str]]
    """The permissions that each role gives."""

    def __post_init__(self) -> None:
        try:
            _Rules(name=self.name, roles={role: list(given) for role, given in self.roles.items()})
        except (ValidationError, AttributeError, TypeError) as error:
            raise ConfigError(f"The policy {self.name!r} can't be used: {_in_words(error)}") from error

    def check(self, caller: Caller, action: str, resource: Resource) -> Decision:
        """Say whether `caller` may do `action` to `resource`, and which rule decided."""
        if not caller.subject or not caller.tenant:
            return Decision(False, "default: deny nobody", NOBODY)
        for permission in (action, f"{action}:{resource.name}"):
            if roles := self._givers.get(permission, frozenset()).intersection(caller.roles):
                break
        else:
            return Decision(False, "default: deny", self._lacking(caller, action, resource))
        if not _in_scope(caller, action, resource.name):
            return Decision(False, "scopes", _out_of_scope(caller, action, resource))
        if resource.permissions is not None:
            return Decision(*reading_rule(caller, resource.permissions))
        return Decision(True, f"roles.{min(roles)}: {permission}", "")

    def require(self, caller: Caller, action: str, resource: Resource) -> None:
        """Go on only where `check` allows it.

        Raises:
            DeniedError: naming the permission that is missing, and the roles that give it.
        """
        decision = self.check(caller, action, resource)
        if not decision.allowed:
            raise DeniedError(decision.reason)

    def held_by(self, caller: Caller) -> list[str]:
        """Return the permissions that `caller` has, those of a token narrowed to its scopes."""
        given = {each for role in caller.roles for each in self._given.get(role, ())}
        if caller.scopes is None:
            return sorted(given)
        scopes = {_normal(each) for each in caller.scopes}
        both = {each for each in given if each in scopes or _parts(each)[0] in scopes}
        return sorted(both | {each for each in scopes if each in given or _parts(each)[0] in given})

    @cached_property
    def hash(self) -> str:
        """Return what tells this policy from any other."""
        rules = {role: sorted(given) for role, given in self._given.items()}
        return sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def _given(self) -> dict[str, frozenset[str]]:
        return {role: frozenset(map(_normal, given)) for role, given in self.roles.items()}

    @cached_property
    def _givers(self) -> dict[str, frozenset[str]]:
        """Return the roles that give each permission."""
        givers: defaultdict[str, set[str]] = defaultdict(set)
        for role, given in self._given.items():
            for permission in given:
                givers[permission].add(role)
        return {permission: frozenset(roles) for permission, roles in givers.items()}

    def _lacking(self, caller: Caller, action: str, resource: Resource) -> str:
        """Return which permission is missing, and who can help."""
        needed = f"{action}:{resource.name}"
        givers = sorted(self._givers.get(action, frozenset()) | self._givers.get(needed, frozenset()))
        helping = (
            f"Ask your administrator for a role that gives it: {', '.join(givers)}."
            if givers
            else f"No role of the policy {self.name!r} gives it; your administrator can add one."
        )
        return (
            f"{caller.subject!r} may not do this: it needs permission {action!r} for {resource}, "
            f"and the caller's roles {list(caller.roles)} don't give that. {helping}"
        )


def _in_scope(caller: Caller, action: str, name: str) -> bool:
    wide_enough = {action, f"{action}:*", f"{action}:{name}"}
    return caller.scopes is None or not wide_enough.isdisjoint(caller.scopes)


def _out_of_scope(caller: Caller, action: str, resource: Resource) -> str:
    return (
        f"{caller.subject!r} may do this, but not with this token: it was issued for "
        f"{list(caller.scopes or ())}, and this needs {action!r} for {resource}. Use a token that has it "
        "in its scope."
    )


def _normal(permission: str) -> str:
    """Return a permission in the one form that is looked up: `AREA:VERB:*` is `AREA:VERB`."""
    return permission.removesuffix(":*") if permission.count(":") == 2 else permission


def _parts(permission: str) -> tuple[str, str]:
    """Return a permission's action, and the resource that it is limited to; `*` for any."""
    area, _, rest = permission.partition(":")
    verb, limited, name = rest.partition(":")
    return f"{area}:{verb}", name if limited else "*"


def _in_words(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "roles are a mapping from each role to a list of permissions."
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
