"""`danmax positions`: save, list, show, delete, and use a position in a scan."""

import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.config import load_settings
from danmax_bluesky.devices.flat_positions import FlatPosition, FlatPositions, PositionError
from danmax_bluesky.errors import DanmaxError, SettingsError
from danmax_bluesky.testing.servers import ServerProcess


@pytest.fixture
def danmax(tmp_path):
    def run(*arguments):
        result = CliRunner().invoke(
            cli, ["positions", *arguments, "--data-root", str(tmp_path)], env={"COLUMNS": "200"}, standalone_mode=False
        )
        if result.exception:
            raise result.exception
        return result.output

    return run


@pytest.fixture
def library(tmp_path):
    return FlatPositions(tmp_path / "20260000" / "2026000001" / ".positions")


def test_a_position_is_saved_listed_shown_and_deleted(danmax, library):
    said = danmax("save", "out", "tom_sam_y=-3.5", "tom_sam_x=20", "--rotate-first", "90", "--comment", "to the left")
    assert "saved tom_sam_y -3.5 mm, tom_sam_x 20 mm as out" in said
    assert library.load("out").moves == (("tom_sam_y", -3.5), ("tom_sam_x", 20.0))
    listed = danmax("list")
    assert "out" in listed
    assert "settings" in listed
    shown = danmax("show", "out")
    assert "first tom_ry to 90 deg" in shown
    assert shown.index("1. tom_sam_y to -3.5 mm") < shown.index("2. tom_sam_x to 20 mm")
    with pytest.raises(PositionError, match="was kept"):
        danmax("delete", "out")
    danmax("delete", "out", "--yes")
    assert library.names() == ()


def test_a_position_that_cannot_be_reached_is_not_saved(danmax, library):
    with pytest.raises(PositionError, match="tom_sam_x = 99 mm is outside its limits of -50 to 50 mm"):
        danmax("save", "far", "tom_sam_x=99")
    with pytest.raises(PositionError, match="hexapod is none of the motors"):
        danmax("save", "far", "hexapod=1")
    assert library.names() == ()


def test_a_position_is_replaced_only_when_asked(danmax, library):
    danmax("save", "out", "tom_sam_x=20")
    with pytest.raises(PositionError, match="exists already"):
        danmax("save", "out", "tom_sam_x=10")
    danmax("save", "out", "tom_sam_x=10", "--replace")
    assert library.load("out").moves == (("tom_sam_x", 10.0),)


def test_motors_are_saved_where_they_stand(danmax, library):
    danmax("save", "here", "tom_sam_x", "tom_sam_y=2", "--set", "motors.tom_sam_x.position=7.5")
    assert library.load("here").moves == (("tom_sam_x", 7.5), ("tom_sam_y", 2.0))
    with pytest.raises(SettingsError, match="motor hexapod: there is none"):
        danmax("save", "there", "hexapod")


@pytest.mark.real_server
def test_motors_of_the_control_system_are_saved_where_they_stand(danmax, library, tmp_path):
    tango = pytest.importorskip("tango")
    file = tmp_path / "twin.toml"
    small = ["--set", "detectors.orca.width=96", "--set", "detectors.orca.height=32"]
    with ServerProcess(["twin", "--write-settings", str(file), *small]) as server:
        proxy = tango.DeviceProxy(server.addresses["danmax/motor/tom_sam_x"])
        proxy.Position = 1.25
        while proxy.state() == tango.DevState.MOVING or proxy.Position != 1.25:
            pass
        danmax("save", "here", "tom_sam_x", "--settings", str(file))
        assert load_settings(file).flat_position == {"tom_sam_x": 20.0}
        assert library.load("here").moves == (("tom_sam_x", 1.25),)
    with pytest.raises(DanmaxError, match="motor tom_sam_x does not answer"):
        danmax("save", "gone", "tom_sam_x", "--settings", str(file))


def test_a_scan_uses_a_position_and_puts_everything_back(sessions):
    session = sessions()
    session.plans.positions.save(
        FlatPosition("left", (("tom_sam_y", -2.0), ("tom_sam_x", 15.0)), rotate_first_deg=45.0)
    )
    seen = []

    def watch(name, doc):
        if name == "descriptor" and doc["name"] == "flat":
            world = session.beamline.twin.world
            seen.append({motor: axis.position for motor, axis in world.axes.items()})

    session.RE(
        session.plans.tomo_scan(
            "ascanct", "tom_ry", 0, 90, 60, 0.005, npt_fields=3, fields_flag="010000", posflat="left"
        ),
        watch,
    )
    assert seen == [pytest.approx({"tom_ry": 45.0, "tom_sam_x": 15.0, "tom_sam_y": -2.0, "tom_sam_z": 0.0}, abs=1e-3)]
    axes = session.beamline.twin.world.axes
    assert [axes[name].position for name in ("tom_sam_x", "tom_sam_y")] == pytest.approx([0.0, 0.0], abs=1e-3)
