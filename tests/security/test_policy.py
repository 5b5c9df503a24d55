"""What a policy allows, and what it says of why."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.build import compose, make_service
from markgraph.errors import ConfigError, DeniedError
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions, may_read, reading_rule
from markgraph.security.policy import ACTIONS, Policy, Resource

QA, INGEST = Resource("graph", "qa"), Resource("graph", "ingest")


def configured(*overrides: str) -> Policy:
    policy: Policy = make_service(compose("embed", overrides), "policy")
    return policy


@pytest.mark.parametrize(
    ("roles", "action", "resource", "allowed"),
    [
        (["reader"], "graph:run", QA, True),
        (["reader"], "graph:run", INGEST, False),
        (["writer"], "graph:run", INGEST, True),
        (["writer"], "documents:read", Resource("index"), False),
        (["reader"], "documents:write", Resource("corpus"), False),
        (["auditor"], "audit:read", Resource("audit"), True),
        (["auditor"], "documents:read", Resource("index"), False),
        (["admin"], "audit:read", Resource("audit"), False),
        (["admin"], "keys:manage", Resource("keys"), True),
        (["nobody-knows"], "graph:run", QA, False),
        ([], "graph:run", QA, False),
    ],
)
def test_the_default_policy_gives_each_role_what_it_is_for(
    roles: list[str], action: str, resource: Resource, allowed: bool
) -> None:
    decision = configured().check(Caller("ada", roles), action, resource)
    assert decision.allowed is allowed
    assert decision.rule.startswith(f"roles.{roles[0]}: {action}" if allowed else "default: deny")


def test_nobody_may_do_nothing() -> None:
    for nobody in (Caller(), Caller("", ["reader"]), Caller("ada", ["reader"], tenant="")):
        for action in ACTIONS:
            assert not configured().check(nobody, action, QA).allowed


def test_the_strict_policy_is_chosen_by_name() -> None:
    ada = Caller("ada", ["reader"])
    assert configured().check(ada, "tools:call", Resource("tool", "calculate")).allowed
    assert (
        not configured("auth/policy=strict").check(ada, "tools:call", Resource("tool", "calculate")).allowed
    )


def test_a_denial_names_the_permission_and_who_has_it_to_give() -> None:
    with pytest.raises(DeniedError, match=r"'graph:run' for graph:ingest.*\['reader'\].*gives it: writer\."):
        configured().require(Caller("ada", ["reader"]), "graph:run", INGEST)


def test_a_permission_may_be_limited_to_one_resource() -> None:
    policy = Policy("p", {"clerk": ["tools:call:calculate", "graph:run:*"]})
    clerk = Caller("ada", ["clerk"])
    assert policy.check(clerk, "tools:call", Resource("tool", "calculate")).allowed
    assert not policy.check(clerk, "tools:call", Resource("tool", "save_note")).allowed
    assert not policy.check(clerk, "tools:call", Resource("tool")).allowed
    assert policy.check(clerk, "graph:run", INGEST).allowed


def test_the_scopes_of_a_token_narrow_and_never_widen() -> None:
    policy = configured()
    narrowed = Caller("ada", ["reader"], scopes=["graph:run:qa", "keys:manage"])
    assert policy.check(narrowed, "graph:run", QA).allowed
    assert policy.check(narrowed, "documents:read", Resource("index")).rule == "scopes"
    assert not policy.check(narrowed, "keys:manage", Resource("keys")).allowed
    assert not policy.check(Caller("ada", ["reader"], scopes=[]), "graph:run", QA).allowed
    assert policy.held_by(narrowed) == ["graph:run:qa"]


@pytest.mark.parametrize("permission", ["documents:reed", "graph", "graph:run:", "", "run:graph", "*"])
def test_a_permission_that_nothing_asks_for_is_an_error(permission: str) -> None:
    with pytest.raises(ConfigError, match="which is no permission"):
        Policy("p", {"reader": [permission]})


@pytest.mark.parametrize(
    "override", ["policy.roels={}", "policy.roles=[reader]", "policy.roles.reader=graph"]
)
def test_a_misspelt_or_misshapen_policy_is_an_error(override: str) -> None:
    with pytest.raises(ConfigError):
        configured(override)


def test_its_hash_tells_policies_apart_and_not_the_order_in_which_they_are_written() -> None:
    one = Policy("p", {"a": ["graph:run", "models:use"], "b": []})
    assert one.hash == Policy("p", {"b": [], "a": ["models:use", "graph:run:*"]}).hash
    assert one.hash != Policy("p", {"a": ["graph:run"], "b": []}).hash


NAMES = ("qa", "ingest", "*")
PERMISSIONS = st.lists(
    st.sampled_from([*ACTIONS[:3], *(f"{action}:{name}" for action in ACTIONS[:3] for name in NAMES)])
)


def covers(permissions: Sequence[str], action: str, name: str) -> bool:
    return any(each in (action, f"{action}:*", f"{action}:{name}") for each in permissions)


@given(
    st.dictionaries(st.sampled_from("abcd"), PERMISSIONS),
    st.lists(st.sampled_from("abcde")),
    st.none() | PERMISSIONS,
    st.sampled_from(ACTIONS),
    st.sampled_from(["qa", "ingest", "other"]),
)
def test_allows_what_some_role_gives_and_the_scopes_leave_and_nothing_else(
    roles: dict[str, list[str]], held: list[str], scopes: list[str] | None, action: str, name: str
) -> None:
    policy = Policy("p", roles)
    caller = Caller("ada", held, scopes=scopes)
    given_by_roles = any(covers(roles.get(role, []), action, name) for role in held)
    expected = given_by_roles and (scopes is None or covers(scopes, action, name))
    assert policy.check(caller, action, Resource("graph", name)).allowed is expected
    assert covers(policy.held_by(caller), action, name) is expected


ATOMS = st.lists(st.sampled_from(["public", "u:ada", "u:bob", "g:legal", "g:hr"]))


@given(st.sampled_from(["default", "other"]), ATOMS, st.integers(0, 3), st.integers(0, 3))
def test_the_rule_for_a_document_is_the_one_that_the_indexes_go_by(
    tenant: str, readers: list[str], classification: int, clearance: int
) -> None:
    ada = Caller("ada", ["reader"], groups=["legal"], clearance=clearance)
    permissions = Permissions(tenant, tuple(readers), classification)
    allowed, rule, reason = reading_rule(ada, permissions)
    document = Resource("document", "d", permissions)
    assert configured_once().check(ada, "documents:read", document) == (allowed, rule, reason)
    assert allowed is may_read(ada, permissions)
    assert rule.startswith("documents.")
    assert bool(reason) is not allowed


def configured_once() -> Policy:
    return Policy("p", {"reader": ["documents:read"]})
