"""Calibrations of other programs, made into the files that a recipe names: .poni, .npy and the settings themselves."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky import parsing
from danmax_bluesky.atomic_files import whole_file
from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import FormatError, SettingsError
from danmax_bluesky.parsing import parse, shown
from danmax_bluesky.pipelines.recipes import recipes_of
from danmax_bluesky.scattering.calibration_files import (
    SaxsdogCalibration,
    SaxsdogMask,
    geometry_of_fit2d_text,
    geometry_of_nika_text,
    is_saxsdog,
    saxsdog_calibration,
)
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.storage.frames import read_mask
from danmax_bluesky.storage.text_files import write_text

_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
"""What the name of a recipe holds none of."""


def recipes_in(file: Path) -> list[RecipeSettings]:
    """The recipes in a file: TOML or JSON of keys and values, one recipe or a list of them, or a SAXSDOG calibration.

    Raises:
        SettingsError: it is none, or a recipe cannot be used; with the file.
        FormatError: the file cannot be read, or is no SAXSDOG calibration.
        StorageError: a mask of the calibration is missing.
    """
    text = read_text(file)
    content = parse(text, "TOML" if file.suffix == ".toml" else "JSON", file, SettingsError)
    if is_saxsdog(content):
        return recipes_of_saxsdog(text, file.stem, file.parent, file.parent / f"{file.stem}_recipes")
    entries = content.get("recipes", [content]) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise SettingsError(f"{file} holds no list of recipes but {shown(entries)}")
    try:
        return recipes_of(entries)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from None


def recipes_of_saxsdog(
    text: str, name: str, masks: Path, folder: Path, detector: str = "pilatus"
) -> list[RecipeSettings]:
    """Make a SAXSDOG calibration into recipes, one for each of its masks.

    Args:
        text: of the calibration.
        name: begins the names of the files that are written.
        masks: folder that the names of its masks are relative to.
        folder: where the .poni and the masks are written; one that says the same already is left as it is.
        detector: name of the detector.

    Raises:
        FormatError: it is no such calibration, or has no masks.
        SettingsError: two masks have one name.
        StorageError: a mask is missing.
    """
    calibration = saxsdog_calibration(text)
    if not calibration.masks:
        raise FormatError(f"{name} lists no Masks, and they say how to integrate; add one")
    poni = folder / f"{name}.poni"
    write_text(poni, calibration.geometry.poni_text(), is_ours=lambda _: True)
    several = len(calibration.masks) > 1
    return recipes_of(
        _recipe(calibration, entry, masks, poni, detector, f"_{number}" if several else "")
        for number, entry in enumerate(calibration.masks)
    )


def _recipe(
    calibration: SaxsdogCalibration, entry: SaxsdogMask, masks: Path, poni: Path, detector: str, suffix: str
) -> dict[str, Any]:
    mask = None
    if entry.mask_file:
        pixels = read_mask(masks / entry.mask_file)
        mask = poni.with_name(f"{poni.stem}{suffix}_mask.npy")
        if not mask.exists() or not np.array_equal(np.load(mask), pixels):
            with whole_file(mask, replace=True) as temporary, temporary.open("wb") as stream:
                np.save(stream, pixels)
    slices = [
        {
            "direction": cut.direction,
            "plane": cut.plane,
            "position": cut.position,
            "margin": cut.margin,
            "incident_angle": cut.incident_deg,
        }
        for cut in calibration.cuts
    ]
    return {
        "name": _NO_NAME.sub("_", entry.name).strip("._-") or f"azint{suffix}",
        "detector": detector,
        "poni": str(poni),
        "mask": None if mask is None else str(mask),
        "unit": entry.unit,
        "radial_bins": entry.radial_bins,
        "radial_range": entry.radial_range,
        "azimuth_bins": entry.azimuth_bins,
        "cake_only": entry.azimuth_bins > 1,
        "splitting": entry.splitting,
        "weighting": "azint",
        "solid_angle": False,
        "polarization_factor": calibration.polarization_factor,
        "polarization_axis": calibration.polarization_axis_deg,
        "integral_range": entry.integral_range,
        "slices": slices,
    }


def foreign_geometry(file: Path, shape: tuple[int, int] | None, pixel_um: float | None) -> Geometry:
    """The geometry in a calibration of SAXSDOG, FIT2D or Nika.

    Args:
        file: JSON of SAXSDOG, or a text of FIT2D or Nika.
        shape: rows and columns of the image; the texts do not tell.
        pixel_um: size of a pixel; likewise.

    Raises:
        FormatError: it is none of them, or shape and pixel are needed.
    """
    text = read_text(file)
    if text.lstrip().startswith("{"):
        return saxsdog_calibration(text).geometry
    if shape is None or pixel_um is None:
        raise FormatError(f"{file} does not tell the size of image and pixel; give --shape and --pixel-um")
    pixels = (pixel_um, pixel_um)
    if "refined" in text.lower():
        return geometry_of_fit2d_text(text, shape, pixels)
    return geometry_of_nika_text(text, shape, pixels)


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        FormatError: it cannot be read.
    """
    return parsing.read_text(path, FormatError, most_bytes=16 * parsing.MEBIBYTE, errors="replace")
