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
    assert repeated(recorded) == recorded
