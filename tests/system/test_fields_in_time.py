"""Darks and flats have a place in time and an exposure: in our slices, and in the files for other programs.

Nothing but air is measured: its transmission is 1, whatever beam, exposure and program.
"""

import importlib

import bluesky.preprocessors as bpp
import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.pipelines.one_pass import read_lines
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames
from danmax_bluesky.storage.check import check_file, check_scan
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.scanning import measured, recording
from danmax_bluesky.tomography.translations import Line

AIR = slice(0, 4)
"""Columns that the sample never reaches."""
EVERY, NUM, FIELDS = 20, 60, 5
FADES_S, LEFT = 80.0, 0.2


@pytest.fixture(scope="module")
def session(session_of):
    return session_of(detectors__orca__width=64, detectors__orca__height=8, detectors__pilatus__active=False)


def plan(session, **parameters):
    given = {"npt_fields": FIELDS, "fields_flag": "110111", "flats_every": EVERY, "configurator": False, **parameters}
    return session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, NUM, 0.005, **given)


@pytest.fixture(scope="module")
def faded(session):
    """Under a beam that falls to `LEFT` within `FADES_S`."""
    world = session.beamline.twin.world

    def fading():
        now = world.clock.now_ns()
        for part in np.linspace(0, 1, 2000):
            world.ring.beam.set(now + int(part * FADES_S * 1e9), 1 - part * (1 - LEFT))
        yield from plan(session)

    run = measured(session, fading())
    world.ring.beam.set(world.clock.now_ns(), 1.0)
    return run


@pytest.fixture(scope="module")
def longer(session):
    """Flats of four times the projections' exposure, among the projections too, and darks before alone."""
    return measured(session, plan(session, fields_flag="110100", flat_exp_time=0.02))


@pytest.fixture(scope="module")
def topped_up(session_of):
    """The ring's current is recorded, and rises between two stretches of projections that no flats part."""
    session = session_of(  # what tells of itself bears the time of the computer, which is the twin's on its real clock
        twin__clock="real", detectors__orca__width=64, detectors__orca__height=8, detectors__pilatus__active=False
    )
    ring = session.beamline.twin.world.ring
    beam = 0.5

    def rising(message):
        nonlocal beam
        if message.command == "declare_stream" and message.kwargs["name"] == "proj_002":
            beam = 0.8
        if message.command in ("open_run", "declare_stream", "collect"):
            ring.set_beam(beam)
        return message

    given = plan(session, fields_flag="110000", flats_every=0, turns=2, back_and_forth=True)
    monitored = bpp.monitor_during_wrapper(given, [session.beamline.ring_current.current])
    return measured(session, bpp.msg_mutator(monitored, rising))


def both(run):
    return run.files.master, run.files.dxchange("orca", alone=True)


def projected(run, column):
    """What is true of each projection."""
    return np.concatenate([run.true(name, column) for name in run.counts if name.startswith("proj")])


def air_in_slices(scan):
    """What our slices are made of: the attenuation of air at each projection."""
    frames = TomographyFrames.of(scan.detector(), "orca", scan.sources["orca"])
    return read_lines(frames, [], range(8), 2**30).near[..., AIR].mean(axis=(0, 2))


def transmission_by_tomopy(projections, flats, darks):
    """As tomopy's `normalize` has it, and httomo with it: the flats, and the darks, are averaged."""
    dark, flat = darks.astype(float).mean(axis=0), flats.astype(float).mean(axis=0)
    return ((projections - dark) / (flat - dark))[..., AIR].mean(axis=(1, 2))


@pytest.mark.parametrize("which", [0, 1], ids=["master", "dxchange"])
def test_air_has_no_attenuation_under_a_beam_that_fades(faded, which):
    scan = open_scan(both(faded)[which])
    beam = projected(faded, "beam")
    assert beam[0] > 1.05 * beam[-1]  # how much it falls depends on how long the scan takes
    assert air_in_slices(scan) == pytest.approx(0, abs=0.025)
    averaged = transmission_by_tomopy(scan.frames.values, scan.flats.values, scan.darks.values)
    assert averaged[0] / averaged[-1] == pytest.approx(beam[0] / beam[-1], rel=0.03)


