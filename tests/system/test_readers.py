"""What a tomography on the twin leaves behind, in the programs that people open it with.

Each test needs the program it is about, and is skipped, saying so, where that is not installed.
"""

import importlib
import json
import logging
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import event_model
import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4 for readers that do not
import numpy as np
import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.session import make_session
from danmax_bluesky.storage.check import check_file
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.validators import nexusformat_counts, pynxtools_remarks

DRIFT_PX_IN_1000 = (40.0, 20.0)
NUMBERS = {"flats": 40, "darks": 20, "projections": 91, "alignment": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> ScanFiles:
    """A tomography of a sample that drifts, with orthogonal frames on the way back.

    Darks are taken before it alone: nabu refuses two series of darks.
    """
    options = {
        "twin.clock": "fast",
        "twin.drift_px": list(DRIFT_PX_IN_1000),
        "detectors.orca.width": 512,
        "detectors.orca.height": 256,
        "formats.integrate": False,
        "formats.reconstruct": False,
        "catalog.kind": "off",
        "data_root": str(tmp_path_factory.mktemp("readers")),
    }
    with make_session(load_settings(options=options)) as session:
        plan = session.plans.tomo_scan(
            "ascanct", "tom_ry", 0, 180, 90, 0.1, npt_fields=20, get_dark_after=False, sample="drifting"
        )
        session.RE(plan)
        session.wait_for_files()
        return ScanFiles.of(session.last_run)


@pytest.fixture
def master(files) -> str:
    return str(files.master)


@pytest.fixture
def dxchange_file(files) -> str:
    return str(files.dxchange("orca", alone=True))


@pytest.fixture
def frames(files) -> np.ndarray:
    with h5py.File(files.detector("orca")) as file:
        return file["entry/instrument/orca/data"][:]


def need(name):
    """Import a program's package, or skip the test and say which."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed; `pip install {name.split('.')[0]}`")


def test_every_pointer_of_the_files_leads_somewhere(master, dxchange_file):
    assert check_file(Path(master)) == []
    assert check_file(Path(dxchange_file)) == []


@pytest.mark.filterwarnings("ignore")
def test_pynxtools_finds_the_nxtomo_entry_valid(master):
    need("pynxtools")
    # What ESRF's programs read beyond the definition is unknown to it, and nothing is wrong.
    beyond = ("instrument/detector/image_key_control", "sample/x_pixel_size", "sample/y_pixel_size")
    assert pynxtools_remarks(Path(master), undocumented=True) == {
        f"/entry_orca/{name}ValidationProblem.MissingDocumentationNone" for name in beyond
    }


@pytest.mark.filterwarnings("ignore")
def test_nexusformat_finds_no_error_in_the_nxtomo_entry(master):
    need("nexusformat.nexus")
    _warnings, wrong = nexusformat_counts(Path(master))  # it warns of lengths: of a virtual dataset it sees one frame
    assert wrong == 0


@pytest.mark.filterwarnings("ignore")
def test_nxtomo_loads_the_entry(master, frames):
    module = need("nxtomo.application.nxtomo")
    assert module.NXtomo.get_valid_entries(master) == ("/entry_orca",)
    loaded = module.NXtomo().load(master, "entry_orca", detector_data_as="as_numpy_array")
    np.testing.assert_array_equal(loaded.instrument.detector.data, frames)
    keys = np.array([key.value for key in loaded.instrument.detector.image_key_control])
    assert [int((keys == key).sum()) for key in (1, 2, 0, -1)] == list(NUMBERS.values())
    assert loaded.instrument.beam.incident_energy.to("keV").magnitude == pytest.approx(35.0)
    assert loaded.sample.x_pixel_size.to("um").magnitude == pytest.approx(1.1)
    assert loaded.instrument.detector.distance.to("mm").magnitude == pytest.approx(100.0)
    assert loaded.sample.rotation_angle.to("degree").magnitude[keys == 0][-1] == pytest.approx(180.0, abs=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_tomoscan_loads_the_scan(master):
    scan = need("tomoscan.esrf.scan.nxtomoscan").NXtomoScan(master, "entry_orca")
    found = {kind: len(getattr(scan, kind)) for kind in ("flats", "darks", "projections")}
    assert found | {"alignment": len(scan.alignment_projections)} == NUMBERS
    assert (scan.dim_1, scan.dim_2) == (512, 256)
    assert scan.sample_x_pixel_size == pytest.approx(1.1e-6)
    assert scan.sample_detector_distance == pytest.approx(0.1)
    assert scan.energy == pytest.approx(35.0)


@pytest.mark.filterwarnings("ignore")
def test_nabu_finds_the_drift_of_the_sample_within_a_third_of_a_pixel(master, files, tmp_path):
    need("nabu")
    names = (
        "resources.dataset_analyzer",
        "resources.nxflatfield",
        "estimation.motion",
        "preproc.ccd",
        "preproc.flatfield",
    )
    analyzer, reduced, motion, ccd, flatfield = (importlib.import_module(f"nabu.{name}") for name in names)
    dataset = analyzer.analyze_dataset(master)  # which takes the file for what its first entry is
    reduced.update_dataset_info_flats_darks(dataset, True, output_dir=str(tmp_path), darks_flats_dir=str(tmp_path))
    back, angles, rows = dataset.get_alignment_projections(return_in_radians=True)
    there = [dataset.get_image_at_angle(a, frame_type="projection", return_angle_and_index=True) for a in angles]
    stacks = np.array([image for image, _, _ in there], "f4"), back.astype("f4")
    partners = np.array([row for _, _, row in there])
    for stack, places in zip(stacks, (partners, rows), strict=True):
        flatfield.FlatField(
            stack.shape, flats=dataset.flats, darks=dataset.darks, radios_indices=places
        ).normalize_radios(stack)
        stack[:] = np.nan_to_num(stack, nan=1.0, posinf=1.0, neginf=1.0)
        repair = ccd.CCDFilter(stack.shape[1:], kernel_size=3, median_clip_thresh=0.05)
        for image in stack:
            repair.median_clip_correction(image, output=image)
        np.negative(np.log(stack), out=stack)
    estimation = motion.MotionEstimation(
        *stacks,
        np.array([angle for _, angle, _ in there]),
        angles,
        indices1=partners - partners.min(),
        indices2=rows - partners.min(),
        n_projs_tot=dataset.n_angles,
        shifts_estimator="DetectorTranslationAlongBeam",
        shifts_estimator_kwargs={"peak_fit_radius": 1, "padding_mode": None},
    )
    estimation.compute_detector_shifts()
    wandered = (rows - partners)[:, None] / 1000 * np.array([DRIFT_PX_IN_1000[1], -DRIFT_PX_IN_1000[0]])
    np.testing.assert_allclose(estimation.shifts_vu, wandered, atol=0.3)
    with h5py.File(files.dxchange("orca", alone=True)) as file:
        np.testing.assert_allclose(file["exchange_1/data_shift_x"][:], -wandered[:, 1], atol=0.1)
        np.testing.assert_allclose(file["exchange_1/data_shift_y"][:], -wandered[:, 0], atol=0.1)


def test_silx_opens_both_files_with_a_picture_of_the_projections(master, dxchange_file, frames):
    need("silx")
    silx_io, nxdata = importlib.import_module("silx.io"), importlib.import_module("silx.io.nxdata")
    for path, axis in ((master, "rotation_angle (degree)"), (dxchange_file, "theta (degree)")):
        with silx_io.open(path) as file:
            shown = nxdata.get_default(file)
            assert shown.is_valid
            assert shown.axes_names[0] == axis
            np.testing.assert_array_equal(shown.signal[()], frames[40:131])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("asked", ["master", "dxchange_file"])
def test_tiled_serves_the_file_with_every_link_in_it(asked, frames, request):
    adapters = need("tiled.adapters.hdf5")
    tree = adapters.HDF5Adapter.from_uris(Path(request.getfixturevalue(asked)).as_uri())
    node, expected = (
        (tree["exchange"]["data"], frames[40:131])
        if asked == "dxchange_file"
        else (
            tree["entry_orca"]["instrument"]["detector"]["data"],
            frames,
        )
    )
    assert node.structure().shape == expected.shape
    np.testing.assert_array_equal(node.read(slice=(slice(4, 6),)), expected[4:6])


@pytest.mark.filterwarnings("ignore")
def test_algotom_reads_the_dxchange_file(dxchange_file, frames):
    loader = need("algotom.io.loadersaver")
    data = loader.load_hdf(dxchange_file, "exchange/data")
    assert data.shape == (91, 256, 512)
    np.testing.assert_array_equal(data[3], frames[43])
    assert loader.load_hdf(dxchange_file, "exchange/theta")[-1] == pytest.approx(180.0, abs=1e-3)


@pytest.fixture(scope="module")
def dxchange(tmp_path_factory):
    """The package itself, or Debian's, unpacked without installing it."""
    logging.getLogger("dxchange").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("dxchange")
        except ImportError:
            places = Path("/usr/lib/python3/dist-packages")
        if not (places / "dxchange").exists():
            places = _unpacked(tmp_path_factory.mktemp("debian")) / "usr/lib/python3/dist-packages"
        sys.path.append(str(places))
        try:
            return pytest.importorskip("dxchange", reason="dxchange cannot be imported; `apt install python3-dxchange`")
        finally:
            sys.path.remove(str(places))


def _unpacked(folder: Path) -> Path:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip("dxchange is not installed and this is no Debian; `conda install dxchange`")
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            ["apt-get", "download", "python3-dxchange"], cwd=folder, capture_output=True, check=False, timeout=60
        )
    packages = list(folder.glob("*.deb"))
    if not packages:
        pytest.skip("dxchange is not installed and Debian's package cannot be had; `apt install python3-dxchange`")
    subprocess.run(["dpkg", "-x", str(packages[0]), str(folder / "unpacked")], check=True, timeout=60)
    return folder / "unpacked"


