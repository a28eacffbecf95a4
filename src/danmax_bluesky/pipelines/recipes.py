"""Recipes as they are written down, made ready: their files read, their geometry bound to the frames."""

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from danmax_bluesky.config import RECIPE_FILES, RecipeSettings, check_names
from danmax_bluesky.errors import CalibrationError, SettingsError
from danmax_bluesky.parsing import brief, complaints, read_text, shown
from danmax_bluesky.pipelines.background import background_pattern, is_pattern
from danmax_bluesky.pipelines.corrections import combined_dark, image_of, mask_of, unused_corrections
from danmax_bluesky.pipelines.worker_messages import ScanInfo
from danmax_bluesky.scattering.cuts import Cut
from danmax_bluesky.scattering.geometry import Geometry, geometry_of_poni, simulated_geometry
from danmax_bluesky.scattering.photon_energy import KEV_ANGSTROM
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.validity import NO_LIMIT, default_lower_limit, kind_of_detector, kind_of_frame
from danmax_bluesky.storage.frames_protocol import FrameError, Frames, MeanImage

PATTERN = "azint1d"
CAKE = "azint2d"
_DETECTOR = re.compile(r"^\s*detector\s*:\s*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PreparedRecipe:
    """A recipe and what it was made from.

    Attributes:
        settings: as written down.
        recipes: layout name -> recipe; a cake comes with the pattern of the full circle.
        texts: parameter -> what the files said, for the record.
        notes: what the user should know of it, one sentence each, such as how many pixels each mask marks.
    """

    settings: RecipeSettings
    recipes: Mapping[str, Recipe]
    texts: Mapping[str, Any]
    notes: Sequence[str] = ()

    @property
    def geometry(self) -> Geometry:
        """The detector's."""
        return next(iter(self.recipes.values())).geometry


def recipe_settings(raw: Mapping[str, Any] | RecipeSettings) -> RecipeSettings:
    """The settings of a recipe, from a start document or from `Settings`.

    Raises:
        SettingsError: with the key, the value, and what is allowed.
    """
    if isinstance(raw, RecipeSettings):
        return raw
    try:
        if not isinstance(raw, Mapping):
            raise SettingsError(f"a recipe is keys and values, not {shown(raw)}")
        return RecipeSettings.model_validate(dict(raw))
    except ValidationError as error:
        problems = (
            f"recipe setting {'.'.join(map(str, problem['loc']))!r} = {shown(problem['input'])}: {problem['msg']}"
            for problem in complaints(error)
        )
        raise SettingsError("\n".join(problems)) from None


def recipes_of(entries: Iterable[Mapping[str, Any] | RecipeSettings]) -> list[RecipeSettings]:
    """Several recipes, each with a file of its own.

    Raises:
        SettingsError: one cannot be used, or two of one detector have one name.
    """
    recipes = [recipe_settings(entry) for entry in entries]
    try:
        check_names(recipes)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return recipes


def prepare(settings: RecipeSettings, frames: Frames, source: Path, info: ScanInfo) -> PreparedRecipe:
    """Read the files of a recipe and bind it to some frames.

    Args:
        settings: the recipe.
        frames: what is integrated; asked for their shape and for what the detector says of its own pixels.
        source: the data file, which the names of images in the recipe may depend on.
        info: of the scan: settings of the detector and energy of the beam, for a recipe without a .poni.

    Raises:
        CalibrationError: a geometry, mask, dark, flat or background does not fit the frames.
        StorageError: a file is missing or damaged.
    """
    shape = frames.shape
    geometry = _geometry(settings, shape, info.detector, info.energy_kev)
    texts: dict[str, Any] = {"poni": geometry.poni_text()}
    if settings.poni is not None:
        texts |= {"poni": read_text(settings.poni, CalibrationError, errors="replace"), "poni_file": str(settings.poni)}
    mask, mask_file = mask_of(settings, source, shape)
    notes = []
    if mask is not None:
        texts["mask_file"] = mask_file
        notes.append(_counted(mask, f"mask {mask_file}"))
    own = frames.pixel_mask()
    if own is not None:
        if own.bad.all():
            raise CalibrationError(f"the detector's own mask, {own.where}, leaves no pixel; mend it, or leave it out")
        mask = own.bad if mask is None else mask | own.bad
        texts |= {"detector_mask_file": own.where, "detector_mask_pixels": int(own.bad.sum())}
        notes.append(_counted(own.bad, f"the detector's own mask, {own.where},"))
    images: dict[str, MeanImage | None] = {
        "dark": image_of(settings.dark, "dark", "dark", source, shape, settings.detector),
        "flat": image_of(settings.flat, "flat", "flat", source, shape, settings.detector),
        "background": None if is_pattern(settings, source) else _background(settings, source, shape),
    }
    texts |= {f"{key}_file": image.where for key, image in images.items() if image is not None}
    dark, flat, background = images["dark"], images["flat"], images["background"]
    own_dark, own_flat = geometry.dark_and_flat()  # as pyFAI does, where no others are given
    if dark is None and own_dark is not None:
        dark = MeanImage(own_dark, 1, f"detector of {settings.poni}")
    if flat is None and own_flat is not None:
        flat = MeanImage(own_flat, 1, f"detector of {settings.poni}")
    if flat is not None and not np.any(flat.counts > 0):
        raise CalibrationError(
            f"flat {flat.where} is nowhere greater than 0, so no pixel would count; is it the right image?"
        )
    if background is not None:
        texts |= {"background_factor": settings.background_factor, "background_frames": background.number}
    pattern = background_pattern(settings, source) if is_pattern(settings, source) else None
    if pattern is not None:
        texts |= {"background_file": pattern.where, "background_factor": settings.background_factor}
    subtracted, variance = combined_dark(dark, background, settings.background_factor, settings.dark_frames)
    low, why = _lower_limit(settings, frames, mask, texts["poni"], info)
    texts["lower_limit_follows_from"] = why
    notes += unused_corrections(frames, settings)
    for note in notes:
        _log.info("%s: %s", frames.name, note)
    recipe = Recipe(
        geometry=geometry,
        mask=mask,
        radial_edges=radial_edges_of(settings),
        dark=subtracted,
        dark_frames=dark.number if dark is not None and dark.number > 1 else settings.dark_frames,
        dark_variance=variance,
        background=pattern,
        flat=None if flat is None else flat.counts,
        lower_limit=low,
        **_handed_on(settings),
    )
    layouts = {PATTERN: recipe}
    if recipe.dimensions == 2:
        full = (
            {}
            if settings.cake_only
            else {PATTERN: replace(recipe, azimuth_bins=1, azimuth_edges_deg=(), sectors_deg=())}
        )
        layouts = {**full, CAKE: recipe}
    for number, cut in enumerate(settings.slices, 1):
        band = Cut(cut.direction, cut.plane, cut.position, cut.margin, cut.incident_angle)
        plain = replace(
            recipe,
            azimuth_bins=1,
            azimuth_edges_deg=(),
            sectors_deg=(),
            azimuth_range_deg=None,
            radial_range=None,
            radial_edges=(),
        )
        layouts[f"slice{number}"] = replace(plain, cut=band, splitting="no")
    return PreparedRecipe(settings, layouts, texts, tuple(notes))


_MADE_READY = (*RECIPE_FILES, "dark_frames", "lower_limit", "radial_edges")
"""Keys whose values a recipe does not take as they are written down."""


def _handed_on(settings: RecipeSettings) -> dict[str, Any]:
    """What a recipe takes as it is written down: whatever both say under one name, where degrees are named or not."""
    names = {field.name: field.name.removesuffix("_deg") for field in fields(Recipe)}
    keys = set(type(settings).model_fields) - set(_MADE_READY)
    return {name: getattr(settings, key) for name, key in names.items() if key in keys}


def radial_edges_of(settings: RecipeSettings) -> tuple[float, ...]:
    """The radial edges of a recipe, out of their file if they lie in one; empty if it has none.

    In the file are numbers, with spaces, commas or line ends between them; what follows a "#" in a line is left aside.

    Raises:
        CalibrationError: the file cannot be read, or holds anything else.
    """
    file = settings.radial_edges_file
    if file is None:
        return settings.radial_edges
    if settings.radial_edges:
        raise CalibrationError("a recipe has either radial_edges or radial_edges_file; leave one of them out")
    text = read_text(file, CalibrationError)
    words = " ".join(line.partition("#")[0] for line in text.splitlines()).replace(",", " ").split()
    try:
        return tuple(float(word) for word in words) or (math.nan,)
    except ValueError as error:
        raise CalibrationError(f"radial_edges_file {file} must hold numbers alone: {brief(error)}") from None


def _background(settings: RecipeSettings, source: Path, shape: tuple[int, int]) -> MeanImage | None:
    image = image_of(settings.background, None, "background", source, shape, settings.detector)
    if image is not None and not np.isfinite(image.counts).any():
        raise CalibrationError(f"background {image.where} holds no pixel that is a number")
    return image


def _counted(mask: np.ndarray, what: str) -> str:
    return f"{what} marks {int(mask.sum())} of {mask.size} pixels as bad ({mask.mean():.2%})"


def _lower_limit(
    settings: RecipeSettings, frames: Frames, mask: np.ndarray | None, poni: str, info: ScanInfo
) -> tuple[float, str]:
    """The smallest valid count, and what it follows from: the recipe, the run, the .poni, or the first frame."""
    if settings.lower_limit is not None:
        return (NO_LIMIT if settings.lower_limit == "none" else settings.lower_limit), "recipe"
    if info.detector_kind:
        return default_lower_limit("counting"), f"run: the detector is for {info.detector_kind}"
    stated = _DETECTOR.search(poni)
    kind = kind_of_detector(stated[1]) if stated else ""
    if kind:
        return default_lower_limit(kind), f".poni: {stated[1].strip() if stated else ''} is {kind}"
    for index in range(len(frames)):
        image = np.empty(frames.shape, frames.dtype)
        with suppress(FrameError):
            frames.read_into(index, image)
            kind = kind_of_frame(image, mask)
            return default_lower_limit(kind), f"frame {index}: its counts are those of a detector that is {kind}"
    return 0.0, "no frame could be looked at"


def _geometry(
    settings: RecipeSettings,
    shape: tuple[int, int],
    detector: Mapping[str, Any] | None,
    energy_kev: float | None,
) -> Geometry:
    if settings.poni is not None:
        wavelength_m = None if energy_kev is None else KEV_ANGSTROM * 1e-10 / energy_kev
        try:
            return geometry_of_poni(
                read_text(settings.poni, CalibrationError, errors="replace"),
                shape,
                orientation=settings.orientation,
                wavelength_m=wavelength_m,
                folder=settings.poni.parent,
            )
        except CalibrationError as error:
            raise CalibrationError(f"{settings.poni}: {error}") from None
    if detector is None or energy_kev is None:
        raise CalibrationError(
            f"recipe {settings.name!r} names no .poni, and only the simulated beamline's geometry is known; "
            "give one (poni in recipes, or --poni)"
        )
    return simulated_geometry(
        shape, float(detector["pixel_size_m"]), float(detector["distance_m"]), energy_kev, settings.orientation or 3
    )
