"""Calibrations of other programs: SAXSDOG's JSON, FIT2D's and Nika's texts, read as a geometry, and SAXSDOG's written.

FIT2D and SAXSDOG look at an image from its last row upwards. So a geometry read from them has orientation 2, for the
image as it lies in the file; `read_mask` turns FIT2D's masks likewise.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyFAI.geometry.fit2d import convert_from_Fit2d

from danmax_bluesky.errors import FormatError
from danmax_bluesky.parsing import expecting, parse
from danmax_bluesky.scattering.cuts import Cut
from danmax_bluesky.scattering.geometry import Geometry

ORIENTATION = 2
_NUMBER = r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)"
_FIT2D = {
    name: re.compile(rf"Refined {text}[^=\n]*=\s*{numbers}", re.IGNORECASE)
    for name, text, numbers in (
        ("centre", r"Beam cent(?:re|er)", rf"{_NUMBER}[\s,]+{_NUMBER}\s*\([^)\n]*pixels"),
        ("distance_mm", "sample to detector distance", _NUMBER),
        ("wavelength", "wavelength", _NUMBER),
        ("tilt_rotation_deg", "tilt plane rotation angle", _NUMBER),
        ("tilt_deg", "tilt angle", _NUMBER),
    )
}
"""Lines such as `INFO: Refined Beam centre =  956.389  913.277 (pixels)`; the last of each kind counts."""
_NIKA = {
    "x": ("beamcenterx", "xcenter"),
    "y": ("beamcentery", "ycenter"),
    "distance_mm": ("sampletoccddistance", "sampletodetectordistance", "sdd"),
    "wavelength": ("wavelength",),
    "tilt_x": ("horizontaltilt", "xtilt", "tiltx"),
    "tilt_y": ("verticaltilt", "ytilt", "tilty"),
}
_GEOMETRY = ("Tilt", "Imagesize", "BeamCenter", "PixelSizeMicroM", "DedectorDistanceMM")
_MASK = ("MaskFile", "Oversampling", "PixelPerRadialElement", "qStart", "qStop", "Name", "Phi-mode")


@dataclass(frozen=True)
class SaxsdogMask:
    """One entry of a SAXSDOG calibration: a mask, and how to integrate with it.

    Attributes:
        name: of the entry.
        mask_file: as written, relative to the calibration; "" for none.
        splitting: from the oversampling.
        unit: of the radial axis.
        radial_bins: from the pixels in a radial element.
        radial_range: 1/nm.
        azimuth_bins: more than 1 in phi mode.
        integral_range: range of the integral parameters, 1/nm, or None.
    """

    name: str
    mask_file: str
    splitting: str
    unit: str
    radial_bins: int
    radial_range: tuple[float, float]
    azimuth_bins: int
    integral_range: tuple[float, float] | None


@dataclass(frozen=True)
class SaxsdogCalibration:
    """What a SAXSDOG calibration says.

    Attributes:
        geometry: for the image as it lies in its file.
        masks: in the order of the file.
        cuts: its slices.
        polarization_factor: None if it does not correct.
        polarization_axis_deg: of the plane of polarisation, off the horizontal.
        directory: the data's folder, in parts.
        threads: as asked for.
        title: as written.
    """

    geometry: Geometry
    masks: tuple[SaxsdogMask, ...]
    cuts: tuple[Cut, ...]
    polarization_factor: float | None
    polarization_axis_deg: float
    directory: tuple[str, ...]
    threads: int
    title: str = ""


def geometry_of_fit2d(
    shape: tuple[int, int],
    pixel_um: tuple[float, float],
    centre_px: tuple[float, float],
    distance_mm: float,
    wavelength_angstrom: float,
    tilt_deg: float = 0.0,
    tilt_rotation_deg: float = 0.0,
) -> Geometry:
    """A geometry from FIT2D's numbers.

    Args:
        shape: rows and columns of the image.
        pixel_um: height and width of a pixel, µm.
        centre_px: of the beam, column and row, the row counted from the LAST row of the image.
        distance_mm: along the beam.
        wavelength_angstrom: Å.
        tilt_deg: of the detector.
        tilt_rotation_deg: of the plane of the tilt.
    """
    poni = convert_from_Fit2d(
        {
            "directDist": distance_mm,
            "centerX": centre_px[0],
            "centerY": centre_px[1],
            "tilt": tilt_deg,
            "tiltPlanRotation": tilt_rotation_deg,
            "pixelX": pixel_um[1],
            "pixelY": pixel_um[0],
            "wavelength": wavelength_angstrom,
        }
    )
    return Geometry(
        *(float(getattr(poni, f"_{name}")) for name in ("dist", "poni1", "poni2", "rot1", "rot2", "rot3")),
        wavelength_m=wavelength_angstrom * 1e-10,
        pixel1_m=pixel_um[0] * 1e-6,
        pixel2_m=pixel_um[1] * 1e-6,
        shape=shape,
        orientation=ORIENTATION,
    )


@expecting("FIT2D text", FormatError, "save FIT2D's result again, or correct the text")
def geometry_of_fit2d_text(text: str, shape: tuple[int, int], pixel_um: tuple[float, float]) -> Geometry:
    """The result of FIT2D's calibrant refinement, as its window or log shows it.

    Raises:
        FormatError: a line is missing.
    """
    numbers: dict[str, Any] = {}
    for name, pattern in _FIT2D.items():
        match = next(iter(list(pattern.finditer(text))[-1:]), None)
        if match is None and not name.startswith("tilt"):
            raise FormatError(f"FIT2D text: no line gives the refined {name.replace('_', ' ')}")
        numbers[name] = None if match is None else [float(number) for number in match.groups()]
    tilt, rotation = ((numbers[name] or [0.0])[0] for name in ("tilt_deg", "tilt_rotation_deg"))
    x, y = numbers["centre"]
    return geometry_of_fit2d(
        shape, pixel_um, (x, y), numbers["distance_mm"][0], numbers["wavelength"][0], tilt, rotation
    )


@expecting("Nika text", FormatError, "save the calibration again with Nika, or correct the text")
def geometry_of_nika_text(text: str, shape: tuple[int, int], pixel_um: tuple[float, float]) -> Geometry:
    """A Nika calibration, as `name = value` lines; Nika counts rows from the top and from the middle of pixels.

    Its two tilts are turned into FIT2D's tilt and rotation as SAXSDOG's converter does.

    Raises:
        FormatError: a value is missing.
    """
    pairs = {
        re.sub(r"[^a-z]", "", name.lower()): value
        for name, value in re.findall(r"^\s*([^=:;\n]+?)\s*[=:]\s*([-+.\dEe]+)", text.replace(";", "\n"), re.MULTILINE)
    }
    parameters: dict[str, float] = {}
    for name, spellings in _NIKA.items():
        value = next((pairs[spelling] for spelling in spellings if spelling in pairs), None)
        if value is None and not name.startswith("tilt"):
            raise FormatError(f"Nika text: none of {', '.join(spellings)} is given")
        parameters[name] = float(value or 0.0)
    vertical, horizontal = math.sin(math.radians(parameters["tilt_y"])), math.sin(math.radians(-parameters["tilt_x"]))
    return geometry_of_fit2d(
        shape,
        pixel_um,
        (parameters["x"] + 0.5, shape[0] - parameters["y"] - 0.5),
        parameters["distance_mm"],
        parameters["wavelength"],
        math.degrees(math.asin(min(1.0, math.hypot(vertical, horizontal)))),
        math.degrees(math.atan2(vertical, horizontal)),
    )


@expecting("SAXSDOG calibration", FormatError, "save it again with SAXSDOG, or correct the file")
def saxsdog_calibration(text: str) -> SaxsdogCalibration:
    """Read a SAXSDOG calibration, of today or of the oldest dialect, which has no `Geometry` and one mask.

    Raises:
        FormatError: it is no JSON, or something is missing.
    """
    try:
        raw = _of_today(parse(text, "JSON", "this is no SAXSDOG calibration: the text", FormatError))
        stated = raw["Geometry"]
        rows, columns = (int(n) for n in stated["Imagesize"])
        pixels = [float(size) for size in stated["PixelSizeMicroM"]]
        tilt = stated["Tilt"]
        geometry = geometry_of_fit2d(
            (rows, columns),
            (pixels[0], pixels[-1]),
            (float(stated["BeamCenter"][1]), float(stated["BeamCenter"][0])),
            float(stated["DedectorDistanceMM"]),
            float(raw["Wavelength"]),
            float(tilt["TiltAngleDeg"]),
            float(tilt["TiltRotDeg"]),
        )
        masks = tuple(_mask(entry, geometry) for entry in raw.get("Masks", ()))
        cuts = tuple(_cut(entry, rows) for entry in raw.get("Slices") or ())
        polarization = raw.get("PolarizationCorrection")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise FormatError(f"this is no SAXSDOG calibration: {type(error).__name__} {error}") from None
    return SaxsdogCalibration(
        geometry=geometry,
        masks=masks,
        cuts=cuts,
        polarization_factor=None if not polarization else 2.0 * float(polarization["Fraction"]) - 1.0,
        polarization_axis_deg=0.0 if not polarization else float(polarization.get("Angle", 0.0)),
        directory=tuple(raw.get("Directory") or ()),
        threads=int(raw.get("Threads") or 2),
        title=str(raw.get("Title", "")),
    )


def is_saxsdog(content: Any) -> bool:
    """True if what a JSON file holds is a calibration of SAXSDOG's, of any dialect."""
    return isinstance(content, Mapping) and ("Geometry" in content or "DedectorDistanceMM" in content)