@pytest.mark.filterwarnings("ignore")
def test_dxchange_reads_the_dxchange_file(dxchange, dxchange_file, frames):
    data, white, dark, theta = dxchange.read_aps_tomoscan_hdf5(dxchange_file)
    np.testing.assert_array_equal(data, frames[40:131])
    assert (len(white), len(dark)) == (NUMBERS["flats"], NUMBERS["darks"])
    np.testing.assert_array_equal(dark, frames[:20])
    np.testing.assert_allclose(theta, np.linspace(0, np.pi, 91), atol=1e-5)
    part, *_ = dxchange.read_aps_tomoscan_hdf5(dxchange_file, proj=(2, 6), sino=(100, 103))
    np.testing.assert_array_equal(part, frames[42:46, 100:103])


def test_our_own_reader_gives_the_same_from_both_files(master, dxchange_file, frames):
    for path in (master, dxchange_file):
        scan = open_scan(path)
        np.testing.assert_array_equal(scan.frames[5].values, frames[45])
        assert scan.missing == ()
        assert scan.flats.shape == (40, 256, 512)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory) -> ScanFiles:
    """A mesh of diffraction frames over two motors."""
    options = {
        "twin.clock": "fast",
        "detectors.pilatus.width": 487,
        "detectors.pilatus.height": 407,
        "recipes": [{"detector": "pilatus", "radial_bins": 500}],
        "catalog.kind": "off",
        "data_root": str(tmp_path_factory.mktemp("mesh")),
    }
    with make_session(load_settings(options=options)) as session:
        session.RE(session.plans.mesh("tom_sam_y", 0, 2, 3, "tom_sam_x", 0, 1, 2, 0.1, sample="CeO2"))
        session.wait_for_files()
        return ScanFiles.of(session.last_run)


