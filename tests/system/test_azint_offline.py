"""`danmax azint`: scans, folders and visits; resume, skip, follow, feeder, rebin, export, Dask."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fabio.tifimage
import h5py
import numpy as np
import pytest
import zmq
from click.testing import CliRunner

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.cli import cli
from danmax_bluesky.pipelines import cluster
from danmax_bluesky.pipelines.saxsdog_feed import new_files
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.testing.powder import SMALL, DetectorWriter, PowderRun, patterns_in, ring_frames, small_poni
from danmax_bluesky.testing.waiting import eventually

SHAPE = SMALL
RECIPE = {"detector": "pilatus", "radial_bins": 80, "unit": "2th_deg"}
PONI = small_poni()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def poni(tmp_path):
    path = tmp_path / "calibration.poni"
    path.write_text(PONI)
    return path


def measure(root: Path, scan_id: int, number: int = 20, recipes=(RECIPE,)) -> PowderRun:
    """A whole run: detector file and journal."""
    run = PowderRun(root, recipes, {"primary": ("data", number)}, SHAPE, scan_id, consumers=[DocumentJournal()])
    run.folder.mkdir(parents=True, exist_ok=True)
    run.start()
    run.segment("primary")
    with DetectorWriter(run.file, ring_frames(SHAPE, number, seed=scan_id)) as writer:
        writer.append(number)
    run.rows("primary", number)
    run.stop()
    return run


def danmax(*arguments, ok: bool = True) -> str:
    result = CliRunner().invoke(cli, ["azint", *map(str, arguments)], catch_exceptions=True)
    text = result.output + (str(result.exception) if result.exception else "")
    assert (result.exit_code == 0) == ok, text
    return text


def test_a_visit_is_integrated_and_then_left(tmp_path):
    runs = [measure(tmp_path, number) for number in (1, 2)]
    danmax(tmp_path)
    for run in runs:
        patterns = read_patterns(output_path(run.file))
        assert patterns.intensity.shape == (20, 80)
        assert patterns.quantity == "2theta"
    before = output_path(runs[0].file).stat().st_mtime_ns
    assert danmax(tmp_path).count("done") == 2
    assert output_path(runs[0].file).stat().st_mtime_ns == before


def test_an_integration_is_in_the_provenance_of_its_scan(tmp_path):
    run = measure(tmp_path, 1)
    danmax(tmp_path)
    start = json.loads((run.folder / f"{run.stem}_documents.jsonl").read_text().splitlines()[0])[1]
    (action,) = [a for a in Provenance(ScanFiles.of(start)).actions() if a.actor == "integration"]
    assert action.status == "SUCCESS"
    assert action.parameters["recipe"]["radial_bins"] == 80
    assert action.outputs[0].path.endswith("scan-0001_pilatus_integrated.h5")


def test_another_calibration_integrates_again(tmp_path, poni):
    run = measure(tmp_path, 1)
    danmax(tmp_path)
    first = read_patterns(output_path(run.file)).radial_axis
    danmax(tmp_path, "--poni", poni)
    assert not np.allclose(read_patterns(output_path(run.file)).radial_axis, first)
    later = time.time() + 10
    os.utime(poni, (later, later))
    assert "other recipe" in danmax(tmp_path, "--poni", poni, "--dry-run")


def test_an_integration_that_was_killed_is_continued(tmp_path):
    """kill -9 in the middle: what is there stays, the rest follows, and the whole is what it would have been."""
    run = measure(tmp_path, 1, number=2000)
    output = output_path(run.file)
    command = [
        sys.executable,
        "-c",
        "from danmax_bluesky.cli import main; main()",
        "azint",
        str(run.file),
        "--threads",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: patterns_in(output) > 0)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    there = len(read_patterns(output).intensity)
    assert there < 2000
    assert "2000 patterns" in danmax(run.file)
    whole = read_patterns(integrate_scan(run.file, RECIPE, tmp_path / "whole.h5").output)
    assert np.array_equal(read_patterns(output).intensity, whole.intensity, equal_nan=True)


def test_series_of_images_become_one_file_each(tmp_path, poni):
    folder = tmp_path / "images"
    folder.mkdir()
    frames = ring_frames(SHAPE, 6)
    for name, rows in (("a", range(3)), ("b", range(3, 6))):
        for place, row in enumerate(rows):
            fabio.tifimage.TifImage(data=frames[row]).write(str(folder / f"{name}_{place:04d}.tif"))
    past = time.time() - 60
    for file in folder.iterdir():
        os.utime(file, (past, past))
    danmax(folder, "--poni", poni, "--bins", 50)
    for name, rows in (("a", slice(0, 3)), ("b", slice(3, 6))):
        patterns = read_patterns(folder / f"{name}_integrated.h5")
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["frames"] = frames[rows]
        expected = read_patterns(integrate_scan(tmp_path / f"{name}.h5", {"poni": str(poni), "radial_bins": 50}).output)
        assert np.array_equal(patterns.intensity, expected.intensity, equal_nan=True)


def test_several_processes_give_the_same_bits(tmp_path):
    run = measure(tmp_path, 1, number=200)
    danmax(run.file, "--out", tmp_path / "threads")
    danmax(run.file, "--out", tmp_path / "processes", "--workers", 2)
    first, second = (
        read_patterns(tmp_path / name / "scan-0001_pilatus_integrated.h5") for name in ("threads", "processes")
    )
    assert np.array_equal(first.intensity, second.intensity, equal_nan=True)
    assert np.array_equal(first.sigma, second.sigma, equal_nan=True)


def test_the_scheduler_of_a_cluster_that_runs_already_is_used(tmp_path):
    distributed = pytest.importorskip("distributed")
    run = measure(tmp_path, 1, number=40)
    quiet = {"dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", **quiet) as local:
        assert "40 patterns" in danmax(run.file, "--scheduler", local.scheduler_address)
        with distributed.Client(local.scheduler_address, set_as_default=False) as client:
            done = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.transition_log))
    assert done > 0
    whole = read_patterns(integrate_scan(run.file, RECIPE, tmp_path / "whole.h5").output)
    assert np.array_equal(read_patterns(output_path(run.file)).intensity, whole.intensity, equal_nan=True)


MEMORY = """
import resource, sys
from pathlib import Path
from danmax_bluesky.pipelines.scan_integration import integrate_scan
for number in ("1", "2"):
    recipe = {"poni": sys.argv[3], "radial_bins": 300}
    integrate_scan(Path(sys.argv[int(number)]), recipe, Path(sys.argv[4] + number))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_the_memory_does_not_grow_with_the_scan(tmp_path, poni):
    """1000 frames hold 100 MB: ten times as many frames as before take no more memory."""
    shape = (167, 149)
    poni.write_text(PONI.replace("[97, 83]", "[167, 149]"))
    files = []
    for number in (100, 1000):
        files.append(tmp_path / f"{number}.h5")
        with DetectorWriter(files[-1], ring_frames(shape, 10)) as writer:
            writer.append(number)
    arguments = [sys.executable, "-c", MEMORY, *map(str, files), str(poni), str(tmp_path / "out")]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=300).stdout
    short_mb, long_mb = map(float, told.split())
    assert long_mb - short_mb < 40


