"""Every reader of what other people and other programs write, with a sound file to begin with.

The tests damage these files in hundreds of ways (`garbling`) and read them in a process of its own (`sandbox`): each
reader gives a value or one error of ours. docs/reference/readers.md lists them.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fabio.edfimage import EdfImage
from fabio.tifimage import TifImage

from danmax_bluesky.config import RecipeSettings, load_settings
from danmax_bluesky.devices.configurator_store import ConfiguratorStore
from danmax_bluesky.devices.flat_positions import FlatPosition, FlatPositions, findings, ranges_of
from danmax_bluesky.errors import CalibrationError, DanmaxError
from danmax_bluesky.formats.dxchange_configuration import DEFAULT_NAME, load_configuration
from danmax_bluesky.formats.provenance_table import process_groups, process_tree
from danmax_bluesky.parsing import read_text
from danmax_bluesky.pipelines.other_programs import foreign_geometry, recipes_in
from danmax_bluesky.pipelines.recipes import radial_edges_of
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.scan_log import VisitLog
from danmax_bluesky.scattering.calibration_files import saxsdog_json
from danmax_bluesky.scattering.geometry import geometry_of_poni, simulated_geometry
from danmax_bluesky.shell.metadata import StoredMetadata
from danmax_bluesky.storage.check import check_file
from danmax_bluesky.storage.frames import open_frames, read_mask
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.patterns import layouts_of, read_history, read_patterns, read_recipe
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.provenance_tables import read_details, read_table
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.garbling import Damage, garble_hdf5, garble_text
from danmax_bluesky.testing.powder import DetectorWriter, ring_frames
from danmax_bluesky.testing.replay import measured
from danmax_bluesky.tomography.tori import load_tori

SHAPE = (40, 50)


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        make: writes a sound file into an empty folder, with what belongs to it, and returns its path.
        read: reads it, as a user's program would.
        kind: of the file.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    kind: Literal["text", "HDF5"] = "text"


def prepared(name: str, folder: Path) -> Path:
    """Write the sound files of a reader; return a copy of the one that is damaged."""
    folder.mkdir()
    path = READERS[name].make(folder)
    sound = folder.with_name(f"{folder.name}.sound")
    shutil.copyfile(path, sound)
    return path


def read_damaged(name: str, path: Path, sound: Path, damages: list[Damage]) -> None:
    """Put the sound file back, damage it, and read it."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()
    shutil.copyfile(sound, path)
    reader = READERS[name]
    try:
        (garble_hdf5 if reader.kind == "HDF5" else garble_text)(path, damages)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError):
        return  # HDF5 itself does not make such a file
    reader.read(path)


def _text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return make


_SETTINGS = """
proposal = 20260000
folder = "day1/bone"
flat_position = {tom_sam_x = 12.5}
users = [{name = "Ada", email = "ada@example.org"}]
[motors.tom_ry]
velocity = 90.0
[detectors.orca]
width = 2304
[[recipes]]
name = "cake"
radial_range = [0.5, 8.0]
sectors = [[-10, 10], [80, 100]]
[snapshot.hdcm_energy]
address = "a/b/c/Energy"
"""
_SETTINGS_YAML = """
proposal: 20260000
sample: 2026.10
motors: {tom_ry: &fast {velocity: 90.0}, tom_sam_x: *fast}
detectors:
  orca:
    width: 2304
users:
  - name: Ada
recipes: [{name: cake, sectors: [[-10, 10]]}]
twin: {seed: 3, poni: null}
"""
_RECIPES = {"recipes": [{"name": "a", "unit": "2th_deg", "radial_bins": 500, "sectors": [[0, 90]], "splitting": "2x2"}]}
_PONI = """# a comment
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.000172, "pixel2": 0.000172, "max_shape": [40, 50], "orientation": 3}
Distance: 0.1
Poni1: 0.0075
Poni2: 0.0079
Rot1: 0.01
Rot2: 0.0
Rot3: 0.0
Wavelength: 3.5e-11
"""
_FIT2D = """INFO: Refined Beam centre =  956.389  913.277 (pixels)
INFO: Refined sample to detector distance =  305.21 mm
INFO: Refined wavelength =  0.4066 Angstroms
INFO: Refined tilt plane rotation angle =  31.0 degrees
INFO: Refined tilt angle =  0.7 degrees
"""
_NIKA = "BeamCenterX = 60.5\nBeamCenterY = 90.1\nSampleToCCDDistance = 350\nWavelength = 1.54\nHorizontalTilt = 1.0\n"


def _saxsdog(folder: Path) -> Path:
    np.save(folder / "mask.npy", np.zeros(SHAPE, bool))
    mask = {"MaskFile": "mask.npy", "Oversampling": 2, "PixelPerRadialElement": 1, "qStart": 0.2, "qStop": 0.8}
    cut = {"Direction": "x", "Plane": "InPlane", "CutPosition": 5, "CutMargin": 2, "IncidentAngle": 0.2}
    more = {"Masks": [{**mask, "Name": "ring", "Phi-mode": False}], "Slices": [cut], "Threads": 3}
    text = saxsdog_json(simulated_geometry(SHAPE, 172e-6, 0.2, 35.0, 2), more)
    return _text("cal.json", text)(folder)


def _position(folder: Path) -> Path:
    return FlatPositions(folder).save(FlatPosition("out", (("tom_sam_x", 12.5), ("tom_sam_y", -1.0)), 90.0, "left"))


def _configurator(folder: Path) -> Path:
    store = ConfiguratorStore(folder / "configurator.json")
    store.update({"exp_time": 0.02, "nsteps": 100, "angles": "golden"})
    return store.path


