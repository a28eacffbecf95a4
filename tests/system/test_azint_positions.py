"""Several positions of a detector in one pattern, by the command line; and radial edges from a file."""

import json

import fabio.edfimage
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.cli import cli
from danmax_bluesky.pipelines.output import COMPLETE, state_of
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.patterns import read_patterns, read_recipe
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.testing.arm import LINES_DEG, PIXEL_M, SHAPE, THREE, joined_by_pyfai, write_arm
from danmax_bluesky.testing.powder import DetectorWriter, PowderRun

FRAMES = 3
MONITORS = [position.monitor for position in THREE]
OPTIONS = ("--unit", "2th_deg", "--bins", 300, "--error-model", "pyfai-poisson", "--monitor-counts")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "300")


def measure(root, scan_id, frame):
    run = PowderRun(root, (), {"primary": ("data", FRAMES)}, SHAPE, scan_id, consumers=[DocumentJournal()])
    run.folder.mkdir(parents=True, exist_ok=True)
    run.start()
    run.segment("primary")
    with DetectorWriter(run.file, np.stack([frame] * FRAMES)) as writer:
        writer.append(FRAMES)
    run.rows("primary", FRAMES)
    run.stop()
    return run.file


def danmax(*arguments):
    result = CliRunner().invoke(cli, ["azint", *map(str, arguments)])
    return result.exit_code, result.output + str(result.exception or "")


def test_three_scans_of_an_arm_become_one_pattern_that_is_multi_geometrys(tmp_path):
    ponis, frames = write_arm(tmp_path)
    files = [measure(tmp_path, number, frame) for number, frame in enumerate(frames, 1)]
    pairs = [word for pair in zip(ponis, files, strict=True) for word in ("--join", *pair)]
    code, text = danmax(*pairs, *OPTIONS, ",".join(map(str, MONITORS)))
    assert code == 0, text
    output = tmp_path / "20260000/2026000001/process/azint/powder/scan-0001_pilatus_joined_integrated.h5"
    assert f"{output}: {3 * FRAMES} frames joined" in text
    assert state_of(output) == COMPLETE
    stored = read_patterns(output)
    theirs = joined_by_pyfai(
        [poni for poni in ponis for _ in range(FRAMES)],
        [frame for frame in frames for _ in range(FRAMES)],
        stored.radial_edges,
        unit="2th_deg",
        monitors=[monitor for monitor in MONITORS for _ in range(FRAMES)],
    )
    pixel_sr = PIXEL_M**2 / THREE[0].distance_m ** 2
    for ours, expected in ((stored.intensity[0], theirs.intensity), (stored.sigma[0], theirs.sigma)):
        assert np.abs(ours - pixel_sr * expected).max() < 1e-4 * pixel_sr * expected.max()
    for line in LINES_DEG:
        near = np.abs(stored.radial_axis - line) < 0.3
        assert stored.radial_axis[near][stored.intensity[0][near].argmax()] == pytest.approx(line, abs=0.06)

    assert [entry["number_of_frames"] for entry in json.loads(read_recipe(output)["positions"])] == [FRAMES] * 3
    for file in files:
        start = json.loads(
            file.with_name(f"{file.stem.partition('_')[0]}_documents.jsonl").read_text().splitlines()[0]
        )[1]
        (action,) = [row for row in Provenance(ScanFiles.of(start)).actions() if row.actor == "integration"]
        assert [entry["poni"] for entry in action.parameters["recipe"]["positions"]] == list(map(str, ponis))
        assert action.status == "SUCCESS"

    code, text = danmax(*pairs, *OPTIONS, "1,2,0.5")
    assert (code, "exists already" in text) == (1, True)
    code, text = danmax(*pairs, *OPTIONS, "1,2")
    assert "has 2 numbers for 3 positions" in text
    assert danmax(*pairs, *OPTIONS, "1,2,0.5", "--again")[0] == 0
    assert danmax("--export", "xye", output)[0] == 0
    (written,) = output.parent.rglob("*.xye")
    assert np.loadtxt(written).shape == (np.isfinite(stored.intensity).sum(), 3)


def test_images_are_joined_in_bins_whose_edges_lie_in_a_file(tmp_path):
    ponis, frames = write_arm(tmp_path)
    for number, frame in enumerate(frames):
        fabio.edfimage.EdfImage(data=frame).write(str(tmp_path / f"arm_{number}.edf"))
    edges = np.concatenate([np.linspace(1.0, 5.0, 41), np.linspace(5.2, 14.0, 45)])
    np.savetxt(tmp_path / "edges.txt", edges, header="degrees")
    pairs = [word for n, poni in enumerate(ponis) for word in ("--join", poni, tmp_path / f"arm_{n}.edf")]
    code, text = danmax(*pairs, "--unit", "2th_deg", "--splitting", "full", "--radial-edges", tmp_path / "edges.txt")
    assert code == 0, text
    stored = read_patterns(tmp_path / "arm_0_joined_integrated.h5")
    assert stored.radial_edges == pytest.approx(edges)
    fine = np.linspace(0.0, 20.0, 201)
    theirs = joined_by_pyfai(ponis, frames, fine, unit="2th_deg", splitting="full")
    first, last = np.searchsorted(fine, (5.2 - 1e-6, 14.0 - 1e-6))
    pairs_of = slice(first, last)  # from 5.2 degrees on two even bins are one of ours
    signal, norm = (
        np.add.reduceat(array[pairs_of], np.arange(0, 88, 2)) for array in (theirs.sum_signal, theirs.sum_normalization)
    )
    expected = PIXEL_M**2 / THREE[0].distance_m ** 2 * signal / norm
    assert stored.intensity[0][41:] == pytest.approx(expected, rel=1e-4)
