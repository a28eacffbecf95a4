import pytest
from hypothesis import given
from hypothesis import strategies as st

from danmax_bluesky.config import Settings
from danmax_bluesky.devices.flat_positions import (
    FlatPosition,
    FlatPositions,
    PositionError,
    Range,
    findings,
    position_of,
    ranges_of,
)

OUT = FlatPosition(
    "out",
    (("tom_sam_y", -3.25), ("tom_sam_x", 20.0)),
    rotate_first_deg=90.0,
    comment='left of "the" beam\\',
    units=(("tom_sam_y", "mm"), ("tom_sam_x", "mm")),
    saved="2026-11-21T08:00:00+00:00",
)
RANGES = {"tom_sam_x": Range(-50, 50, "mm"), "tom_sam_y": Range(-50, 50, "mm"), "tom_ry": Range(-360, 360, "deg")}


@pytest.fixture
def library(tmp_path):
    return FlatPositions(tmp_path / ".positions")


def test_a_saved_position_comes_back_as_it_was_in_its_order(library):
    path = library.save(OUT)
    assert library.load("out") == OUT
    assert (path.name, library.names()) == ("out.toml", ("out",))
    assert [child.name for child in library.folder.iterdir()] == ["out.toml"]


@given(st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False, allow_infinity=False))
def test_any_comment_and_any_number_come_back(tmp_path_factory, comment, value):
    library = FlatPositions(tmp_path_factory.mktemp("positions"))
    position = FlatPosition("any", (("tom_sam_x", value),), comment=comment)
    library.save(position)
    assert library.load("any") == position


def test_a_file_written_by_hand_needs_only_the_moves(library):
    library.folder.mkdir()
    (library.folder / "hand.toml").write_text('[[move]]\nmotor = "tom_sam_x"\nposition = 5\n')
    assert library.load("hand") == FlatPosition("hand", (("tom_sam_x", 5.0),))


def test_an_unknown_position_is_told_with_those_that_exist(library):
    with pytest.raises(PositionError, match="there is none yet"):
        library.load("out")
    library.save(OUT)
    with pytest.raises(PositionError, match=r"no position 'ot' .*did you mean 'out'\? there are out"):
        library.load("ot")


def test_a_name_that_leaves_the_folder_is_refused(library):
    with pytest.raises(PositionError, match="no position"):
        library.load("../secret")
    with pytest.raises(PositionError, match="cannot be a file name"):
        FlatPosition("../secret", (("tom_sam_x", 0.0),))


def test_a_position_is_not_replaced_unless_asked(library):
    library.save(OUT)
    other = FlatPosition("out", (("tom_sam_x", 1.0),))
    with pytest.raises(PositionError, match="exists already"):
        library.save(other)
    assert library.load("out") == OUT
    library.save(other, replace=True)
    assert library.load("out") == other


def test_a_position_is_not_deleted_unless_asked(library):
    library.save(OUT)
    with pytest.raises(PositionError, match="was kept"):
        library.delete("out")
    library.delete("out", sure=True)
    assert library.names() == ()
    with pytest.raises(PositionError, match="no position"):
        library.delete("out", sure=True)


@pytest.mark.parametrize(
    "content", ["move = 3", "[[move]]\nmotor = 'x'", "[[", "move = [{motor = 'x', position = 'left'}]"]
)
def test_a_damaged_file_is_told(library, content):
    library.folder.mkdir()
    (library.folder / "bad.toml").write_text(content)
    with pytest.raises(PositionError, match=r"'bad'.*bad\.toml is damaged"):
        library.load("bad")


@pytest.mark.parametrize(
    ("moves", "told"),
    [
        ((), "names no motor"),
        ((("x", 1.0), ("x", 2.0)), "names x twice"),
        ((("x", float("nan")),), "x = nan is no finite number"),
    ],
)
def test_what_cannot_be_a_position(moves, told):
    with pytest.raises(PositionError, match=told):
        FlatPosition("out", moves)


def test_a_good_position_has_no_findings():
    assert findings(OUT, RANGES, "tom_ry") == ()


def test_every_motor_outside_its_limits_unknown_or_in_other_units_is_found():
    position = FlatPosition(
        "out",
        (("tom_sam_x", 60.0), ("hexapod", 1.0), ("tom_sam_y", 1.0)),
        rotate_first_deg=400.0,
        units=(("tom_sam_y", "um"),),
    )
    told = findings(position, RANGES, "tom_ry")
    assert len(told) == 4
    assert "tom_ry = 400 deg is outside its limits of -360 to 360 deg" in told[0]
    assert "tom_sam_x = 60 mm is outside its limits of -50 to 50 mm" in told[1]
    assert "hexapod is none of the motors tom_ry, tom_sam_x, tom_sam_y" in told[2]
    assert "tom_sam_y was saved in um and is now in mm" in told[3]


def test_without_a_name_the_position_of_the_settings_is_taken(library):
    with pytest.raises(PositionError, match=r"no position with the sample out of the beam is known; name one"):
        position_of(Settings(beamline="danmax"), library)
    settings = Settings(flat_position={"tom_sam_y": 3.0, "tom_sam_x": 20.0})
    assert position_of(settings, library).moves == (("tom_sam_y", 3.0), ("tom_sam_x", 20.0))
    assert findings(position_of(settings, library), ranges_of(settings)) == ()
    assert position_of(settings, library, "out") == position_of(settings, library)
    with pytest.raises(PositionError, match="position 'out'"):
        position_of(Settings(beamline="danmax"), library, "out")
    library.save(OUT)
    assert position_of(settings, library, "out") == OUT
    with pytest.raises(PositionError, match="belongs to the position of the settings"):
        library.save(FlatPosition("settings", (("tom_sam_x", 0.0),)))
