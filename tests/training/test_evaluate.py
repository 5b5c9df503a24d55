"""What a tracker is told of how champion and candidate did."""

from markgraph.training.evaluate import figures_of


def test_people_read_latency_in_seconds_without_a_minus() -> None:
    found = {
        "champion": {"completion_logp": -2.5, "latency": -0.5},
        "candidate": {"completion_logp": -1.5, "latency": -0.75},
    }
    assert figures_of(found) == {
        "champion/completion_logp": -2.5,
        "champion/latency": 0.5,
        "candidate/completion_logp": -1.5,
        "candidate/latency": 0.75,
    }
