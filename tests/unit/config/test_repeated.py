import pytest

from danmax_bluesky.config import load_settings, repeated


def test_how_it_was_measured_is_taken_over_and_nothing_else():
    recorded = load_settings(options={"sample": "tooth", "twin.seed": 7, "catalog.api_key": "K"}).model_dump(
        mode="json"
    )
    recorded |= {
        "data_root": "/evil",
        "proposal": "evil",
        "visit": "evil",
        "folder": "evil",
        "beamline": "danmax",
        "storage": {"roots": ["/"]},
        "catalog": {"kind": "remote", "uri": "http://evil"},
        "configurator": "tango://evil:1/a/b/c",
        "panda_server": "evil:1",
        "counters": {"evil": {"address": "tango://evil:1/a/b/c/d"}},
    }
    recorded["motors"]["tom_ry"] |= {"address": "tango://evil:1/a/b/c", "velocity": 33.0}
    recorded["detectors"]["orca"] |= {"address": "tango://evil:1/a/b/c", "width": 77, "interface": "lima"}
    assert "evil" not in repr(repeated(recorded))
    mine = load_settings(options={"data_root": "/mine"}, base=repeated(recorded))
    here = load_settings()
    assert (mine.sample, mine.twin.seed, mine.motors["tom_ry"].velocity) == ("tooth", 7, 33.0)
    assert (mine.detectors["orca"].width, mine.detectors["orca"].interface) == (77, "danmax")
    for name in ("proposal", "visit", "folder", "beamline", "storage", "catalog", "configurator", "counters", "users"):
        assert getattr(mine, name) == getattr(here, name)
    assert str(mine.data_root) == "/mine"


@pytest.mark.parametrize("recorded", [{}, {"motors": 3}, {"motors": {"tom_ry": "fast"}}])
def test_settings_that_are_none_are_no_reason_to_fail_here(recorded):
    taken = repeated(recorded)
    if isinstance(recorded.get("motors"), dict):  # those that it lacks are left out
        taken["motors"] = {name: motor for name, motor in taken["motors"].items() if motor is not False}
    assert taken == recorded


def test_devices_that_were_left_out_stay_left_out():
    without = {"detectors.pilatus": False, "motors.tom_sam_z": False, "recipes": ()}
    recorded = load_settings(options=without).model_dump(mode="json")
    again = load_settings(base=repeated(recorded))
    assert (set(again.detectors), set(again.motors)) == (set(recorded["detectors"]), set(recorded["motors"]))
    assert "pilatus" not in again.detectors
    wanted = load_settings(options={"detectors.pilatus": {"width": 77}}, base=repeated(recorded))
    assert wanted.detectors["pilatus"].width == 77
