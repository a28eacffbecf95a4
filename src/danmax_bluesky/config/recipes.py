"""Settings of the azimuthal integration: one recipe for each integration of one detector."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, field_validator

from danmax_bluesky.config.azimuths import azimuth_problem
from danmax_bluesky.config.values import NAME, AbsolutePath, Model


class SliceSettings(Model):
    """A cut along the rows or columns of the detector, for grazing incidence."""

    direction: Literal["x", "y"]
    plane: Literal["in-plane", "vertical"]
    position: int = Field(ge=0, description="row (for x) or column (for y), counted from 0")
    margin: int = Field(1, ge=0, description="pixels on either side that belong to it")
    incident_angle: float = Field(0.0, description="degrees")


RECIPE_IMAGES = ("mask", "dark", "flat", "background")
RECIPE_FILES = ("poni", *RECIPE_IMAGES)
"""Keys of a recipe that name a file."""
INSIDE = "::"
"""Stands in the name of an image between the file and the HDF5 path in it."""
OF_EACH_FILE = ("{stem}", "{folder}", "{file}")
"""Stand in the name of an image that each data file has one of its own of: its name without ending, folder, path."""


class RecipeSettings(Model):
    """One azimuthal integration of one detector."""

    name: str = Field(default="azint", description="appears in the file name when it is not 'azint'; unique")
    detector: str = "pilatus"
    poni: AbsolutePath | None = Field(
        default=None, description="pyFAI geometry; None is for the twin alone, which knows its own"
    )
    mask: AbsolutePath | None = None
    orientation: int | None = Field(
        default=None,
        ge=1,
        le=4,
        description="how the image lies in memory, in pyFAI's and EXIF's terms; None takes what the .poni states, or 3",
    )
    unit: str = "q_A^-1"
    radial_bins: int = Field(default=3000, ge=1)
    radial_range: tuple[float, float] | None = Field(default=None, description="first and last edge, in unit")
    azimuth_bins: int = Field(default=1, ge=1, description="1 for a pattern, more for a cake")
    azimuth_range: tuple[float, float] | None = Field(
        default=None, description="first and last azimuth, degrees, rising: 170 190 goes through 180"
    )
    azimuth_edges: tuple[float, ...] = Field(
        default=(), description="edges of the rows of a cake, degrees, rising, instead of azimuth_bins"
    )
    sectors: tuple[tuple[float, float], ...] = Field(
        default=(), description="azimuth ranges, degrees: a pattern for each"
    )
    cake_only: bool = Field(default=False, description="a cake without the pattern of the full circle beside it")
    splitting: str = "bbox"
    solid_angle: bool = True
    polarization_factor: float | None = 0.999997
    polarization_axis: float = Field(
        default=0.0, description="degrees that turn the plane of polarisation off the horizontal"
    )
    error_model: str = "poisson"
    weighting: Literal["pyfai", "azint"] = "pyfai"
    dark: AbsolutePath | None = Field(default=None, description="image to subtract")
    dark_frames: int = Field(default=1, ge=1, description="of how many frames the dark is the mean; a stack tells it")
    flat: AbsolutePath | None = Field(default=None, description="image to divide by")
    background: AbsolutePath | None = Field(default=None, description="image without sample, to subtract")
    background_factor: float = Field(default=1.0, ge=0, description="that the background is multiplied by")
    threshold: float | None = Field(default=None, description="counts above which a pixel is masked in that frame")
    lower_limit: float | Literal["none"] | None = Field(
        default=None,
        description="counts below which a pixel is masked in that frame; 'none' masks none; None follows the detector",
    )
    dummy: float | None = Field(default=None, description="the number that marks a bad pixel in a frame")
    clip_sigma: float | None = Field(default=None, gt=0, description="mask pixels so many σ from the mean of their bin")
    clip_cycles: int = Field(default=5, ge=1)
    integral_range: tuple[float, float] | None = Field(
        default=None, description="range of the radial axis, in unit, for the integral parameters; None takes all"
    )
    slices: tuple[SliceSettings, ...] = Field(default=(), description="cuts along rows or columns, beside the pattern")
    monitor: str = Field(default="", description="data key of the monitor that intensities are divided by")
    monitor_reference: float = Field(default=1.0, gt=0, description="monitor counts that leave an intensity as it is")

    @field_validator("name")
    @classmethod
    def _part_of_a_file_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("must do as a part of a file name: letters, digits, '_', '-' and '.'")
        return value

    @field_validator("azimuth_range", "azimuth_edges", "sectors")
    @classmethod
    def _azimuths_rise(cls, value: Any) -> Any:
        ranges = value if value and isinstance(value[0], tuple) else [value] if value else []
        for edges in ranges:
            if problem := azimuth_problem(edges):
                raise ValueError(problem)
        return value


def check_names(recipes: Iterable[RecipeSettings]) -> None:
    """Raise ValueError if two recipes of one detector have one name: their patterns would share one file."""
    known: set[tuple[str, str]] = set()
    for recipe in recipes:
        if (recipe.detector, recipe.name) in known:
            raise ValueError(
                f"recipes: two of detector {recipe.detector!r} have the name {recipe.name!r}, and so the same file of "
                "patterns; give each a name of its own"
            )
        known.add((recipe.detector, recipe.name))