def _of_today(raw: Any) -> Mapping[str, Any]:
    """A calibration with `Geometry` and `Masks`; the oldest dialect has what stands in them side by side."""
    if "Geometry" in raw:
        return raw
    geometry = {key: raw[key] for key in _GEOMETRY}
    return {**raw, "Geometry": geometry, "Masks": [{key: raw[key] for key in _MASK if key in raw}]}


def saxsdog_json(geometry: Geometry, others: Mapping[str, Any] | None = None) -> str:
    """A geometry as a SAXSDOG calibration.

    Args:
        geometry: of any orientation; it is expressed for the image as it lies in its file.
        others: further entries, such as Masks, which it must have to be complete.
    """
    fit2d = geometry.fit2d()
    if geometry.orientation != ORIENTATION:
        fit2d = _mirrored(geometry)
    content: dict[str, Any] = {
        "Title": "",
        "Geometry": {
            "Tilt": {
                "TiltRotDeg": float(fit2d["tiltPlanRotation"]),
                "TiltAngleDeg": float(fit2d["tilt"]),
            },
            "Imagesize": list(geometry.shape),
            "BeamCenter": [float(fit2d["centerY"]), float(fit2d["centerX"])],
            "PixelSizeMicroM": [geometry.pixel1_m * 1e6, geometry.pixel2_m * 1e6],
            "DedectorDistanceMM": float(fit2d["directDist"]),
        },
        "Wavelength": geometry.wavelength_angstrom,
        "Masks": [],
        "Directory": [],
        "Threads": 2,
        **(others or {}),
    }
    return json.dumps(content, indent=2)


