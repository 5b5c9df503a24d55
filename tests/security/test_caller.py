"""Who is asking, and what they may read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.errors import ConfigError, DeniedError, UsageError
from markgraph.security.caller import Caller, cache_scope_of, readers_of, thread_key
from markgraph.security.doors import LocalDoor, is_loopback
from markgraph.security.permissions import Permissions, check_readers, may_read

ME = Caller("me", ("reader",), groups=("legal",))


def test_nobody_has_no_readers() -> None:
    for nobody in (Caller(), Caller("x", tenant="")):
        with pytest.raises(DeniedError):
            readers_of(nobody)
        with pytest.raises(DeniedError):
            cache_scope_of(nobody)


def test_may_read_needs_the_tenant_and_an_atom() -> None:
    assert may_read(ME, Permissions("default", ("g:legal",)))
    assert may_read(ME, Permissions("default", ("u:me",)))
    assert may_read(ME, Permissions("default", ("public",)))
    assert not may_read(ME, Permissions("other", ("public",)))
    assert not may_read(ME, Permissions("default", ("g:sales", "u:you")))
    assert not may_read(ME, Permissions("default", ()))


def test_may_read_needs_the_clearance_as_well_as_an_atom() -> None:
    cleared = Caller("me", ("reader",), clearance=2)
    assert may_read(cleared, Permissions("default", ("public",), 2))
    assert not may_read(cleared, Permissions("default", ("public",), 3))
    assert not may_read(ME, Permissions("default", ("u:me",), 1))


@pytest.mark.parametrize("readers", [[], "public", ["anna"], ["g:"], ["public", "u: "]])
def test_readers_are_a_list_of_atoms(readers: Any) -> None:
    assert check_readers(["public", "g:legal", "u:ada"]) == ("public", "g:legal", "u:ada")
    with pytest.raises(ConfigError, match="readers is a list of who may read"):
        check_readers(readers)


def test_lists_from_config_become_tuples() -> None:
    assert Caller("a", ["reader"], groups=["g"]) == Caller("a", ("reader",), groups=("g",))  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["roles", "groups"])
def test_a_string_is_not_a_list_of_roles_or_groups(field: str) -> None:
    with pytest.raises(ConfigError, match=r"Write \[reader\]"):
        Caller("a", **{field: "reader"})


NAMES = st.text(min_size=1, max_size=8)


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
def test_no_two_callers_share_a_thread_key(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    keys = [thread_key(Caller(subject, tenant=tenant), thread) for tenant, subject, thread in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.8.9.1"])
def test_loopback_is_local(host: str) -> None:
    assert is_loopback(host)
    LocalDoor(ME).check_host(host)
    assert LocalDoor(ME).admit(host, {"origin": f"http://{host if '::' not in host else '[::1]'}:8000"}) == ME


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.com", "", "mark.example"])
def test_anything_else_is_not(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(UsageError, match="auth=none"):
        LocalDoor(ME).check_host(host)
    with pytest.raises(DeniedError):
        LocalDoor(ME).admit(host, {})


@pytest.mark.parametrize("host", ["evil.com:2024", "10.0.0.1", "127.0.0.1.evil.com", "localhost:["])
def test_a_name_that_is_not_this_machines_is_turned_away(host: str) -> None:
    with pytest.raises(DeniedError):
        LocalDoor(ME).admit("127.0.0.1", {"host": host})
    assert LocalDoor(ME).admit("127.0.0.1", {"host": "localhost:8000"}) == ME


@pytest.mark.parametrize(
    "origin",
    ["https://evil.com", "null", "http://127.0.0.1.evil.com", "http://10.0.0.1", "http://[", "http://[::1"],
)
def test_a_page_of_another_site_is_turned_away(origin: str) -> None:
    with pytest.raises(DeniedError):
        LocalDoor(ME).admit("127.0.0.1", {"origin": origin})
