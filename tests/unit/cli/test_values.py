import shlex

import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli, plan_options

COMMANDS = {
    "azcount": ("2 -0.5", {"exp_time": -0.5}),
    "azscan": ("tom_sam_x -1 -.5 20 -1e-3", {"start": -1.0, "end": -0.5, "exp_time": -0.001}),
    "mesh": (
        "tom_sam_y -1 0 10 tom_sam_x -2 1 20 0.1",
        {"fast": "tom_sam_y", "fast_start": -1.0, "slow": "tom_sam_x", "slow_start": -2.0},
    ),
    "tomoscan": ("ascanct tom_ry -90 90 10 0.1 --latency -1", {"scan_start": -90.0, "latency": -1.0}),
}


@pytest.fixture
def given(monkeypatch):
    """The values with which the plan of a command would be made."""
    seen = {}

    def keep(settings, plan):
        class Plans:
            def __getattr__(self, name):
                return lambda **values: seen.update(values)

        plan(type("Session", (), {"plans": Plans()}))

    monkeypatch.setattr(plan_options, "run_and_report", keep)
    return seen


@pytest.mark.parametrize("name", COMMANDS)
def test_a_negative_number_reaches_the_plan(name, given):
    words, expected = COMMANDS[name]
    result = CliRunner().invoke(cli, [name, *shlex.split(words), "--sample", "x"])
    assert result.exit_code == 0, result.output
    assert {key: given[key] for key in expected} == expected


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_mistyped_option_is_told_with_the_one_that_was_meant(name, place, given):
    values = shlex.split(COMMANDS[name][0].partition(" --")[0])
    words = ["--sampel", "x", *values] if place == "first" else [*values, "--sampel", "x"]
    result = CliRunner().invoke(cli, [name, *words])
    assert result.exit_code == 2
    assert "No such option" in result.output
    assert "--sampel" in result.output
    assert "--sample" in result.output.replace("--sampel", "")
    assert not given
