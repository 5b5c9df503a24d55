"""The largest tier that fits and is fast enough is the one to choose."""

import pytest

from markgraph.build import compose
from markgraph.errors import TooLargeError
from markgraph.models.tiers import Tier, best_tier, require_room, tiers

LITTLE, MIDDLE, MUCH = (
    Tier(name, name, memory * 10**9, per_token * 10**9, 8)
    for name, memory, per_token in (("little", 1, 0.2), ("middle", 5, 1.5), ("much", 8, 4.5))
)
ALL = (LITTLE, MIDDLE, MUCH)


@pytest.mark.parametrize(
    ("gigabytes", "bandwidth", "best"),
    [
        (16, 200, MUCH),
        (6, 200, MIDDLE),
        (2, 200, LITTLE),
        (16, 40, MIDDLE),
        (16, 10, LITTLE),
        (16, 1, LITTLE),
        (0, 200, None),
    ],
)
def test_the_best_tier_is_the_largest_that_memory_holds_at_a_bearable_speed(
    gigabytes: int, bandwidth: float, best: Tier | None
) -> None:
    assert best_tier(ALL, gigabytes * 10**9, bandwidth) == best


def test_the_configured_tiers_grow_in_memory_and_in_bytes_a_token() -> None:
    found = tiers()
    assert [tier.name for tier in found] == ["tiny", "small", "large"]
    assert found == tuple(sorted(found, key=lambda tier: tier.bytes_per_token))


@pytest.mark.parametrize("tier", tiers(), ids=lambda tier: tier.name)
def test_a_tier_chooses_its_model_and_a_model_that_is_named_wins(tier: Tier) -> None:
    chosen, named = compose("ask", [f"tier={tier.name}"]), compose("ask", [f"model={tier.model}"])
    assert chosen.model == named.model
    assert compose("ask", [f"tier={tier.name}", "model=fake"]).model == compose("ask", ["model=fake"]).model


@pytest.mark.parametrize(
    "tier", [tier for tier in tiers() if tier.name != "tiny"], ids=lambda tier: tier.name
)
def test_a_tiers_model_takes_as_much_of_the_managers_memory_as_the_tier_says(tier: Tier) -> None:
    assert compose("ask", [f"tier={tier.name}"]).model.engine.memory == tier.memory


def test_what_does_not_fit_is_refused_with_the_tier_that_does() -> None:
    require_room("a model", 5, 5)
    with pytest.raises(TooLargeError, match=r"a model needs 9.0 GB .* Got: 6.0 GB .* tier=small fits"):
        require_room("a model", 9 * 10**9, 6 * 10**9)
    with pytest.raises(TooLargeError, match="No tier fits"):
        require_room("a model", 9 * 10**9, 10**6)
