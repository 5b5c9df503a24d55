"""The file jail: nothing outside of its folder is read or written, by the kernel's help or without it."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.errors import SandboxError
from markgraph.sandbox import files
from markgraph.sandbox.files import FileJail, open_beneath, walk_beneath

SECRET = b"canary"
Open = Callable[[int, list[str], int], int]


@pytest.fixture(params=["kernel", "walk"])
def jail(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileJail:
    """Return a jail with every way out that a tree may hold, opened both ways."""
    if request.param == "walk":
        monkeypatch.setattr(files, "OPENAT2", 100_000)  # as on a kernel that knows no such call
    build(tmp_path)
    return FileJail(tmp_path / "jail")


def build(folder: Path) -> None:
    root = folder / "jail"
    (root / "sub/deep").mkdir(parents=True)
    (root / "sub/deep/file.txt").write_bytes(b"inside")
    (root / "é ü.txt").write_bytes(b"inside")
    (folder / "outside").mkdir()
    (folder / "outside/secret.txt").write_bytes(SECRET)
    (folder / "jail-twin").mkdir()
    (folder / "jail-twin/secret.txt").write_bytes(SECRET)
    (root / "link.txt").symlink_to(folder / "outside/secret.txt")
    (root / "relative.txt").symlink_to("../outside/secret.txt")
    (root / "folder").symlink_to("../outside")
    (root / "inner.txt").symlink_to("sub/deep/file.txt")
    (root / "loop").symlink_to("loop")
    (root / "proc").symlink_to("/proc/self/root")
    os.link(folder / "outside/secret.txt", root / "hard.txt")
    os.mkfifo(root / "pipe")


ATTACKS = [
    "../outside/secret.txt",
    "sub/../../outside/secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "link.txt",
    "relative.txt",
    "folder/secret.txt",
    "proc/etc/passwd",
    "hard.txt",
    "pipe",
    "loop",
    "../jail-twin/secret.txt",
    "sub/./../../outside/secret.txt",
    "sub\x00/../x",
    "",
    ".",
    "..",
    "sub",
    "sub/",
    "sub//deep/file.txt",
    "..\\outside\\secret.txt",
    "a" * 300,
    "a/" * 600,
    "\ud800",
    "sub/deep/file.txt/..",
    "sub/deep/file.txt/x",
    "\u202etxt.elif",
]


@pytest.mark.parametrize("path", ATTACKS)
def test_reads_nothing_outside(jail: FileJail, path: str) -> None:
    with pytest.raises(SandboxError):
        jail.read(path)


@pytest.mark.parametrize("path", [path for path in ATTACKS if path not in ("hard.txt", "a" * 300)])
def test_writes_nothing_outside(jail: FileJail, path: str) -> None:
    before = tree(jail.root.parent)
    with pytest.raises(SandboxError):
        jail.write(path, b"changed")
    assert {name: before[name] for name in before} == {
        name: data for name, data in tree(jail.root.parent).items() if name in before
    }
    assert (jail.root.parent / "outside/secret.txt").read_bytes() == SECRET


def test_writing_over_a_second_name_of_a_file_leaves_the_first_as_it_was(jail: FileJail) -> None:
    jail.write("hard.txt", b"new")
    assert (jail.root / "hard.txt").read_bytes() == b"new"
    assert (jail.root.parent / "outside/secret.txt").read_bytes() == SECRET


def tree(folder: Path) -> dict[str, bytes]:
    """Return what each plain file below `folder` holds, links not followed."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.is_symlink()
    }


def test_reads_and_writes_what_is_inside(jail: FileJail) -> None:
    assert jail.read("sub/deep/file.txt") == jail.read("é ü.txt") == b"inside"
    jail.write("sub/deep/file.txt", b"changed")
    jail.write("new/folder/file.txt", b"new")
    assert jail.read("sub/deep/file.txt") == b"changed"
    assert jail.read("new/folder/file.txt") == b"new"
    assert (jail.root / "new").stat().st_mode & 0o077 == 0
    assert not list(jail.root.rglob("*.part"))


def test_keeps_to_its_sizes(jail: FileJail) -> None:
    small = FileJail(jail.root, max_bytes=5)
    with pytest.raises(SandboxError, match="larger than the 5 bytes"):
        small.read("sub/deep/file.txt")
    with pytest.raises(SandboxError, match="larger than the 5 bytes"):
        small.write("x", b"123456")
    assert not (jail.root / "x").exists()


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="There is no folder"):
        FileJail(tmp_path / "nowhere").read("x")


def test_leaves_no_descriptor_open(jail: FileJail) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in [*ATTACKS, "sub/deep/file.txt"]:
        for use in (jail.read, lambda path: jail.write(path, b"x")):
            with suppress(SandboxError):
                use(path)
    assert len(os.listdir("/proc/self/fd")) == before


NAMES = st.sampled_from(["a", "b", "c", "..", ".", "", "link", "out", "f", "secret.txt"])


def expected(root: Path, parts: list[str]) -> bytes | None:
    """Return what is read at `parts`, told by looking at each of them: the slow and plain way."""
    here = root
    for part in parts:
        if part in ("", ".", "..") or not here.is_dir():
            return None
        here = here / part
        if here.is_symlink() or not here.exists():
            return None
    return here.read_bytes() if here.is_file() else None


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wood") / "jail"
    for path in ("a/b/c", "b/a", "c"):
        (root / path).mkdir(parents=True)
        (root / path / "f").write_bytes(path.encode())
    (root.parent / "secret.txt").write_bytes(SECRET)
    (root / "a/link").symlink_to("../b")
    (root / "b/out").symlink_to("../..")
    (root / "link").symlink_to("a/b/c/f")
    (root / "out").symlink_to(root.parent)
    return root


@settings(max_examples=500)
@given(parts=st.lists(NAMES, max_size=6))
@pytest.mark.parametrize("opened", [open_beneath, walk_beneath])
def test_agrees_with_looking_at_every_part(wood: Path, opened: Open, parts: list[str]) -> None:
    wanted = expected(wood, parts) if parts else None
    try:
        found = FileJail(wood).read("/".join(parts))
    except SandboxError:
        found = None
    assert found == wanted
    if wanted is not None:
        root = os.open(wood, os.O_RDONLY)
        descriptor = opened(root, parts, os.O_RDONLY)
        assert os.read(descriptor, 100) == wanted
        os.close(descriptor)
        os.close(root)


@pytest.fixture
def swapped(jail: FileJail) -> Iterator[FileJail]:
    """Let a folder turn into a link that leads outside, and back, as fast as it can."""
    done = threading.Event()
    (jail.root / "real").mkdir()
    (jail.root / "real/secret.txt").write_bytes(b"inside")
    (jail.root / "way").symlink_to("../outside")
    jail_path, spare = jail.root / "way", jail.root / "spare"

    def swap() -> None:
        while not done.is_set():
            os.rename(jail_path, spare)
            os.rename(jail.root / "real", jail_path)
            os.rename(jail_path, jail.root / "real")
            os.rename(spare, jail_path)

    thread = threading.Thread(target=swap)
    thread.start()
    yield jail
    done.set()
    thread.join()


def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere(swapped: FileJail) -> None:
    found = []
    for _ in range(2000):
        try:
            found.append(swapped.read("way/secret.txt"))
        except SandboxError:
            continue
    assert SECRET not in found