def test_new_files_are_followed(tmp_path):
    first = measure(tmp_path, 1)
    often = "from danmax_bluesky.cli import azint, main; azint.LOOK_EVERY_S = 0.1; main()"
    command = [sys.executable, "-c", often, "azint", str(tmp_path), "--follow"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: patterns_in(output_path(first.file)) == 20)
        second = measure(tmp_path, 2)
        eventually(lambda: patterns_in(output_path(second.file)) == 20)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def test_a_feeder_announces_new_files(tmp_path):
    run = measure(tmp_path, 1)
    feeder = zmq.Context.instance().socket(zmq.PUB)
    port = feeder.bind_to_random_port("tcp://127.0.0.1")
    done = threading.Event()

    def announce():
        while not done.wait(0.05):
            feeder.send(b"nonsense")
            feeder.send_json({"command": "new file", "argument": str(run.file)})

    thread = threading.Thread(target=announce)
    thread.start()
    try:
        assert next(path for path in new_files(f"tcp://127.0.0.1:{port}") if path) == run.file
    finally:
        done.set()
        thread.join()
        feeder.close()


def test_files_that_a_feeder_announces_are_integrated_once_their_run_has_ended(tmp_path):
    """One is announced while it is measured, and again and again; the other one before it is there."""
    feeder = zmq.Context.instance().socket(zmq.PUB)
    address = f"tcp://127.0.0.1:{feeder.bind_to_random_port('tcp://127.0.0.1')}"
    run = PowderRun(tmp_path, [RECIPE], {"primary": ("data", 20)}, SHAPE, 1, consumers=[DocumentJournal()])
    run.folder.mkdir(parents=True, exist_ok=True)
    second = run.file.with_name("scan-0002_pilatus.h5")
    command = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()", "azint", "--feeder", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = threading.Event()

            def announce():
                while not told.wait(0.2):
                    for path in (run.file, second):
                        feeder.send_json({"command": "new file", "argument": str(path)})

            thread = threading.Thread(target=announce)
            thread.start()
            run.start()
            run.segment("primary")
            with DetectorWriter(run.file, ring_frames(SHAPE, 20)) as writer:
                writer.append(20)
            assert not output_path(run.file).exists()
            run.rows("primary", 20)
            run.stop()
            eventually(lambda: patterns_in(output_path(run.file)) == 20)
            told.set()
            thread.join()
            assert measure(tmp_path, 2).file == second
            eventually(lambda: patterns_in(output_path(second)) == 20)
        finally:
            told.set()
            process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=60)[0]
    assert "failed" not in text
    feeder.close()


