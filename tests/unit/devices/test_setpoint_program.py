"""Ramps and holds as values."""

import pytest

from danmax_bluesky.devices.setpoint_program import Ramp, SetpointProgram, parse_ramps
from danmax_bluesky.errors import ScanError


def test_a_text_becomes_ramps_and_holds():
    assert parse_ramps("500 at 10 for 300;-20.5 at 2e1") == (Ramp(500, 10, 300), Ramp(-20.5, 20))


@pytest.mark.parametrize(
    "text", ["", "500", "500 at", "500 at 10 for", "hot at 10", "5 at 10; ", "nan at 3", "1 at inf"]
)
def test_what_is_no_program_is_answered_with_its_step_and_how_it_is_written(text):
    with pytest.raises(ScanError, match=r"program, step \d: .* is not understood; write 'TARGET at UNITS_PER_MINUTE"):
        parse_ramps(text)


@pytest.mark.parametrize("text", ["500 at 0", "500 at -3", "500 at 3 for -1"])
def test_a_rate_or_a_hold_that_cannot_be_is_refused(text):
    with pytest.raises(ScanError, match="give a rate above 0, and a hold of 0 s or more"):
        parse_ramps(text)


def test_the_setpoint_is_on_straight_lines_between_the_corners_and_stays_after_the_end():
    program = SetpointProgram(300.0, parse_ramps("500 at 600 for 10; 400 at 600; 400 at 1 for 5"))
    assert program.corners == ((0, 300), (20, 500), (30, 500), (40, 400), (40, 400), (45, 400))
    assert program.duration_s == 45
    assert [program.setpoint_at(time_s) for time_s in (-1, 0, 5, 20, 25, 35, 40, 45, 99)] == [
        300, 300, 350, 500, 500, 450, 400, 400, 400,
    ]  # fmt: skip