@pytest.mark.parametrize("which", [0, 1], ids=["master", "dxchange"])
def test_every_frame_has_its_time_and_its_number_in_both_files(faded, which):
    scan = open_scan(both(faded)[which])
    names = list(faded.counts)
    wanted = {
        kind: np.concatenate(
            [(faded.true(n, "start_ns") + faded.true(n, "end_ns")) / 2e9 for n in names if n.startswith(kind)]
        )
        for kind in ("proj", "flat", "dark")
    }
    ends = np.cumsum([0, *faded.counts.values()])
    numbers = {
        kind: np.concatenate(
            [np.arange(a, b) for n, a, b in zip(names, ends, ends[1:], strict=False) if n.startswith(kind)]
        )
        for kind in wanted
    }
    for kind, frames in (("proj", scan.frames), ("flat", scan.flats), ("dark", scan.darks)):
        since = frames["time"].values - scan.frames["time"].values[0]
        assert since == pytest.approx(wanted[kind] - wanted["proj"][0], abs=1e-5)
        assert frames["sequence_number"].values.tolist() == numbers[kind].tolist()
        assert frames["count_time"].values == pytest.approx(0.005)


def test_where_nothing_needs_scaling_the_flats_are_links(faded):
    assert not faded.files.scaled_flats("orca").exists()
    for path, dataset in zip(both(faded), ("entry_orca/instrument/detector/data", "exchange/data_white"), strict=True):
        with h5py.File(path) as file:
            assert {source.file_name for source in file[dataset].virtual_sources()} == {"scan-0001_orca.h5"}
            assert "scale_white" not in file.get("exchange", ())


@pytest.mark.parametrize("which", [0, 1], ids=["master", "dxchange"])
def test_flats_of_another_exposure_are_read_rightly_by_the_formula_of_tomopy(longer, which):
    scan = open_scan(both(longer)[which])
    assert transmission_by_tomopy(scan.frames.values, scan.flats.values, scan.darks.values) == pytest.approx(
        1, abs=0.02
    )
    assert air_in_slices(scan) == pytest.approx(0, abs=0.02)
    assert scan.flats["count_time"].values == pytest.approx(0.02)
    assert scan.flats["scale"].values == pytest.approx(0.25)
    assert scan.frames["scale"].values == pytest.approx(1)
    with h5py.File(longer.files.detector("orca")) as file:  # the frames of the detector are what they were
        raw = file["entry/instrument/orca/data"][()]
    dark = raw[scan.darks["sequence_number"].values].mean(axis=0)
    flats = raw[scan.flats["sequence_number"].values]
    np.testing.assert_allclose(scan.flats.values, dark + (flats - dark) / 4, rtol=1e-5)
    np.testing.assert_array_equal(scan.frames.values, raw[scan.frames["sequence_number"].values])
    assert check_file(both(longer)[which]) == []
    assert scan.missing == ()


def test_the_factor_is_recorded_and_the_scan_is_whole(longer):
    with h5py.File(longer.files.dxchange("orca", alone=True)) as file:
        assert file["exchange/data"].dtype == np.uint16
        assert file["exchange/scale_white"][()] == pytest.approx(0.25)
        assert file["exchange/exposure_white"][()] == pytest.approx(0.02)
    (row,) = [row for row in read_table(longer.files.master) if row["actor"] == "dxchange"]
    assert row["status"] == "SUCCESS"
    assert check_scan(longer.record) == []


@pytest.mark.parametrize("order", ["theta:y:x", "y:theta:x"])
def test_a_copy_that_travels_alone_holds_the_scaled_flats(longer, tmp_path, order):
    copy = tmp_path / "alone.h5"
    done = CliRunner().invoke(
        cli, ["dxchange", str(longer.files.documents), "--copy", "--order", order, "-o", str(copy)]
    )
    assert done.exit_code == 0, done.output
    linked, scan = open_scan(longer.files.dxchange("orca", alone=True)), open_scan(copy)
    with h5py.File(copy) as file:
        assert not file["exchange/data_white"].is_virtual
        assert file["exchange/data"].dtype == np.uint16
    for kind in ("frames", "flats", "darks"):
        np.testing.assert_array_equal(getattr(scan, kind).values, getattr(linked, kind).values)


