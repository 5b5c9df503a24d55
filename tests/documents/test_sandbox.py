import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from benchmarks.bombs import BOMBS
from markgraph.documents.load import load
from markgraph.documents.sandbox import Sandbox
from markgraph.errors import ConfigError, DocumentError, MarkError

ENDLESS = BOMBS["endless-forms.pdf"]()


OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    """Set the readers aside that belong to graphs of other tests, as long as those are not collected."""
    OTHERS.update(children())
    yield
    OTHERS.clear()


def children() -> set[int]:
    """Return the readers that live; other tests of this process may have started servers."""
    return {child.pid for child in psutil.Process().children() if is_reader(child)} - OTHERS


def is_reader(child: psutil.Process) -> bool:
    try:
        return child.status() != psutil.STATUS_ZOMBIE and "markgraph.documents.worker" in child.cmdline()
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    path = tmp_path / "endless.pdf"
    path.write_bytes(ENDLESS)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.md"
    path.write_text("# Title\n\nArticle 1\n\x00"[:-1] + "Text: grün, 中文, \U0001f600.")
    return path


def test_reads_what_load_reads(good):
    with Sandbox(workers=1) as sandbox:
        assert sandbox.read(good, "docs/good.md") == load(good, "docs/good.md")


def test_errors_of_a_reader_arrive_as_they_are(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"no pdf")
    with Sandbox(workers=1) as sandbox, pytest.raises(DocumentError, match=r"Cannot read docs/a\.pdf as PDF"):
        sandbox.read(path, "docs/a.pdf")


def test_a_document_that_never_ends_fails_alone(endless, good):
    with Sandbox(workers=1, seconds=2, memory=4096) as sandbox:
        with pytest.raises(DocumentError, match=r"^docs/endless took longer than 2 s to read\. .* limit\.$"):
            sandbox.read(endless, "docs/endless")
        assert sandbox.read(good, "good").title == "Title"


def test_a_document_that_needs_too_much_memory_fails_alone(tmp_path, good):
    large = tmp_path / "large.txt"
    large.write_bytes(b"word " * 20_000_000)
    with Sandbox(workers=1, memory=450) as sandbox:
        assert sandbox.read(good, "good").title == "Title"
        with pytest.raises(
            DocumentError, match=r"docs/large needs more than 450 MiB of memory|docs/large ended"
        ):
            sandbox.read(large, "docs/large")
        assert sandbox.read(good, "good").title == "Title"


def test_too_large_a_file_and_too_long_a_text_are_refused(tmp_path):
    large = tmp_path / "large.txt"
    large.write_bytes(b"word " * 500_000)
    with (
        Sandbox(workers=1, file_size=1) as sandbox,
        pytest.raises(DocumentError, match="large has 2,500,000 bytes"),
    ):
        sandbox.read(large, "large")
    with (
        Sandbox(workers=1, text_size=1) as sandbox,
        pytest.raises(DocumentError, match=r"large gives 2,.* 1 MiB"),
    ):
        sandbox.read(large, "large")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with Sandbox(workers=1) as sandbox, pytest.raises(DocumentError, match="pipe is no ordinary file"):
        sandbox.read(tmp_path / "pipe.txt", "pipe")
    assert not children()


def test_a_child_that_crashes_is_replaced_and_its_document_tried_once_more(endless, good):
    with Sandbox(workers=1, memory=4096) as sandbox, ThreadPoolExecutor(1) as pool:
        sandbox.read(good, "good")
        (first,) = children()
        idle = psutil.Process(first).cpu_times().user
        reading = pool.submit(sandbox.read, endless, "docs/endless")
        wait_until(lambda: psutil.Process(first).cpu_times().user > idle + 0.5)
        os.kill(first, signal.SIGSEGV)
        wait_until(lambda: children() - {first})
        (second,) = children() - {first}
        wait_until(lambda: psutil.Process(second).cpu_times().user > 1)
        os.kill(second, signal.SIGSEGV)
        with pytest.raises(DocumentError, match=r"docs/endless ended the process that read it \(SIGSEGV\)"):
            reading.result(timeout=60)
        assert sandbox.read(good, "good").title == "Title"


def test_a_child_that_was_ended_while_idle_is_replaced(good):
    with Sandbox(workers=1) as sandbox:
        sandbox.read(good, "good")
        (idle,) = children()
        os.kill(idle, signal.SIGKILL)
        assert sandbox.read(good, "good").title == "Title"


def test_a_child_reads_one_document_after_the_other_until_it_is_replaced(good):
    with Sandbox(workers=1, documents=2) as sandbox:
        served = []
        for _ in range(3):
            sandbox.read(good, "good")
            served.append(children())
    assert len(served[0]) == 1
    assert served[1] == set()
    assert served[2] not in (served[0], set())


def test_several_threads_share_the_children(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    most = 0
    with Sandbox(workers=2) as sandbox, ThreadPoolExecutor(8) as pool:
        for number, document in enumerate(
            pool.map(lambda n: sandbox.read(tmp_path / f"{n}.txt", f"source {n}"), range(40))
        ):
            assert (document.text, document.source) == (f"text {number}", f"source {number}")
            most = max(most, len(children()))
    assert 1 <= most <= 2
    assert not children()


def test_closing_ends_what_is_being_read(endless):
    sandbox = Sandbox(workers=1, memory=4096)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(sandbox.read, endless, "docs/endless")
        wait_until(children)
        time.sleep(1)
        sandbox.close()
        with pytest.raises((DocumentError, MarkError)):
            reading.result(timeout=20)
    assert not children()
    with pytest.raises(MarkError, match="closed"):
        sandbox.read(endless, "docs/endless")


def test_a_child_knows_no_secrets_and_no_network(good, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    with Sandbox(workers=1) as sandbox:
        sandbox.read(good, "good")
        (child,) = sandbox._all
        assert b"API_TOKEN" not in Path(f"/proc/{child.pid}/environ").read_bytes()
        own, theirs = (os.readlink(f"/proc/{pid}/ns/net") for pid in ("self", child.pid))
        assert child.is_offline == (own != theirs)


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path, good, monkeypatch):
    for module in ("docx", "bs4", "pypdfium2", "json"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    with Sandbox(workers=1) as sandbox:
        assert sandbox.read(good, "good").title == "Title"
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_children_end_with_their_parent_in_the_midst_of_a_document(endless, end):
    code = (
        "import sys; from pathlib import Path; from markgraph.documents.sandbox import Sandbox\n"
        f"Sandbox(workers=1, memory=4096).read(Path({str(endless)!r}), 'a')"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: psutil.Process(parent.pid).children())
    (child,) = psutil.Process(parent.pid).children()
    wait_until(lambda: child.cpu_times().user > 0.5)
    parent.send_signal(end)
    parent.wait(timeout=30)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_limit_must_be_above_zero():
    with pytest.raises(ConfigError, match=r"Sandbox has seconds 0\. Expected a number above 0"):
        Sandbox(seconds=0)


def test_a_sandbox_that_is_forgotten_leaves_no_child(good):
    before = threading.active_count()
    Sandbox(workers=1).read(good, "good")
    wait_until(lambda: not children())
    assert threading.active_count() == before
