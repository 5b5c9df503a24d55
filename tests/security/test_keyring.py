"""A keyring opens what it sealed as what it was, for whose it is, and nothing else."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.errors import SealError, ShreddedError, UsageError
from markgraph.security.sealing.keyring import Keyring, number_of
from markgraph.security.sealing.masters import Masters

ABOUT = ("chunk", "id")


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "masters.json", tmp_path / "keys.sqlite")
    made.rotate()
    return made


def again(keyring: Keyring) -> Keyring:
    """Return another process's view of the same files."""
    return Keyring(keyring.file, keyring.path)


def test_a_keyring_that_is_no_file_or_has_no_place_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SealError, match=r"can't be read: Is a directory"):
        Masters(tmp_path).read()
    (tmp_path / "file").write_text("")
    with pytest.raises(SealError, match="can't be written"):
        Keyring(tmp_path / "file" / "masters.json", tmp_path / "keys.sqlite").rotate()


def test_one_tenant_gets_a_new_key_and_what_the_old_one_sealed_still_opens(keyring: Keyring) -> None:
    sealed = {tenant: keyring.seal(tenant, ABOUT, b"secret") for tenant in ("acme", "other")}
    masters = keyring.names().masters
    assert keyring.rotate_tenant("acme") == 2
    assert keyring.names().tenants == {"acme": 2, "other": 1}
    assert keyring.names().masters.keys() == masters.keys()
    assert [keyring.is_current(tenant, each) for tenant, each in sealed.items()] == [False, True]
    for tenant, each in sealed.items():
        assert again(keyring).open(tenant, ABOUT, each) == b"secret"
    with pytest.raises(UsageError, match=r"'nobody' has no keys\. Tenants that have: acme, other"):
        keyring.rotate_tenant("nobody")


def test_opens_what_it_sealed_also_in_another_process(keyring: Keyring) -> None:
    sealed = keyring.seal("acme", ABOUT, b"secret")
    assert b"secret" not in sealed
    assert keyring.open("acme", ABOUT, sealed) == b"secret"
    assert again(keyring).open("acme", ABOUT, sealed) == b"secret"
    assert sealed != keyring.seal("acme", ABOUT, b"secret")


@pytest.mark.parametrize(
    ("tenant", "about"),
    [("other", ABOUT), ("acme", ("chunk", "other")), ("acme", ("chunkid",)), ("acme", ("chunk", "id", ""))],
)
def test_what_was_sealed_as_something_else_does_not_open(
    keyring: Keyring, tenant: str, about: tuple[str, ...]
) -> None:
    sealed = keyring.seal("acme", ABOUT, b"secret")
    keyring.seal("other", ABOUT, b"")
    with pytest.raises(SealError, match="does not open"):
        keyring.open(tenant, about, sealed)


def test_any_flipped_bit_is_noticed(keyring: Keyring) -> None:
    sealed = keyring.seal("acme", ABOUT, b"secret")
    for at in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(SealError):
            keyring.open("acme", ABOUT, bytes(flipped))


@pytest.mark.parametrize("clear", [b"", b"plain text that nobody sealed", '{"text": "plain"}', None, 5])
def test_what_is_not_sealed_is_refused(keyring: Keyring, clear: object) -> None:
    with pytest.raises(SealError, match=r"is not sealed.*markgraph keys reseal"):
        keyring.open("acme", ABOUT, clear)