def test_a_mesh_has_a_frame_and_a_position_for_each_point(mesh):
    assert check_file(mesh.master) == []
    scan = open_scan(mesh.master)
    assert scan.status == "complete"
    positions = scan.positions["primary"]
    points = {
        (round(x, 6), round(y, 6))
        for x, y in zip(positions["tom_sam_x"].values, positions["tom_sam_y"].values, strict=True)
    }
    assert points == {(x, y) for x in (0.0, 0.5, 1.0) for y in (0.0, 0.666667, 1.333333, 2.0)}
    assert positions["tom_sam_x"].attrs["units"] == "mm"
    frames = scan.detector("pilatus")["data"]
    assert (frames.shape, frames.dtype) == ((12, 407, 487), np.int32)
    with h5py.File(mesh.detector("pilatus")) as file:
        np.testing.assert_array_equal(frames.values, file["entry/instrument/pilatus/data"][:])


def test_silx_opens_a_mesh_with_its_frames(mesh):
    need("silx")
    silx_io, nxdata = importlib.import_module("silx.io"), importlib.import_module("silx.io.nxdata")
    with silx_io.open(str(mesh.master)) as file:
        shown = nxdata.get_default(file)
        assert shown.is_valid
        assert shown.signal.shape == (12, 407, 487)


