"""Recipes as they are written down, made ready: their files read, their geometry bound to the frames."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from danmax_bluesky.config import RecipeSettings, check_names
from danmax_bluesky.errors import CalibrationError, SettingsError
from danmax_bluesky.parsing import complaints, read_text, shown
from danmax_bluesky.scattering.geometry import KEV_ANGSTROM, Geometry, geometry_of_poni, simulated_geometry
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.slices import Cut
from danmax_bluesky.storage.frames import read_image, read_mask

PATTERN = "azint1d"
CAKE = "azint2d"


IntegrationSettings = RecipeSettings
"""What a recipe is called where it is no setting of the session."""


@dataclass(frozen=True, eq=False)
class PreparedRecipe:
    """A recipe and what it was made from.

    Attributes:
        settings: as written down.
        recipes: layout name -> recipe; a cake comes with the pattern of the full circle.
        texts: parameter -> what the files said, for the record.
    """

    settings: IntegrationSettings
    recipes: Mapping[str, Recipe]
    texts: Mapping[str, Any]

    @property
    def geometry(self) -> Geometry:
        """The detector's."""
        return next(iter(self.recipes.values())).geometry


def recipe_settings(raw: Mapping[str, Any] | RecipeSettings) -> IntegrationSettings:
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


def recipes_of(entries: Iterable[Mapping[str, Any] | RecipeSettings]) -> list[IntegrationSettings]:
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


def prepare(
    settings: IntegrationSettings,
    shape: tuple[int, int],
    pixel_mask: np.ndarray | None = None,
    detector: Mapping[str, Any] | None = None,
    energy_kev: float | None = None,
) -> PreparedRecipe:
    """Read the files of a recipe and bind it to frames of one shape.

    Args:
        settings: the recipe.
        shape: rows and columns of the frames.
        pixel_mask: what the detector says of its own pixels, True is bad.
        detector: settings of the detector, with pixel_size_m and distance_m, for a recipe without a .poni.
        energy_kev: of the beam, likewise.

    Raises:
        CalibrationError: a geometry, mask, dark or flat does not fit the frames.
        StorageError: a file is missing or damaged.
    """
    geometry = _geometry(settings, shape, detector, energy_kev)
    texts: dict[str, Any] = {"poni": geometry.poni_text()}
    if settings.poni is not None:
        texts |= {"poni": read_text(settings.poni, CalibrationError, errors="replace"), "poni_file": str(settings.poni)}
    mask = None if settings.mask is None else read_mask(settings.mask)
    if settings.mask is not None and mask is not None:
        texts["mask_file"] = str(settings.mask)
        _check_shape("mask", settings.mask, mask, shape)
        if mask.all():
            raise CalibrationError(
                f"mask {settings.mask} leaves no pixel; it may be inverted: True, or other than 0, means bad"
            )
    if pixel_mask is not None:
        mask = pixel_mask if mask is None else mask | pixel_mask
    dark, stacked = _image("dark", settings.dark, shape)
    flat, _ = _image("flat", settings.flat, shape)
    texts |= {f"{name}_file": str(path) for name in ("dark", "flat") if (path := getattr(settings, name)) is not None}
    own_dark, own_flat = geometry.dark_and_flat()  # as pyFAI does, where no others are given
    dark, flat = own_dark if dark is None else dark, own_flat if flat is None else flat
    recipe = Recipe(
        geometry=geometry,
        mask=mask,
        unit=settings.unit,
        radial_bins=settings.radial_bins,
        radial_range=settings.radial_range,
        azimuth_bins=settings.azimuth_bins,
        azimuth_range_deg=settings.azimuth_range,
        azimuth_edges_deg=settings.azimuth_edges,
        sectors_deg=settings.sectors,
        splitting=settings.splitting,
        solid_angle=settings.solid_angle,
        polarization_factor=settings.polarization_factor,
        polarization_axis_deg=settings.polarization_axis,
        dark=dark,
        dark_frames=stacked or settings.dark_frames,
        flat=flat,
        error_model=settings.error_model,
        weighting=settings.weighting,
        threshold=settings.threshold,
        clip_sigma=settings.clip_sigma,
        clip_cycles=settings.clip_cycles,
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
            recipe, azimuth_bins=1, azimuth_edges_deg=(), sectors_deg=(), azimuth_range_deg=None, radial_range=None
        )
        layouts[f"slice{number}"] = replace(plain, cut=band, splitting="no")
    return PreparedRecipe(settings, layouts, texts)


def _geometry(
    settings: IntegrationSettings,
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


def _image(name: str, path: Path | None, shape: tuple[int, int]) -> tuple[np.ndarray | None, int]:
    """An image, and 0; or the mean of a stack, and of how many it is the mean."""
    if path is None:
        return None, 0
    image = np.asarray(read_image(path), float)
    stacked = len(image) if image.ndim == 3 else 0
    if stacked:
        image = image.mean(axis=0)
    _check_shape(name, path, image, shape)
    if name == "flat" and not np.any(image > 0):
        raise CalibrationError(
            f"flat {path} is nowhere greater than 0, so no pixel would count; is it the right image?"
        )
    return image, stacked


def _check_shape(name: str, path: Path, image: np.ndarray, shape: tuple[int, int]) -> None:
    if image.shape != shape:
        raise CalibrationError(f"{name} {path} has shape {image.shape}, but the frames have {shape}")
