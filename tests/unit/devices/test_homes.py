import pytest

from danmax_bluesky.devices.homes import Homes


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".danmax" / "homes.json"


def test_another_session_knows_what_is_away(path):
    Homes(path).depart([("tom_sam_x", 0.25), ("tom_ry", 10.0)])
    assert Homes(path).away == {"tom_sam_x": 0.25, "tom_ry": 10.0}


def test_a_motor_that_leaves_twice_is_at_home_only_where_it_left_first(path):
    homes = Homes(path)
    homes.depart([("tom_sam_x", 0.0)])
    homes.depart([("tom_sam_x", 5.0), ("tom_sam_y", 1.0)])
    homes.arrived([("tom_sam_x", 5.0), ("tom_sam_y", 1.0)])
    assert Homes(path).away == {"tom_sam_x": 0.0}
    homes.arrived([("tom_sam_x", 0.0)])
    assert Homes(path).away == {}


def test_a_motor_that_comes_back_between_two_places_is_away_until_the_last_of_them(path):
    homes = Homes(path)
    homes.depart([("tom_sam_x", 0.0), ("tom_sam_y", 0.0)])  # for a mosaic
    homes.depart([("tom_sam_x", 0.0)])  # for the flats at its first place, where it stands
    homes.arrived([("tom_sam_x", 0.0)])
    assert Homes(path).away == {"tom_sam_x": 0.0, "tom_sam_y": 0.0}
    homes.arrived([("tom_sam_x", 0.0), ("tom_sam_y", 0.0)])
    assert Homes(path).away == {}


def test_what_one_session_learns_counts_for_another_that_is_open_already(path):
    shell = Homes(path)
    killed = Homes(path)
    killed.depart([("tom_sam_x", 0.0)])
    assert shell.away == {"tom_sam_x": 0.0}
    shell.depart([("tom_sam_x", 20.0), ("tom_ry", 5.0)])
    shell.arrived([("tom_sam_x", 20.0), ("tom_ry", 5.0)])
    assert Homes(path).away == {"tom_sam_x": 0.0}
    Homes(path).forget(["tom_sam_x"])
    assert shell.away == killed.away == {}


def test_everybody_of_the_group_may_change_the_file(path):
    Homes(path).depart([("tom_sam_x", 0.0)])
    assert path.stat().st_mode & 0o777 == 0o664
    assert path.parent.stat().st_mode & 0o020


def test_what_an_earlier_version_kept_is_taken_over_once(path, tmp_path):
    earlier = tmp_path / "visit" / "homes.json"
    earlier.parent.mkdir()
    earlier.write_text('{"tom_sam_x": 1.5}')
    Homes(path).depart([("tom_ry", 5.0)])
    assert Homes(path, earlier).away == {"tom_sam_x": 1.5, "tom_ry": 5.0}
    assert not earlier.exists()


def test_a_folder_that_takes_no_file_leaves_the_session_its_memory(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    homes = Homes(tmp_path / "file" / "homes.json")
    homes.depart([("tom_sam_x", 1.0)])
    assert homes.away == {"tom_sam_x": 1.0}
    assert "is not kept" in caplog.text
    homes.arrived([("tom_sam_x", 1.0)])
    assert homes.away == {}


def test_what_somebody_moved_on_purpose_is_forgotten(path):
    homes = Homes(path)
    homes.depart([("tom_sam_x", 0.0), ("tom_sam_y", 1.0)])
    homes.forget(["tom_sam_x", "tom_ry"])
    assert Homes(path).away == {"tom_sam_y": 1.0}


@pytest.mark.parametrize("content", ["", "[1]", '{"tom_sam_x": "out"}', "\xff"])
def test_a_damaged_file_is_told_and_taken_for_empty(path, content, caplog):
    path.parent.mkdir()
    path.write_bytes(content.encode("latin-1"))
    assert Homes(path).away == {}
    assert "look yourself whether the sample is in the beam" in caplog.text


def test_a_disk_that_cannot_be_written_does_not_stop_a_scan(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    homes = Homes(tmp_path / "file" / "homes.json")
    homes.depart([("tom_sam_x", 0.0)])
    assert homes.away == {"tom_sam_x": 0.0}
    assert "is not kept" in caplog.text
