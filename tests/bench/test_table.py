"""Rows: medians, ratios, and whether a figure keeps to its target."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from markgraph.bench.plot import check_plot, draw_plot
from markgraph.bench.table import Bound, as_json, compare, show
from markgraph.errors import UsageError

SPEED = compare("decode", "tokens/s", [90, 110, 100], "llama.cpp", [150, 160, 140], Bound(">=", 0.65))
TIME = compare("job", "s", [2.0], "llama.cpp", [4.0], Bound(">=", 2.5), times_faster=True)


def test_compares_medians() -> None:
    assert (SPEED.value, SPEED.ratio, SPEED.ok) == (100, 0.666667, True)


def test_turns_the_ratio_round_where_less_is_faster() -> None:
    assert (TIME.ratio, TIME.ok) == (2, False)


def test_judges_the_value_itself_where_there_is_no_rival() -> None:
    assert compare("start", "s", [2.9], target=Bound("<=", 3)).ok is True
    assert compare("start", "s", [3.1], target=Bound("<=", 3)).ok is False


def test_judges_nothing_where_the_rival_is_missing() -> None:
    row = compare("job", "s", [2.0], "llama.cpp is not installed", (), Bound(">=", 2))
    assert (row.ratio, row.ok) == (None, None)


def test_json_has_the_keys_that_are_promised() -> None:
    printed = json.loads(json.dumps(as_json([SPEED], {"threads": 2})))
    assert printed["machine"] == {"threads": 2}
    assert set(printed["rows"][0]) == {"what", "value", "unit", "rival", "ratio", "target", "ok", "runs"}


def test_says_under_each_figure_what_was_missed() -> None:
    out = StringIO()
    show([SPEED, TIME], Console(file=out, width=40))
    decode, ok, job, missed = out.getvalue().splitlines()
    assert (decode, job) == ("decode", "job")
    assert ok.split() == ["100", "tokens/s", "0.667x", ">=", "0.65", "ok", "llama.cpp"]
    assert missed.split() == ["2", "s", "2x", ">=", "2.5", "missed", "llama.cpp"]


def test_names_a_figure_once_for_all_who_are_compared() -> None:
    out = StringIO()
    show([TIME, compare("job", "s", [2.0], "[other] engine", [3.0])], Console(file=out, width=40))
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["job", "llama.cpp", "engine"]


def test_plot_is_a_picture_with_a_line_for_each_ratio(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    heights = []
    for count in (1, 2):
        draw_plot([SPEED, TIME][:count], tmp_path / "plot.png", "MARK")
        with image.open(tmp_path / "plot.png") as drawn:
            heights.append(drawn.size[1])
    assert heights[0] < heights[1]


def test_refuses_a_plot_that_is_no_png() -> None:
    with pytest.raises(UsageError, match=r"plot=ratios\.svg"):
        check_plot(Path("ratios.svg"))
