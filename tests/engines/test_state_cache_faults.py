"""Sealed states outlive their process, and the disk can do as it likes meanwhile."""

import time
from pathlib import Path

import pytest
from filelock import FileLock

from markgraph.errors import StorageError
from tests.engines.recording import Read
from tests.engines.sealed import DOCUMENT, QUESTION, Process, run, states


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "states"


def test_finds_a_state_again_in_a_new_process(folder: Path) -> None:
    Process(folder).keep(DOCUMENT)
    child = run("print(Process(Path(sys.argv[1])).reused(QUESTION))", folder)
    assert child.communicate()[0] == f"{len(DOCUMENT)}\n"
    assert child.returncode == 0


def test_leaves_files_alone_that_it_did_not_write(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    process = Process(folder, max_bytes=1000)
    for start in range(10):
        process.keep([start, *DOCUMENT])
    assert (folder / "notes.txt").read_text() == "mine"


def test_goes_on_when_a_file_or_the_whole_folder_is_gone(folder: Path) -> None:
    Process(folder).keep(DOCUMENT)
    late = Process(folder)
    assert late.disk.folder.names()
    for file in [*folder.iterdir()]:
        file.unlink()
    folder.rmdir()
    assert late.reused(QUESTION) == 0
    late.keep(DOCUMENT)
    assert late.reused(QUESTION) == len(DOCUMENT)


def test_keeps_nothing_that_is_larger_than_the_bound(folder: Path) -> None:
    process = Process(folder, max_bytes=100)
    process.keep(DOCUMENT)
    assert states(folder) == []
    assert process.reused(QUESTION) == len(DOCUMENT), "memory still has it"


def test_does_not_open_without_its_key(folder: Path) -> None:
    Process(folder).keep(DOCUMENT)
    folder.with_name("states.keys.json").unlink()
    assert Process(folder).reused(QUESTION) == 0


def test_says_that_the_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be"):
        Process(tmp_path / "file" / "states")


WRITE_FOR_EVER = """
process = Process(Path(sys.argv[1]), max_bytes=int(sys.argv[2]))
for number in range(10**6):
    process.keep([int(sys.argv[3]), number, *DOCUMENT])
    print(number, flush=True)
"""


def test_two_processes_that_are_killed_leave_whole_states_within_the_bound(folder: Path) -> None:
    Process(folder).keep(DOCUMENT)
    bound = 20 * states(folder)[0].stat().st_size + 100
    writers = [run(WRITE_FOR_EVER, folder, bound, number) for number in (1, 2)]
    try:
        for writer in writers:
            assert writer.stdout
            writer.stdout.readline()
        time.sleep(0.5)
    finally:
        for writer in writers:
            writer.kill()
    late = Process(folder, bound)
    found = 0
    for who, writer in enumerate(writers, 1):
        last = int(writer.communicate()[0].split()[-1])
        found += sum(late.reused([who, n, *QUESTION]) > 0 for n in range(max(0, last - 40), last + 2))
    assert found == len(states(folder)) >= 19
    assert late.disk.stats.refused == 0
    late.keep([5, *DOCUMENT])
    assert list(folder.glob("*.part")) == []
    assert sum(file.stat().st_size for file in states(folder)) <= bound


def test_makes_nobody_wait_for_the_disk(folder: Path) -> None:
    process = Process(folder)
    with FileLock(folder / ".lock"):
        for first in range(20):
            process.cache.keep([first, *DOCUMENT], Read([first, *DOCUMENT]), "ada", None)
    process.disk.flush()
    stats = process.disk.stats
    assert (stats.written, stats.unwritten) == (len(states(folder)), 20 - len(states(folder)))
    assert stats.written > 0


def test_writes_what_is_waiting_before_it_closes(folder: Path) -> None:
    process = Process(folder)
    process.cache.keep(DOCUMENT, Read(DOCUMENT), "ada", None)
    process.disk.close()
    assert Process(folder).reused(QUESTION) == len(DOCUMENT)


FULL_DISK = """
import resource
process = Process(Path(sys.argv[1]))
process.keep(DOCUMENT)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
process.keep(QUESTION)
assert process.reused([*QUESTION, 1]) == len(QUESTION)
assert process.disk.stats.unwritten == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
process.keep([*QUESTION, 1])
"""


def test_goes_on_without_keeping_when_the_disk_is_full(folder: Path) -> None:
    child = run(FULL_DISK, folder)
    child.communicate()
    assert child.returncode == 0
    assert sorted(file.name.split("-")[1] for file in folder.iterdir() if file.suffix) == ["40", "43"]