def test_a_saxsdog_calibration_is_a_recipe(tmp_path):
    run = measure(tmp_path, 1)
    mask = np.zeros(SHAPE, bool)
    mask[:30] = True
    fabio.tifimage.TifImage(data=mask.astype(np.uint8)).write(str(tmp_path / "mask.tif"))
    calibration = {
        "Geometry": {
            "Tilt": {"TiltRotDeg": 0, "TiltAngleDeg": 0},
            "Imagesize": list(SHAPE),
            "BeamCenter": [50.0, 45.0],
            "PixelSizeMicroM": [172.0],
            "DedectorDistanceMM": 100.0,
        },
        "Wavelength": 0.35,
        "Masks": [
            {"MaskFile": "mask.tif", "Oversampling": 2, "PixelPerRadialElement": 1, "qStart": 1.0, "qStop": 8.0},
            {
                "MaskFile": "mask.tif",
                "Oversampling": 1,
                "PixelPerRadialElement": 1,
                "qStart": 4.0,
                "qStop": 6.0,
                "Name": "phi",
                "Phi-mode": True,
            },
        ],
        "Slices": [{"Direction": "x", "Plane": "InPlane", "CutPosition": 40, "CutMargin": 3, "IncidentAngle": 0.2}],
        "Directory": [],
    }
    (tmp_path / "cal.json").write_text(json.dumps(calibration))
    danmax(run.file, "--config", tmp_path / "cal.json", "--detector", "pilatus")
    first = output_path(run.file, "azint_0")
    with h5py.File(first) as file:
        assert file["entry/azint1d/reduction/input/mask"][:30].all()
        assert file["entry/slice1/data/I"].shape == (20, 83)
        assert file["entry/slice1/data/radial_axis"].attrs["long_name"] == "q_h"
        integrals = {name: file[f"entry/integrals/{name}"][...] for name in ("I1", "I2", "correlation_length")}
    assert np.allclose(integrals["correlation_length"], integrals["I1"] / integrals["I2"])
    phi = read_patterns(output_path(run.file, "phi"))
    assert phi.intensity.shape[2] == 1
    assert phi.intensity.shape[1] > 50


def test_patterns_are_joined_and_exported(tmp_path):
    run = measure(tmp_path, 1)
    danmax(run.file)
    output = output_path(run.file)
    danmax("--rebin", 5, 2, output)
    joined = read_patterns(output.with_name("scan-0001_pilatus_rebinned_5x2_integrated.h5"))
    assert joined.intensity.shape == (4, 40)
    patterns = read_patterns(output)
    norm = patterns.frame_norms()[:5, :2]
    expected = np.nansum(patterns.intensity[:5, :2] * norm) / norm.sum()
    assert joined.intensity[0, 0] == pytest.approx(expected, rel=1e-5)
    danmax("--export", "xye", output)
    text = np.loadtxt(output.with_name(f"{output.stem}_xye") / "scan-0001_pilatus_00003.xye")
    filled = np.isfinite(patterns.intensity[3])
    assert text[:, 0] == pytest.approx(patterns.radial_axis[filled], rel=1e-6)
    assert text[:, 1] == pytest.approx(patterns.intensity[3][filled], rel=1e-6)
    danmax("--export", "chi", output)
    assert len(list(output.with_name(f"{output.stem}_chi").glob("*.chi"))) == 20


def test_one_bad_file_does_not_stop_the_others(tmp_path):
    runs = [measure(tmp_path, number) for number in (1, 2, 3)]
    with runs[1].file.open("r+b") as raw:
        raw.truncate(runs[1].file.stat().st_size // 2)
    text = danmax(tmp_path, ok=False)
    assert "1 of the integrations failed" in text
    assert "scan-0002_pilatus.h5 failed" in text
    assert output_path(runs[2].file).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        ([], "name a scan number, a file or a folder"),
        ([".", "--config", "absent.toml"], "absent.toml cannot be read"),
        ([".", "--scheduler", "tcp://127.0.0.1:1"], "does not answer"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "ANSWER_S", 1.0)
    assert message in danmax(*arguments, ok=False)