@pytest.mark.filterwarnings("ignore")
def test_nexusformat_finds_the_patterns_of_a_mesh_valid(mesh):
    need("nexusformat.nexus")
    assert nexusformat_counts(output_path(mesh.detector("pilatus"))) == (0, 0)


@pytest.mark.filterwarnings("ignore")
def test_pynxtools_misses_nothing_in_the_patterns_of_a_mesh_but_units_that_are_there(mesh):
    """It sees no `units` where a definition has them as an attribute: see test_azint_readers."""
    need("pynxtools")
    patterns = output_path(mesh.detector("pilatus"))
    with h5py.File(patterns) as file:
        for remark in pynxtools_remarks(patterns):
            path, unseen, _ = remark.partition("/@unitsValidationProblem.MissingRequiredAttribute")
            assert unseen, remark
            assert file[path].attrs["units"]


@pytest.mark.filterwarnings("ignore")
def test_tiled_serves_a_mesh(mesh):
    adapters = need("tiled.adapters.hdf5")
    tree = adapters.HDF5Adapter.from_uris(mesh.master.as_uri())
    with h5py.File(mesh.detector("pilatus")) as file:
        frames = file["entry/instrument/pilatus/data"][:]
    np.testing.assert_array_equal(tree["entry"]["pilatus"]["data"].read(slice=(slice(4, 6),)), frames[4:6])
    assert tree["entry"]["measurement"]["primary"]["tom_sam_x"].read()[-1] == pytest.approx(1.0)


def test_any_consumer_of_documents_reads_the_journals(files, mesh):
    for journal, streams in (
        (files.documents, {"baseline", "dark", "flat", "proj", "ortho", "flat_after"}),
        (mesh.documents, {"baseline", "primary"}),
    ):
        consumer = Counting()
        for line in journal.read_text(encoding="utf-8").splitlines():
            name, doc = json.loads(line)
            event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
            consumer(name, doc)
        assert consumer.seen["start"] == consumer.seen["stop"] == 1
        assert consumer.streams >= streams
        assert consumer.seen["event"] >= 2


class Counting(event_model.DocumentRouter):
    """A consumer as anybody would write it."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()
        self.streams = set()

    def descriptor(self, doc):
        self.streams.add(doc["name"])

    def __call__(self, name, doc, validate=False):
        self.seen[name] += 1
        return super().__call__(name, doc, validate)


def test_a_mesh_is_no_tomography(mesh):
    with h5py.File(mesh.master) as file:
        assert list(file) == ["entry", "entry_beamline"]
        assert not any("definition" in entry or "definition" in entry.attrs for entry in file.values())
    assert not mesh.dxchange("pilatus", alone=True).exists()