@given(plain=st.binary(max_size=200), tenant=st.text(max_size=8), about=st.tuples(st.text(), st.text()))
def test_any_bytes_come_back(
    plain: bytes, tenant: str, about: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "keyring"
    keyring = Keyring(folder / "masters.json", folder / "keys.sqlite")
    if not keyring.file.exists():
        keyring.rotate()
    assert keyring.open(tenant, about, keyring.seal(tenant, about, plain)) == plain


def test_rotation_seals_anew_and_opens_the_old_and_retiring_forgets_old_masters(keyring: Keyring) -> None:
    old = keyring.seal("acme", ABOUT, b"old")
    other = again(keyring)
    assert other.open("acme", ABOUT, old) == b"old"
    assert keyring.rotate() == "m2"
    new = other.seal("acme", ABOUT, b"new")
    assert (number_of(old), number_of(new)) == (1, 2)
    assert (other.is_current("acme", old), other.is_current("acme", new)) == (False, True)
    assert keyring.retire() == ["m1"]
    assert keyring.retire() == []
    for each in (keyring, other, again(keyring)):
        assert (each.open("acme", ABOUT, old), each.open("acme", ABOUT, new)) == (b"old", b"new")
    assert keyring.names().masters == {"m2": 3}
    assert keyring.names().tenants == {"acme": 2}


def test_a_copy_of_the_keys_from_before_a_rotation_does_not_open_with_the_retired_keyring(
    keyring: Keyring, tmp_path: Path
) -> None:
    sealed = keyring.seal("acme", ABOUT, b"secret")
    keyring._table._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (tmp_path / "stolen.sqlite").write_bytes(keyring.path.read_bytes())
    keyring.rotate()
    keyring.retire()
    with pytest.raises(SealError, match=r"wrapped by m1, and the keyring .* holds m2"):
        Keyring(keyring.file, tmp_path / "stolen.sqlite").open("acme", ABOUT, sealed)


def test_shredding_ends_one_tenant_for_every_process_and_for_good(keyring: Keyring) -> None:
    gone, stays = keyring.seal("acme", ABOUT, b"gone"), keyring.seal("other", ABOUT, b"stays")
    other = again(keyring)
    assert other.open("acme", ABOUT, gone) == b"gone"
    keyring.shred("acme")
    for each in (keyring, other, again(keyring)):
        with pytest.raises(ShreddedError, match="tenant 'acme' were shredded at 20"):
            each.open("acme", ABOUT, gone)
        with pytest.raises(ShreddedError):
            each.seal("acme", ABOUT, b"new")
        assert each.open("other", ABOUT, stays) == b"stays"
    with pytest.raises(UsageError, match=r"'acme' has no keys. Tenants that have: other"):
        keyring.shred("acme")


def test_nothing_of_a_shredded_key_stays_in_the_files(keyring: Keyring) -> None:
    keyring.seal("acme", ABOUT, b"")
    with keyring._table.transaction() as database:
        (wrapped,) = database.execute("SELECT wrapped FROM data_keys WHERE number = 1").fetchone()
    files = [keyring.path, keyring.path.with_name("keys.sqlite-wal")]
    assert any(wrapped in file.read_bytes() for file in files)
    keyring.shred("acme")
    assert not any(wrapped in file.read_bytes() for file in files if file.exists())


def test_hashes_stay_after_a_rotation_and_differ_between_tenants_and_purposes(keyring: Keyring) -> None:
    before = keyring.hasher("acme", "words")("payment")
    keyring.rotate()
    assert keyring.hasher("acme", "words")("payment") == before
    others = [keyring.hasher("other", "words"), keyring.hasher("acme", "threads")]
    assert len({before, *(hasher("payment") for hasher in others)}) == 3


def test_the_master_keys_are_the_owners_alone(keyring: Keyring) -> None:
    assert keyring.file.stat().st_mode & 0o777 == 0o600
    keyring.file.chmod(0o640)
    with pytest.raises(SealError, match=r"has mode 0640.*Allowed: 0600"):
        keyring.seal("acme", ABOUT, b"")


def test_a_missing_keyring_is_not_made_up(keyring: Keyring) -> None:
    sealed = keyring.seal("acme", ABOUT, b"")
    keyring.file.unlink()
    lost = again(keyring)
    for act in (lambda: lost.open("acme", ABOUT, sealed), lost.rotate, lambda: lost.seal("new", ABOUT, b"")):
        with pytest.raises(SealError, match="There is no keyring"):
            act()
    assert not keyring.file.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"m1": "short"}', '{"k": "' + "A" * 43 + '="}'])
def test_what_is_no_keyring_is_refused(keyring: Keyring, text: str) -> None:
    keyring.file.write_text(text)
    with pytest.raises(SealError, match="is no keyring"):
        keyring.seal("acme", ABOUT, b"")


def test_many_make_the_first_key_of_a_tenant_at_once(keyring: Keyring) -> None:
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: again(keyring).seal("acme", ABOUT, b"secret"), range(16)))
    assert {keyring.open("acme", ABOUT, each) for each in sealed} == {b"secret"}
    assert keyring.names().tenants == {"acme": 1}


def test_a_rotation_that_is_killed_at_any_moment_loses_nothing(keyring: Keyring, tmp_path: Path) -> None:
    sealed = {tenant: keyring.seal(tenant, ABOUT, tenant.encode()) for tenant in map(str, range(20))}
    code = (
        "import sys; from markgraph.security.sealing.keyring import Keyring\n"
        "keyring = Keyring(*sys.argv[1:])\nprint(flush=True)\n"
        "while True: keyring.rotate(); keyring.retire()"
    )
    for seconds in (0.01, 0.03, 0.05):
        with subprocess.Popen(
            [sys.executable, "-c", code, keyring.file, keyring.path], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(seconds)
            process.kill()
        opened = again(keyring)
        assert [opened.open(tenant, ABOUT, each).decode() for tenant, each in sealed.items()] == list(sealed)
