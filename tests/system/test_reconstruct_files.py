"""`danmax reconstruct` on files of other programs, and `danmax tori`."""

import re
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.testing.phantoms import BONE, project, truth
from danmax_bluesky.tomography.quality import compare_slices

WIDTH, ROWS, CENTRE = 96, 12, 50.3
THETA = np.linspace(0, 180, 121)


@pytest.fixture
def plain(tmp_path, monkeypatch):
    """A file that follows no format."""
    monkeypatch.chdir(tmp_path)
    lines = project(BONE, WIDTH, THETA, CENTRE, 0.7)
    rows = np.linspace(0.8, 1.2, ROWS)[:, None]
    counts = 100 + 20000 * np.exp(-lines[:, None] * rows)
    noisy = np.random.default_rng(0).poisson(counts).astype(np.uint16)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["scan/frames"] = noisy
        file["scan/white"] = np.full((5, ROWS, WIDTH), 20100, np.uint16)
        file["scan/black"] = np.full((5, ROWS, WIDTH), 100, np.uint16)
        file["scan/angle"] = np.deg2rad(THETA)
    return tmp_path / "mine.h5"


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


PATHS = ("--data", "/scan/frames", "--flats", "/scan/white", "--darks", "/scan/black")


def test_a_file_without_a_format_is_reconstructed_from_the_paths_of_its_datasets(plain):
    done = run("reconstruct", plain, *PATHS, "--theta", "0:180", "--rows", "4:8")
    assert done.exit_code == 0, done.output
    with h5py.File("mine_slices.h5") as file:
        assert file["entry/reconstruction/parameters/center"][()] == pytest.approx(CENTRE, abs=0.1)
        assert list(file["entry/data/row"]) == [4, 5, 6, 7]
        for row, image in zip(range(4, 8), file["entry/data/data"], strict=True):
            quality = compare_slices(image / np.linspace(0.8, 1.2, ROWS)[row], truth(BONE, WIDTH, 0.7))
            assert quality.gain == pytest.approx(1, abs=0.03)
            assert quality.correlation > 0.97
    assert plain.with_name("mine_slices.png").stat().st_size > 10_000


def test_what_the_frames_lack_is_said_and_a_picture_shows_three_slices(plain):
    with h5py.File(plain, "r+") as file:
        frames = file["scan/frames"][()].astype(np.float32)
        frames[5], frames[7, 6] = np.nan, np.nan
        del file["scan/frames"]
        file["scan/frames"] = frames
    done = run("reconstruct", plain, *PATHS, "--theta", "0:180", "--rows", "all", "--export", "tiff")
    assert done.exit_code == 0, done.output
    assert "1 projections hold nothing but zeros and what is no finite number (5, counted from 0)" in done.output
    assert "no pixel of 1 rows of the detector (6) told anything, in up to 1 projections" in done.output
    with h5py.File("mine_slices.h5") as file:
        image = file["entry/data/data"][6] / np.linspace(0.8, 1.2, ROWS)[6]
        assert compare_slices(image, truth(BONE, WIDTH, 0.7)).gain == pytest.approx(1, abs=0.03)
        parameters = file["entry/reconstruction/parameters"]
        assert parameters["algorithm"].asstr()[()].startswith("fourier: A. C. Kak")
        assert 0 < parameters["center_error"][()] < 0.2
    assert len(list(plain.with_name("mine_slices_tiff").glob("slice_*.tif"))) == ROWS


def test_a_series_a_wedge_and_a_range_of_axes_are_each_one_command(plain):
    words = ("reconstruct", plain, *PATHS, "--theta")
    series = run(*words, "0:720", "--volume-deg", "200", "--volume-step-deg", "250", "--center", CENTRE)
    assert series.exit_code == 0, series.output
    assert [path.name for path in sorted(plain.parent.glob("mine_slices_0*.h5"))] == [
        "mine_slices_0000.h5",
        "mine_slices_0001.h5",
        "mine_slices_0002.h5",
    ]
    assert "say --allow-wedge" in str(run(*words, "0:120").exception)
    wedge = run(*words, "0:120", "--allow-wedge", "--center", CENTRE)
    assert "a wedge of 59 degrees was not measured" in wedge.output
    shown = run(*words, "0:180", "--center-range", "48:52:1")
    assert shown.exit_code == 0, shown.output
    assert plain.with_name("mine_slices_centres.png").stat().st_size > 30_000
    assert "give FIRST:LAST:STEP" in run(*words, "0:180", "--center-range", "48").output
    assert "are 401 slices" in str(run(*words, "0:180", "--center-range", "48:52:0.01").exception)