def _mirrored(geometry: Geometry) -> dict[str, float]:
    """FIT2D's numbers of the image turned so that it lies as orientation 2 has it."""
    fit2d = geometry.fit2d()
    rotation = float(fit2d["tiltPlanRotation"])
    rows, columns = geometry.shape
    if geometry.orientation in (3, 4):  # the row axis points the other way
        fit2d["centerY"] = rows - float(fit2d["centerY"])
        rotation = -rotation
    if geometry.orientation in (1, 4):  # the column axis does
        fit2d["centerX"] = columns - float(fit2d["centerX"])
        rotation = 180.0 - rotation
    return {**fit2d, "tiltPlanRotation": rotation}


def _mask(entry: Mapping[str, Any], geometry: Geometry) -> SaxsdogMask:
    number, step = _radial_grid(geometry, int(entry["Oversampling"]), float(entry.get("PixelPerRadialElement", 1)))
    start, stop = float(entry.get("qStart", 0.0)), float(entry.get("qStop", 0.0))
    limits = (start, stop) if stop > start else None
    phi = bool(entry.get("Phi-mode"))
    return SaxsdogMask(
        name=str(entry.get("Name") or ""),
        mask_file=str(entry.get("MaskFile") or ""),
        splitting=f"{int(entry['Oversampling'])}x{int(entry['Oversampling'])}",
        unit="q_nm^-1",
        radial_bins=1 if phi else number,
        radial_range=limits if phi and limits else (0.0, number * step),
        azimuth_bins=2 * number if phi else 1,
        integral_range=limits,
    )


def _radial_grid(geometry: Geometry, oversampling: int, pixels: float) -> tuple[int, float]:
    """Number and width (1/nm) of SAXSDOG's radial elements: as many pixels wide as asked for, in the mean.

    They reach to the farthest of the points that its pixels are divided into, which is one in a corner.
    """
    row, column = geometry.beam_centre_px()
    rim = 0.5 - 0.5 / oversampling  # from the middle of a pixel to its outermost point
    ends = [np.array([-rim, size - 1 + rim]) for size in geometry.shape]
    rows, columns = (grid.ravel() for grid in np.meshgrid(*ends, indexing="ij"))
    farthest_px = float(np.hypot(rows + 0.5 - row, columns + 0.5 - column).max())
    angle = geometry.integrator().tth(rows, columns)
    largest_q = 4 * math.pi * math.sin(float(np.max(angle)) / 2) / (geometry.wavelength_m * 1e9)
    return math.floor(farthest_px / pixels) + 1, largest_q * pixels / farthest_px


def _cut(entry: Mapping[str, Any], rows: int) -> Cut:
    """A slice; SAXSDOG counts its position from 1, for "x" from the last row."""
    position = int(entry["CutPosition"]) - 1
    return Cut(
        direction=entry["Direction"],
        plane="in-plane" if entry["Plane"] == "InPlane" else "vertical",
        position=rows - 1 - position if entry["Direction"] == "x" else position,
        margin=int(entry.get("CutMargin", 1)),
        incident_deg=float(entry.get("IncidentAngle", 0.0)),
    )
