"""What `danmax azint` refuses, and with which status it ends."""

import itertools
import json
import shutil

import h5py
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import azint, cli
from danmax_bluesky.testing.powder import SMALL, ring_frames, small_poni

SHAPE = SMALL
PONI = small_poni()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def poni(tmp_path):
    path = tmp_path / "calibration.poni"
    path.write_text(PONI)
    return path


@pytest.fixture
def frames_file(tmp_path):
    return write(tmp_path / "frames.h5")


def write(path):
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("entry/data", data=ring_frames(SHAPE, 5), chunks=(1, *SHAPE), fletcher32=True)
    return path


def danmax(*arguments):
    result = CliRunner().invoke(cli, ["azint", *map(str, arguments)])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_place_without_frames_is_an_error(tmp_path, more):
    code, text = danmax(tmp_path, *more)
    assert code == 1
    assert f"no frames found in {tmp_path}" in text
    assert "pilatus" in text


def test_options_that_cannot_go_with_joining_or_without_it_are_refused(frames_file, poni):
    code, text = danmax("--join", poni, frames_file, "--join", poni, frames_file, "--workers", 2)
    assert code == 2
    assert "--join cannot be used together with --workers" in text
    code, text = danmax(frames_file, "--poni", poni, "--monitor-counts", "1e5,2e5")
    assert code == 2
    assert "--monitor-counts belongs to --join" in text


def test_recipes_that_would_share_a_file_are_refused(tmp_path, frames_file, poni):
    config = tmp_path / "recipes.json"
    recipes = [{"poni": str(poni), "name": name} for name in ("a", "b")]
    config.write_text(json.dumps({"recipes": recipes}))
    code, text = danmax(frames_file, "--config", config, "--name", "c", "--dry-run")
    assert code == 1
    assert "recipes c, c of frames.h5: equal names" in text
    assert danmax(frames_file, "--config", config, "--dry-run")[0] == 0
    config.write_text(json.dumps({"recipes": [{**recipe, "name": "a"} for recipe in recipes]}))
    code, text = danmax(frames_file, "--config", config)
    assert code == 1
    assert "give each a name of its own" in text
    code, text = danmax(frames_file, "--poni", poni, "--name", "../x")
    assert code == 1
    assert "'name' = '../x'" in text


def test_each_file_of_a_scan_takes_the_recipes_of_its_detector(tmp_path, frames_file, poni):
    config = tmp_path / "recipes.json"
    config.write_text(json.dumps([{"poni": str(poni), "detector": name} for name in ("pilatus", "orca")]))
    for name in ("pilatus", "orca"):
        shutil.copy(frames_file, tmp_path / f"scan-0001_{name}.h5")
    frames_file.unlink()
    code, text = danmax(tmp_path, "--config", config, "--dry-run")
    assert code == 0, text
    assert text.count("│ new") == 2


def test_a_file_with_problems_is_a_failure_and_is_tried_again_but_not_in_a_loop(frames_file, poni, monkeypatch):
    damage(frames_file, 2)
    looks = itertools.count()

    def look(_seconds):
        if next(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(azint.time, "sleep", look)
    arguments = [frames_file, "--poni", poni, "--bins", 20]
    code, text = danmax(*arguments, "--follow")
    assert code == 1
    assert text.count("5 patterns") == 1
    code, text = danmax(*arguments, "--dry-run")
    assert "│ incomplete" in text
    code, text = danmax(*arguments)
    assert code == 1
    assert "1 of 5 frames could not be read, and their patterns are NaN: frame 2: " in text
    assert "1 of the integrations failed" in text
    frames_file.unlink()
    write(frames_file)
    code, text = danmax(*arguments)
    assert code == 0, text
    assert "│ done" in danmax(*arguments)[1]


def damage(path, frame):
    with h5py.File(path) as file:
        place = file["entry/data"].id.get_chunk_info(frame)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(b"no count")


@pytest.mark.parametrize("given", ["0.5,1.5,2,4", "edges.txt"])
def test_radial_edges_are_given_as_a_list_or_as_a_file(tmp_path, frames_file, poni, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edges.txt").write_text("0.5 1.5 2 4")
    code, text = danmax(frames_file, "--poni", poni, "--radial-edges", given, "--splitting", "full")
    assert code == 0, text
    with h5py.File(tmp_path / "frames_integrated.h5") as file:
        assert file["/entry/data/radial_axis_edges"][()].tolist() == [0.5, 1.5, 2.0, 4.0]
        assert file["/entry/data/I"].shape == (5, 3)


def test_edges_on_the_command_line_stand_for_the_range_of_the_recipe_and_the_other_way_round(
    tmp_path, frames_file, poni
):
    for stated, option, expected in (
        ({"radial_range": [0.5, 3]}, ("--radial-edges", "1,2,4"), [1.0, 2.0, 4.0]),
        ({"radial_edges": [1, 2, 4]}, ("--range", 0.5, 2.5, "--bins", 2), [0.5, 1.5, 2.5]),
    ):
        (tmp_path / "recipe.json").write_text(json.dumps({"poni": str(poni), **stated}))
        code, text = danmax(frames_file, "--config", tmp_path / "recipe.json", *option, "--again")
        assert code == 0, text
        with h5py.File(tmp_path / "frames_integrated.h5") as file:
            assert file["/entry/data/radial_axis_edges"][()] == pytest.approx(expected)
