"""What the commands that integrate share: recipes from options, scans by their number, and how a report is shown."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.recipe_options import recipe_changes
from danmax_bluesky.cli.scans import journals_of
from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.pipelines.batch import Source, start_of
from danmax_bluesky.pipelines.other_programs import recipes_in
from danmax_bluesky.pipelines.recipes import recipe_settings
from danmax_bluesky.pipelines.scan_integration import IntegrationReport
from danmax_bluesky.storage.journals import ended_record_of


def masters_of(settings: SettingsSource, path: Path) -> list[Path]:
    """The path itself, or the masters of the scans of the visit that have this number."""
    if not str(path).isdigit() or path.exists():
        return [path]
    return [ended_record_of(journal).files.master for journal in journals_of(settings(), str(path))]


def show_report(console: Console, report: IntegrationReport, what: str = "patterns") -> None:
    """A line about the file, and what the user should know of it; `what` is what the frames have become."""
    rate = (report.frames - report.resumed) / report.seconds
    console.print(f"{report.output}: {report.frames} {what}, {rate:.0f} frames/s", soft_wrap=True, highlight=False)
    for colour, texts in (("dim", report.notes), ("yellow", report.warnings), ("red", report.problems)):
        for text in texts:
            console.print(f"  [{colour}]{escape(text)}[/]", soft_wrap=True, highlight=False)


class Recipes:
    """Recipes for each source: from --config, else of its run, else of the settings; options change them."""

    def __init__(self, settings: SettingsSource, options: dict[str, Any]) -> None:
        self._settings = settings
        self._detector = options["detector"]
        self._given = recipes_in(options["config"]) if options["config"] else None
        self._changes = recipe_changes(options)
        self._changes |= _radial_edges(options)

    def detectors(self) -> list[str]:
        """Whose files count."""
        if self._detector:
            return [self._detector]
        given = self._given if self._given is not None else self._settings().recipes
        return list(dict.fromkeys(recipe.detector for recipe in given))

    def of(self, source: Source) -> list[RecipeSettings]:
        """The recipes of one source."""
        detector = source.paths[0].stem.partition("_")[2]
        start = start_of(source) if self._given is None else None
        of_run = [recipe for recipe in (start or {}).get("recipes", ()) if recipe.get("detector") == detector]
        recipes = of_run or self._of_detector(detector)
        if not of_run and self._given is None and self._changes.get("poni"):
            recipes = recipes[:1]
        return [recipe_settings({**recipe, **self._changes}) for recipe in recipes]

    def _of_detector(self, detector: str) -> list[dict[str, Any]]:
        """The recipes that are for a detector; all of them if none is."""
        recipes = self._settings().recipes if self._given is None else self._given
        return [recipe.model_dump() for recipe in recipes if recipe.detector == detector] or [
            recipe.model_dump() for recipe in recipes
        ]


def _radial_edges(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options change of radial edges and range: one of the two stands for the other one of the recipe."""
    text = options["radial_edges"]
    if not text:
        return {} if options["radial_range"] is None else {"radial_edges": (), "radial_edges_file": None}
    is_file = os.path.isfile(text)
    edges = {"radial_edges": () if is_file else _numbers(text), "radial_edges_file": Path(text) if is_file else None}
    return {**edges, "radial_range": options["radial_range"]}


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"[,\s]+", text.strip()))