def test_a_reconstruction_that_was_killed_goes_on_with_the_same_bits(plain):
    with h5py.File(plain, "r+") as file:
        for name in ("frames", "white", "black"):
            frames = np.repeat(file[f"scan/{name}"][()], 3, axis=1)
            del file[f"scan/{name}"]
            file[f"scan/{name}"] = frames
    settings = plain.with_name("slow.toml")
    settings.write_text('method = "sirt"\nrows = "all"\npicture = false\nparameters = { iterations = 8 }\n')
    words = ("reconstruct", plain, *PATHS, "--theta", "0:180", "--tori", settings, "--out")
    unfinished = plain.with_name(".part.h5.unfinished")
    command = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()", *map(str, (*words, "part.h5"))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    pause = threading.Event()
    while process.poll() is None and not (unfinished.exists() and unfinished.stat().st_size >= 4096 + 64 * WIDTH**2):
        pause.wait(0.02)
    process.kill()
    process.wait()
    assert not plain.with_name("part.h5").exists()
    done = run(*words, "part.h5")
    assert re.search(r"(16|32) of 36 slices were there, of a run that was interrupted", done.output), done.output
    assert run(*words, "whole.h5").exit_code == 0
    with h5py.File("part.h5") as part, h5py.File("whole.h5") as whole:
        assert np.array_equal(part["entry/data/data"][()], whole["entry/data/data"][()])
    assert not unfinished.exists()


def test_angles_in_radians_are_suspected_and_may_be_said(plain):
    refused = run("reconstruct", plain, *PATHS, "--theta", "/scan/angle")
    assert "do not cover half a turn" in str(refused.exception)
    assert "do they hold radians? Then say --theta-unit rad" in str(refused.exception)
    done = run("reconstruct", plain, *PATHS, "--theta", "/scan/angle", "--theta-unit", "rad", "--out", "out.h5")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), r"name them with --data, --flats, --darks and --theta"),
        (("--data", "/scan/frame"), r"no frames .* at /scan/frame; there are .*/scan/frames, /scan/white"),
        ((*PATHS, "--theta", "/scan/angles"), r"no angles at /scan/angles; give --theta"),
        ((*PATHS, "--theta", "0:x"), r"theta = '0:x': give"),
        ((*PATHS[:2], "--theta", "0:180"), "there are no flats"),
        ((*PATHS, "--theta", "0:0"), "do not cover half a turn"),
        ((*PATHS, "--theta", "0:180", "--method", "magic"), "method = 'magic': must be one of fourier, fbp"),
        ((*PATHS, "--theta", "0:180", "--rows", "5:2"), r"rows = \[5, 2, 1\]: give"),
        ((*PATHS, "--theta", "0:180", "--rows", "a:b"), "give middle, all, FIRST:LAST"),
        ((*PATHS, "--theta", "0:180", "--center", "left"), "give auto, tori or a column"),
    ],
)
def test_what_cannot_be_reconstructed_is_refused_with_the_way_out(plain, words, message):
    refused = run("reconstruct", plain, *words)
    assert refused.exit_code != 0
    text = f"{refused.exception} {refused.output}"
    assert re.search(message, text), text
    assert not plain.with_name("mine_slices.h5").exists()


def test_a_settings_file_is_made_checked_shown_and_used(plain, tmp_path):
    home = ("--data-root", tmp_path / "data")
    made = run("tori", "new", "bone", *home)
    assert made.exit_code == 0, made.output
    (path,) = (tmp_path / "data").rglob("bone.toml")
    assert "# stripe_px: columns within which" in path.read_text()
    again = run("tori", "new", "bone", *home)
    assert "is there already" in str(again.exception)
    assert "can be used; method fourier" in run("tori", "check", "bone", *home).output
    assert "memory_mb = 4096" in run("tori", "show", "bone", *home).output
    assert run("tori", "show", *home).output.split() == ["default", "none", "bone"]
    path.write_text('method = "sirt"\nwindow = "hann"\nparameters = { iterations = 2 }\n')
    done = run("reconstruct", plain, *PATHS, "--theta", "0:180", "--tori", path)
    assert done.exit_code == 0, done.output
    path.write_text('method = "sirt"\nparameters = { strength = 2 }\n')
    assert "method 'sirt' has no 'strength'" in str(run("tori", "check", path).exception)
    yaml = path.with_name("wood.yaml")
    yaml.write_text("phase: paganin\nenergy_kev: 20\ndistance_mm: 100\n")
    assert "phase = 'paganin' needs delta_beta" in str(run("tori", "check", yaml).exception)