def test_volumes_keep_the_numbers_of_the_whole_scan(longer, tmp_path):
    out = tmp_path / "volumes.h5"
    words = ["dxchange", str(longer.files.documents), "--volume-deg", "90", "-o", str(out), "--copy"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    whole = open_scan(longer.files.dxchange("orca", alone=True)).frames
    with h5py.File(out) as file:
        parts = [file["exchange_1"], file["exchange_2"]]
        for name, coordinate in (("index", "sequence_number"), ("time", "time")):
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[coordinate].values)
        for part in parts:
            transmission = transmission_by_tomopy(*(part[name][()] for name in ("data", "data_white", "data_dark")))
            assert transmission == pytest.approx(1, abs=0.02)


def test_flats_that_a_series_shares_are_scaled_for_each_place(session):
    places = Line(motor="tom_sam_y", start=0.0, step=0.5, num=2) * 1
    with recording(session) as runs:
        session.RE(plan(session, fields_flag="110000", flats_every=0, places=places, flat_exp_time=0.002))
    for run, own in zip(runs, (2 * FIELDS, 0), strict=True):
        scan = open_scan(run.files.dxchange("orca", alone=True))
        assert len(scan.frames) == NUM + 1 == run.record.planned["proj"]
        assert sum(run.counts.values()) - len(scan.frames) == own
        transmission = transmission_by_tomopy(scan.frames.values, scan.flats.values, scan.darks.values)
        assert transmission == pytest.approx(1, abs=0.03)
        assert check_scan(run.record) == []


@pytest.mark.filterwarnings("ignore")
def test_nabu_reads_air_from_the_master(longer, tmp_path):
    transmission = transmission_by_nabu(longer, tmp_path)
    assert len(transmission) == NUM + 1
    assert transmission == pytest.approx(1, abs=0.02)


def transmission_by_nabu(run, folder):
    """With nabu's own reading, its own reduction of darks and flats, and its own normalisation."""
    pytest.importorskip("nabu", reason="nabu is not installed; `pip install nabu`")
    analyzer, reduced, flatfield = (
        importlib.import_module(f"nabu.{name}")
        for name in ("resources.dataset_analyzer", "resources.nxflatfield", "preproc.flatfield")
    )
    dataset = analyzer.analyze_dataset(str(run.files.master))
    reduced.update_dataset_info_flats_darks(dataset, True, output_dir=str(folder), darks_flats_dir=str(folder))
    places = np.array(sorted(dataset.projections))
    with h5py.File(run.files.master) as file:
        radios = file["entry_orca/instrument/detector/data"][()][places].astype(np.float32)
    field = flatfield.FlatField(
        radios.shape,
        flats=dataset.flats,
        darks=dataset.darks,
        radios_indices=places,
        radios_srcurrent=dataset.projections_srcurrent,
        flats_srcurrent=dataset.flats_srcurrent,
    )
    return field.normalize_radios(radios)[..., AIR].mean(axis=(1, 2))


@pytest.mark.filterwarnings("ignore")
def test_tomoscan_reads_air_from_the_master(longer):
    module = pytest.importorskip("tomoscan.esrf.scan.nxtomoscan", reason="tomoscan is not installed")
    scan = module.NXtomoScan(str(longer.files.master), "entry_orca")
    scan.set_reduced_darks(scan.compute_reduced_darks())
    scan.set_reduced_flats(scan.compute_reduced_flats())
    urls = scan.projections
    corrected = scan.flat_field_correction(list(urls.values()), list(urls))
    assert np.array(corrected)[..., AIR].mean(axis=(1, 2)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("which", [0, 1], ids=["master", "dxchange"])
def test_air_has_no_attenuation_where_the_current_of_the_ring_is_recorded_and_rises(topped_up, which):
    scan = open_scan(both(topped_up)[which])
    beam = projected(topped_up, "beam")
    assert set(beam) == {0.5, 0.8}
    assert scan.frames["ring_current"].values / scan.frames["ring_current"].values[0] == pytest.approx(beam / 0.5)
    assert air_in_slices(scan) == pytest.approx(0, abs=0.02)


@pytest.mark.filterwarnings("ignore")
def test_nabu_divides_by_the_current_of_the_ring(topped_up, tmp_path):
    assert transmission_by_nabu(topped_up, tmp_path) == pytest.approx(1, abs=0.02)
