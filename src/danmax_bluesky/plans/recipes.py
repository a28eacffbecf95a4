"""What would go wrong with the integration of a scan, before anything moves."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from danmax_bluesky.config import INSIDE, OF_EACH_FILE, RECIPE_FILES, TWIN, RecipeSettings
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.parsing import opened


def recipe_findings(recipes: Iterable[RecipeSettings], beamline: str) -> Iterator[str]:
    """What is wrong with some recipes, one sentence each with its way out; their files are only looked for.

    Args:
        recipes: those that the scan will be integrated by.
        beamline: "twin", whose geometry is known, or another.
    """
    for recipe in recipes:
        which = f"recipe {recipe.name!r} of {recipe.detector}"
        if recipe.poni is None and beamline != TWIN:
            yield (
                f"{which} has no geometry, and only that of the simulated beamline is known: set poni in its "
                "[[recipes]] (`danmax calibrate` makes one), or formats.integrate = false to measure without patterns"
            )
        for key in RECIPE_FILES:
            path = getattr(recipe, key)
            if path is None or any(word in str(path) for word in OF_EACH_FILE):
                continue  # an image of each data file can be looked for when that is there
            try:
                with opened(Path(str(path).partition(INSIDE)[0]), SettingsError):
                    pass
            except SettingsError as error:
                yield f"{which}: {key} {error}; set {key} in its [[recipes]]"
