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


def test_an_impossible_number_of_threads_is_wrong_use(markgraph: Callable[..., Ran]) -> None:
    done = markgraph("doctor", "threads=0")
    assert done.code == 2
    assert "Config 'threads' has value 0. Allowed: a whole number, 1 to 1024." in done.err
