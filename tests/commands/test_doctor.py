"""`markgraph doctor`: what this machine has."""

from collections.abc import Callable

from tests.commands.conftest import Ran


def test_says_what_the_machine_has_and_which_tier_to_choose(markgraph: Callable[..., Ran]) -> None:
    done = markgraph("doctor", "output=json", "threads=1")
    assert done.code == 0
    found = done.json
    assert 1 <= found["processor"]["threads"] <= found["processor"]["logical_cores"]
    assert 0 < found["memory"]["room"] <= found["memory"]["total"]
    assert found["bandwidth"]["threads"] == 1
    assert found["bandwidth"]["gigabytes_per_second"] > 0
    assert found["engine"]["modes"].keys() == {"exact", "fast", "small"}
    assert isinstance(found["engine"]["compiled"], bool)
    assert [tier["name"] for tier in found["tiers"]] == ["tiny", "small", "large"]
    fitting = [tier["name"] for tier in found["tiers"] if tier["fits"]]
    assert found["tier"] in fitting or not fitting


def test_prints_the_same_for_people(markgraph: Callable[..., Ran]) -> None:
    done = markgraph("doctor", "threads=1")
    assert done.code == 0
    for word in ("processor", "matrix units", "memory", "GB/s by 1 threads", "GPUs", "mode=fast", "tier"):
        assert word in done.out


def test_looks_at_what_serve_would_start_with(markgraph: Callable[..., Ran]) -> None:
    done = markgraph("doctor", "--security", "model=fake", "embedder=hash", "host=0.0.0.0", "port=80")
    assert done.code == 0
    (audit,) = (line for line in done.out.splitlines() if line.startswith("audit "))
    assert "there is no log in" in audit


def test_names_the_option_that_was_chosen(markgraph: Callable[..., Ran]) -> None:
    done = markgraph("doctor", "--security", "model=fake", "embedder=hash", "auth=dev", "limits=memory")
    said = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    assert said["auth"] == ["ok", "is", "dev"]
    assert said["limits"] == ["ok", "is", "memory"]


def test_production_without_security_is_wrong_use(markgraph: Callable[..., Ran]) -> None:
    done = markgraph("doctor", "production=true")
    assert (done.code, done.out) == (2, "")
    assert "Add --security." in done.err


def test_an_impossible_number_of_threads_is_wrong_use(markgraph: Callable[..., Ran]) -> None:
    done = markgraph("doctor", "threads=0")
    assert done.code == 2
    assert "Config 'threads' has value 0. Allowed: a whole number, 1 to 1024." in done.err
