"""What an azimuthal integration computes, as a value."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import pyFAI
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.config.azimuths import azimuth_problem
from danmax_bluesky.config.recipes import ERROR_MODELS, UNITS, RecipeSettings
from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.parsing import brief
from danmax_bluesky.scattering.background import BackgroundPattern
from danmax_bluesky.scattering.cuts import Cut
from danmax_bluesky.scattering.geometry import Geometry

WEIGHTINGS: tuple[str, ...] = get_args(RecipeSettings.model_fields["weighting"].annotation)
MATRIX_VERSION = 3
_GRID = re.compile(r"(\d+)x\1")


def _usual(key: str) -> Any:
    """What a recipe has under a key if nobody says otherwise, as `RecipeSettings` describes it."""
    return RecipeSettings.model_fields[key].get_default()


@dataclass(frozen=True, eq=False)
class Recipe:
    """One azimuthal integration, complete: from these parameters and a frame follows the pattern.

    Attributes:
        geometry: of the detector, with the shape and orientation of the image.
        mask: True where a pixel is bad, shape of the image, or None.
        unit: radial unit, one of `UNITS`.
        radial_bins: number of bins along the radius; with radial_edges it is theirs.
        radial_range: first and last edge in `unit`, or None for all that the detector sees.
        radial_edges: edges of the radial bins in `unit`, rising, of any widths, instead of radial_range; the last edge
            belongs to the last bin.
        azimuth_bins: 1 for a pattern, more for a cake.
        azimuth_range_deg: first and last azimuth in degrees, rising, of at most the full circle, wherever it begins;
            None for the full circle.
        azimuth_edges_deg: edges of the rows of a cake, degrees, rising, at least three, instead of azimuth_bins.
        sectors_deg: azimuth ranges, degrees; one pattern for each, instead of a cake.
        splitting: "no", "bbox", "full", or "4x4": each pixel divided in so many points.
        solid_angle: correct for the solid angle of a pixel.
        polarization_factor: 1 horizontal, -1 vertical, 0 circular; None does not correct.
        polarization_axis_deg: turns the plane of polarisation away from the horizontal.
        cut: a band of pixels, instead of rings; the other axes are then left aside.
        dark: counts of a frame without beam, shape of the image, or None.
        dark_frames: over how many frames `dark` was averaged; its variance is dark / dark_frames.
        flat: relative efficiency of the pixels, or None.
        error_model: one of `ERROR_MODELS`.
        weighting: "pyfai", Σcs / Σcw, or "azint", Σ(cs/w) / Σc.
        threshold: a pixel above it is masked in that frame; None masks none.
        clip_sigma: a pixel further than this many σ from the mean of its bin is masked in that frame.
        clip_cycles: how often that is repeated at most.
        lower_limit: a pixel below it is masked in that frame; -inf masks none for its counts being low.
        dummy: a pixel with this number is masked in that frame; None masks none.
        dark_variance: variance of `dark`, shape of the image, where it is more than a mean of frames.
        background: a pattern that is subtracted from every pattern, or None.
    """

    geometry: Geometry
    mask: NDArray[np.bool_] | None = None
    unit: str = _usual("unit")
    radial_bins: int = _usual("radial_bins")
    radial_range: tuple[float, float] | None = _usual("radial_range")
    radial_edges: tuple[float, ...] = _usual("radial_edges")
    azimuth_bins: int = _usual("azimuth_bins")
    azimuth_range_deg: tuple[float, float] | None = _usual("azimuth_range")
    azimuth_edges_deg: tuple[float, ...] = _usual("azimuth_edges")
    sectors_deg: tuple[tuple[float, float], ...] = _usual("sectors")
    splitting: str = _usual("splitting")
    solid_angle: bool = _usual("solid_angle")
    polarization_factor: float | None = _usual("polarization_factor")
    polarization_axis_deg: float = _usual("polarization_axis")
    cut: Cut | None = None
    dark: RealArray | None = field(default=None, repr=False)
    dark_frames: int = _usual("dark_frames")
    flat: RealArray | None = field(default=None, repr=False)
    error_model: str = _usual("error_model")
    weighting: str = _usual("weighting")
    threshold: float | None = _usual("threshold")
    clip_sigma: float | None = _usual("clip_sigma")
    clip_cycles: int = _usual("clip_cycles")
    lower_limit: float = 0.0
    dummy: float | None = _usual("dummy")
    dark_variance: RealArray | None = field(default=None, repr=False)
    background: BackgroundPattern | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _one_of("unit", self.unit, UNITS)
        _one_of("error_model", self.error_model, ERROR_MODELS)
        _one_of("weighting", self.weighting, WEIGHTINGS)
        if self.splitting not in ("no", "bbox", "full") and not self.subdivision:
            raise CalibrationError(f"splitting {self.splitting!r} must be no, bbox, full, or such as 4x4")
        self._check_radius()
        for name, low in (("radial_bins", 1), ("azimuth_bins", 1), ("clip_cycles", 1), ("dark_frames", 1)):
            if getattr(self, name) < low:
                raise CalibrationError(f"{name} = {getattr(self, name)} must be at least {low}")
        if self.background is not None and self.cut is not None:
            raise CalibrationError("a background that is a pattern has no place in slices; give an image as background")
        self._check_azimuth()
        if self.polarization_factor is not None and not -1 <= self.polarization_factor <= 1:
            raise CalibrationError(f"polarization_factor {self.polarization_factor} must lie within -1 to 1")
        for name in ("mask", "dark", "dark_variance", "flat"):
            image = getattr(self, name)
            if image is not None and image.shape != self.geometry.shape:
                raise CalibrationError(
                    f"{name} has shape {image.shape}, but the frames have {self.geometry.shape}; "
                    "it was made for another detector or another orientation"
                )
        if self.mask is not None and self.mask.all():
            raise CalibrationError("the mask leaves no pixel; it may be inverted: True, or 1, means bad")

    def _check_radius(self) -> None:
        if self.radial_range is not None and not self.radial_range[0] < self.radial_range[1]:
            raise CalibrationError(f"radial_range {self.radial_range} must rise")
        if not self.radial_edges:
            return
        if self.radial_range is not None:
            raise CalibrationError("radial_edges say all of the radial bins; leave out radial_range")
        edges = np.array(self.radial_edges, float)
        if edges.size < 2 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
            raise CalibrationError(
                f"radial_edges must be two or more numbers that rise, in {self.unit}; these are "
                f"{brief(', '.join(f'{edge:g}' for edge in edges))}"
            )
        object.__setattr__(self, "radial_bins", edges.size - 1)

    def _check_azimuth(self) -> None:
        if self.sectors_deg and self.is_cake:
            raise CalibrationError("a recipe has either sectors or azimuth_bins; make two recipes")
        if self.azimuth_edges_deg and (self.azimuth_bins > 1 or self.azimuth_range_deg is not None):
            raise CalibrationError("azimuth_edges say all of a cake's rows; leave out azimuth_bins and azimuth_range")
        if len(self.azimuth_edges_deg) in (1, 2):
            raise CalibrationError(f"azimuth_edges {self.azimuth_edges_deg} must be three or more; two are a range")
        ranges = [] if self.azimuth_range_deg is None else [("azimuth_range", self.azimuth_range_deg)]
        ranges += [("sector", sector) for sector in self.sectors_deg]
        ranges += [("azimuth_edges", self.azimuth_edges_deg)] if self.azimuth_edges_deg else []
        for name, edges in ranges:
            if problem := azimuth_problem(edges):
                raise CalibrationError(f"{name} {problem}")

    @property
    def is_cake(self) -> bool:
        """True for rows of azimuth that pixels are split between."""
        return self.azimuth_bins > 1 or bool(self.azimuth_edges_deg)

    def row_edges_deg(self) -> NDArray[np.float64] | None:
        """Edges of the rows of a cake, degrees, shape (n_rows + 1,); None if pyFAI lays them over the full circle."""
        if self.azimuth_edges_deg:
            return np.array(self.azimuth_edges_deg, float)
        if self.azimuth_bins == 1 or self.azimuth_range_deg is None:
            return None
        return np.linspace(*self.azimuth_range_deg, self.azimuth_bins + 1)

    @property
    def subdivision(self) -> int:
        """Points along an edge of a pixel for a splitting such as "4x4", 0 for the others."""
        match = _GRID.fullmatch(self.splitting)
        return int(match[1]) if match else 0

    @property
    def dimensions(self) -> int:
        """1 for a pattern or a cut, 2 for a cake or sectors."""
        if self.cut is not None:
            return 1
        return 2 if self.is_cake or len(self.sectors_deg) > 1 else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what one frame gives: (radial,) or (azimuthal, radial)."""
        rows = max(self.azimuth_bins, len(self.azimuth_edges_deg) - 1, len(self.sectors_deg))
        if self.cut is not None:
            return (self.geometry.shape[1] if self.cut.direction == "x" else self.geometry.shape[0],)
        return (rows, self.radial_bins) if self.dimensions == 2 else (self.radial_bins,)

    def parameters(self) -> dict[str, Any]:
        """Every parameter that is a number or a text, for the record."""
        return {
            "wavelength": self.geometry.wavelength_angstrom,
            "unit": self.unit,
            "radial_bins": self.radial_bins,
            "radial_range": self.radial_range,
            "radial_edges": self.radial_edges or None,
            "azimuth_bins": self.azimuth_bins,
            "azimuth_range": self.azimuth_range_deg,
            "azimuth_edges": self.azimuth_edges_deg or None,
            "sectors": self.sectors_deg or None,
            "splitting": self.splitting,
            "n_splitting": self.subdivision or None,
            "orientation": self.geometry.orientation,
            "solid_angle": self.solid_angle,
            "polarization_factor": self.polarization_factor,
            "polarization_axis": self.polarization_axis_deg or None,
            "cut": None if self.cut is None else json.dumps(vars(self.cut)),
            "dark_frames": None if self.dark is None else self.dark_frames,
            "error_model": self.error_model,
            "weighting": self.weighting,
            "threshold": self.threshold,
            "lower_limit": self.lower_limit,
            "dummy": self.dummy,
            "clip_sigma": self.clip_sigma,
            "clip_cycles": None if self.clip_sigma is None else self.clip_cycles,
        }

    def matrix_key(self) -> str:
        """Hash of everything that the matrix depends on; equal keys mean equal matrices."""
        names = ("unit", "radial_bins", "radial_range", "radial_edges", "azimuth_bins", "azimuth_range")
        names += ("azimuth_edges", "sectors", "splitting", "solid_angle", "polarization_factor")
        names += ("polarization_axis", "cut", "weighting")
        parameters = self.parameters()
        stated = {name: parameters[name] for name in names} | {"version": MATRIX_VERSION, "pyFAI": pyFAI.version}
        stated["geometry"] = self.geometry.key()
        digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
        for name in ("mask", "flat"):
            image = getattr(self, name)
            digest.update(name.encode())
            if image is not None:
                digest.update(str(image.dtype).encode())
                digest.update(np.ascontiguousarray(image).tobytes())
        if self.dark is not None and not (finite := np.isfinite(self.dark)).all():  # they are masked, see the matrix
            digest.update(b"dark")
            digest.update(np.packbits(finite).tobytes())
        return digest.hexdigest()[:32]


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise CalibrationError(f"{name} {value!r} must be one of {', '.join(allowed)}")
