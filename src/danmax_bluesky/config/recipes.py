"""Settings of the azimuthal integration: one recipe for each integration of one detector."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from danmax_bluesky.config.azimuths import azimuth_problem
from danmax_bluesky.config.values import NAME, AbsolutePath, Model
from danmax_bluesky.options import About

UNITS = ("q_A^-1", "q_nm^-1", "2th_deg", "2th_rad", "r_mm")
ERROR_MODELS = ("poisson", "pyfai-poisson", "azimuthal", "none")
RECIPE, BINS, CORRECTIONS, MASKS, RESULTS = "The recipe", "Bins", "Corrections", "Masked pixels", "Results"
"""The groups of the options, in the words of the reference page."""


class SliceSettings(Model):
    """A cut along the rows or columns of the detector, for grazing incidence."""

    direction: Literal["x", "y"]
    plane: Literal["in-plane", "vertical"]
    position: int = Field(ge=0, description="row (for x) or column (for y), counted from 0")
    margin: int = Field(1, ge=0, description="pixels on either side that belong to it")
    incident_angle: float = Field(0.0, description="degrees")


RECIPE_IMAGES = ("mask", "dark", "flat", "background")
RECIPE_FILES = ("poni", *RECIPE_IMAGES, "radial_edges_file")
"""Keys of a recipe that name a file."""
INSIDE = "::"
"""Stands in the name of an image between the file and the HDF5 path in it."""
OF_EACH_FILE = ("{stem}", "{folder}", "{file}")
"""Stand in the name of an image that each data file has one of its own of: its name without ending, folder, path."""


class RecipeSettings(Model):
    """One azimuthal integration of one detector.

    This is the only description of what a recipe may say: settings, options of `danmax azint` and the reference page
    are made from these fields (see `danmax_bluesky.options`).
    """

    name: Annotated[str, About(RECIPE)] = Field(
        default="azint",
        description="stands in the file's name unless it is azint; each recipe of a detector has its own",
    )
    detector: Annotated[str, About(RECIPE)] = Field(default="pilatus", description="whose frames are integrated")
    poni: Annotated[AbsolutePath | None, About(RECIPE)] = Field(
        default=None,
        description="pyFAI geometry of any version; without it only the twin, which knows its own, can be integrated",
    )
    orientation: Annotated[int | None, About(RECIPE)] = Field(
        default=None,
        ge=1,
        le=4,
        description="how the image lies in memory, as pyFAI and EXIF count: 3 as it is, 2 turned top to bottom, 4 left "
        "to right, 1 both; without it what the .poni states, or 3",
    )
    unit: Annotated[str, About(BINS, choices=UNITS)] = Field(default="q_A^-1", description="of the radial axis")
    radial_bins: Annotated[int, About(BINS, word="bins")] = Field(
        default=3000, ge=1, description="bins along the radius"
    )
    radial_range: Annotated[tuple[float, float] | None, About(BINS, word="range")] = Field(
        default=None, description="first and last edge, in unit; without it all that the detector sees"
    )
    radial_edges: Annotated[tuple[float, ...], About(BINS, example="1,1.5,3,8")] = Field(
        default=(),
        description="edges of the radial bins, in unit, rising, of any widths, instead of bins and range; "
        "the option also takes a text file of them",
    )
    radial_edges_file: Annotated[AbsolutePath | None, About(BINS)] = Field(
        default=None,
        description="text file of such edges: numbers with spaces, commas or line ends between them; # begins a remark",
    )
    azimuth_bins: Annotated[int, About(BINS)] = Field(
        default=1, ge=1, description="more than 1 for a cake, beside the pattern of the full circle"
    )
    azimuth_range: Annotated[tuple[float, float] | None, About(BINS, "deg")] = Field(
        default=None,
        description="first and last azimuth, from the fast axis towards the slow one; they rise, and begin anywhere: "
        "170 190 goes through 180, 170 -170 is refused; without it the full circle",
    )
    azimuth_edges: Annotated[tuple[float, ...], About(BINS, "deg", example="-10,10,45,90")] = Field(
        default=(), description="edges of the rows of a cake, rising, instead of azimuth_bins"
    )
    sectors: Annotated[tuple[tuple[float, float], ...], About(BINS, "deg", word="sector")] = Field(
        default=(), description="azimuth ranges, a pattern for each"
    )
    cake_only: Annotated[bool, About(BINS)] = Field(
        default=False, description="a cake without the pattern of the full circle beside it"
    )
    slices: Annotated[tuple[SliceSettings, ...], About(BINS)] = Field(
        default=(),
        description="cuts along rows or columns for grazing incidence, beside the pattern: `direction` x or y, `plane` "
        "in-plane or vertical, `position`, `margin`, `incident_angle`",
    )
    splitting: Annotated[str, About(BINS)] = Field(
        default="bbox", description="of pixels between bins: no, bbox, full, or a pixel in so many points, 4x4"
    )
    solid_angle: Annotated[bool, About(CORRECTIONS)] = Field(
        default=True, description="correct for the solid angle of a pixel"
    )
    polarization_factor: Annotated[float | None, About(CORRECTIONS, word="polarization")] = Field(
        default=0.999997, description="1 horizontal, -1 vertical, 0 circular"
    )
    polarization_axis: Annotated[float, About(CORRECTIONS, "deg")] = Field(
        default=0.0, description="turns the plane of polarisation off the horizontal"
    )
    error_model: Annotated[str, About(CORRECTIONS, choices=ERROR_MODELS)] = Field(
        default="poisson", description="of the counts; pyfai-poisson has pyFAI's variance of at least 1"
    )
    weighting: Annotated[Literal["pyfai", "azint"], About(CORRECTIONS)] = Field(
        default="pyfai", description="pyfai for Σcs/Σcw, azint for Σ(cs/w)/Σc"
    )
    dark: Annotated[AbsolutePath | None, About(CORRECTIONS)] = Field(
        default=None, description="images that are averaged and subtracted; what is not finite is masked"
    )
    dark_frames: Annotated[int, About(CORRECTIONS)] = Field(
        default=1, ge=1, description="of how many frames a dark that is a single image is the mean"
    )
    flat: Annotated[AbsolutePath | None, About(CORRECTIONS)] = Field(
        default=None, description="images that are averaged and divided by"
    )
    background: Annotated[AbsolutePath | None, About(CORRECTIONS)] = Field(
        default=None,
        description="images without sample, averaged: frame - dark - factor x (background - dark) is integrated; or a "
        "pattern, which is subtracted from each pattern",
    )
    background_factor: Annotated[float, About(CORRECTIONS)] = Field(
        default=1.0, ge=0, description="that the background is multiplied by"
    )
    mask: Annotated[AbsolutePath | None, About(MASKS)] = Field(
        default=None,
        description=".npy, .edf, .tif, .msk or FILE.h5::/PATH; other than 0 is bad; the detector's own mask counts too",
    )
    threshold: Annotated[float | None, About(MASKS)] = Field(
        default=None, description="counts above which a pixel is masked in that frame"
    )
    lower_limit: Annotated[float | Literal["none"] | None, About(MASKS)] = Field(
        default=None,
        description="counts below which a pixel is masked in that frame; none masks none; without it, as the detector "
        "counts or integrates",
    )
    dummy: Annotated[float | None, About(MASKS)] = Field(
        default=None, description="the number that marks a bad pixel in a frame"
    )
    clip_sigma: Annotated[float | None, About(MASKS, word="clip")] = Field(
        default=None, gt=0, description="pixels so many σ from the mean of their bin are masked in that frame"
    )
    clip_cycles: Annotated[int, About(MASKS)] = Field(
        default=5, ge=1, description="how often the clipping is repeated at most"
    )
    monitor: Annotated[str, About(RESULTS)] = Field(
        default="", description="data key of the monitor that intensities are divided by"
    )
    monitor_reference: Annotated[float, About(RESULTS)] = Field(
        default=1.0, gt=0, description="counts of the monitor that leave an intensity as it is"
    )
    integral_range: Annotated[tuple[float, float] | None, About(RESULTS)] = Field(
        default=None, description="of the radial axis, in unit, for the integral parameters; without it all"
    )

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