def _mask(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pixels = np.zeros(SHAPE, np.int32)
        pixels[3:7] = 1
        path = folder / name
        if path.suffix == ".npy":
            np.save(path, pixels)
        else:
            kind = {".edf": EdfImage, ".tif": TifImage}[path.suffix]
            kind(data=pixels).write(str(path))
        return path

    return make


def _scan(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        run = measured(folder / "root", exit_status="success")
        return run.folder / f"scan-0001{suffix}"

    return make


def _detector(folder: Path) -> Path:
    path = folder / "scan-0007_pilatus.h5"
    with DetectorWriter(path, ring_frames(SHAPE, 4)) as writer:
        writer.append(4)
    return path


def _patterns(folder: Path) -> Path:
    poni = _text("cal.poni", _PONI)(folder)
    source = _detector(folder)
    return integrate_scan(source, {"poni": str(poni), "radial_bins": 20, "azimuth_bins": 4}, folder / "out.h5").output


def _read_settings(path: Path) -> None:
    load_settings(path).model_dump(mode="json")


def _read_words(path: Path) -> None:
    """The text as it is written after an option, for a setting of each kind."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
    for key in ("sample", "twin.seed", "flat_position", "twin.poni", "formats.integrate"):
        with suppress(DanmaxError):
            load_settings(options={key: text})
    load_settings(options={"recipes": text}).model_dump(mode="json")


def _read_position(path: Path) -> None:
    settings = load_settings()
    findings(FlatPositions(path.parent).load(path.stem), ranges_of(settings), settings.rotation)


def _read_poni(path: Path) -> None:
    geometry_of_poni(read_text(path, CalibrationError, errors="replace"), SHAPE, folder=path.parent)


def _read_journal(path: Path) -> None:
    VisitLog(path.parents[2]).lines()
    record = record_of(path)
    _ = record.files, record.missing


def _read_provenance(path: Path) -> None:
    files = record_of(path.with_name(path.name.replace("provenance", "documents"))).files
    actions = Provenance(files).actions()
    _ = process_tree(actions, "process"), process_groups(actions)


def _read_scan(path: Path) -> None:
    check_file(path)
    scan = open_scan(path)
    repr(scan)
    for dataset in scan.detectors.values():
        _ = dataset["data"][:1].values
    _ = scan.angles.values, scan.flats.sizes
    for row in range(1, len(read_table(path)) + 1):
        read_details(path, row)


def _read_frames(path: Path) -> None:
    frames = open_frames(path)
    try:
        if frames.shape[0] * frames.shape[1] < 10**8:
            frames.read_into(0, np.empty(frames.shape, frames.dtype))
        for name in ("column", "pixel_mask"):
            look = getattr(frames, name, None)
            if look is not None:
                look(*(["timestamp"] if name == "column" else []))
    finally:
        frames.close()


def _read_patterns(path: Path) -> None:
    check_file(path)
    for layout in layouts_of(path):
        read_recipe(path, layout)
    read_history(path)
    read_patterns(path)


@cache
def _configuration() -> str:
    return files("danmax_bluesky.formats").joinpath(DEFAULT_NAME).read_text(encoding="utf-8")


READERS: dict[str, Reader] = {
    "settings in TOML": Reader(_text("settings.toml", _SETTINGS), _read_settings),
    "settings in YAML": Reader(_text("settings.yaml", _SETTINGS_YAML), _read_settings),
    "settings as options": Reader(_text("words", '[{name: cake, sectors: [[-10, 10]], mask: "x"}]'), _read_words),
    "recipes in TOML": Reader(_text("r.toml", '[[recipes]]\nunit = "q_A^-1"\nradial_range = [0.5, 8]\n'), recipes_in),
    "recipes in JSON": Reader(_text("recipes.json", json.dumps(_RECIPES)), recipes_in),
    "reconstruction settings": Reader(
        _text(".tori/bone.toml", 'rows = [0, 100, 10]\ncentre_px = 1023.5\nwindow = "hann"\nedge_px = 12\n'),
        lambda path: load_tori(path.parents[1], path.stem),
    ),
    "named positions": Reader(_position, _read_position),
    "calibration of pyFAI": Reader(_text("cal.poni", _PONI), _read_poni),
    "calibration of SAXSDOG": Reader(_saxsdog, recipes_in),
    "calibration of FIT2D": Reader(_text("f.txt", _FIT2D), lambda path: foreign_geometry(path, SHAPE, 172.0)),
    "calibration of Nika": Reader(_text("n.txt", _NIKA), lambda path: foreign_geometry(path, SHAPE, 172.0)),
    "radial edges": Reader(
        _text("edges.txt", "# degrees\n1.0 1.5, 3\n8e0\n"),
        lambda path: radial_edges_of(RecipeSettings(radial_edges_file=path)),
    ),
    "DXchange configuration": Reader(lambda folder: _text("c.json", _configuration())(folder), load_configuration),
    "configurator store": Reader(_configurator, lambda path: ConfiguratorStore(path).entries()),
    "metadata of the prompt": Reader(_text("md.json", '{"a": 1, "b": [2]}'), lambda path: StoredMetadata(path, {})),
    "journal of documents": Reader(_scan("_documents.jsonl"), _read_journal),
    "journal of provenance": Reader(_scan("_provenance.jsonl"), _read_provenance),
    "mask in NPY": Reader(_mask("mask.npy"), read_mask),
    "mask in EDF": Reader(_mask("mask.edf"), read_mask),
    "mask in TIFF": Reader(_mask("mask.tif"), read_mask),
    "NeXus master": Reader(_scan(".h5"), _read_scan, "HDF5"),
    "DXchange file": Reader(_scan("_dxchange.h5"), _read_scan, "HDF5"),
    "frames of a detector": Reader(_detector, _read_frames, "HDF5"),
    "integrated patterns": Reader(_patterns, _read_patterns, "HDF5"),
}
