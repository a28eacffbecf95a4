"""`danmax azint --join`: one pattern from several positions of a detector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.azint_recipes import Recipes, masters_of, show_report
from danmax_bluesky.errors import SettingsError, StorageError
from danmax_bluesky.pipelines.batch import Source, find_sources
from danmax_bluesky.pipelines.joined_positions import integrate_positions, joined_path
from danmax_bluesky.pipelines.opened_positions import Position

ALONE = ("poni", "rebin", "export", "feeder", "follow", "scheduler", "workers")
"""Options that say another thing than --join does."""


def join_positions(console: Console, settings: SettingsSource, paths: Sequence[Path], options: dict[str, Any]) -> None:
    """Integrate what stands behind --join into one pattern.

    Args:
        console: to show on.
        settings: of the session.
        paths: arguments of the command; none belongs here.
        options: of the command.

    Raises:
        UsageError: other files or options stand beside --join.
        SettingsError: the positions do not fit together, or something went wrong with their frames.
        DanmaxError: as `integrate_positions` has it.
    """
    if paths:
        raise click.UsageError(f"--join takes a .poni and its frames, each time; {paths[0]} stands beside them")
    if beside := [name for name in ALONE if options[name] and (name, options[name]) != ("workers", 1)]:
        raise click.UsageError(f"--join cannot be used together with --{beside[0]}")
    counts = _numbers(options["monitor_counts"], len(options["joined"]))
    ponis = [poni for poni, _ in options["joined"]]
    recipes = Recipes(settings, {**options, "poni": ponis[0]})
    sources = [_source(settings, frames, recipes.detectors(), options["dataset"]) for _, frames in options["joined"]]
    chosen = recipes.of(sources[0])
    if len(chosen) != 1:
        names = ", ".join(recipe.name for recipe in chosen) or "none"
        raise SettingsError(f"positions are joined by one recipe, and these were found: {names}; give one (--config)")
    positions = [
        Position(poni, source.paths, count) for poni, source, count in zip(ponis, sources, counts, strict=True)
    ]
    output = joined_path(positions, chosen[0].name, options["out"])
    if options["dry_run"]:
        for number, position in enumerate(positions, 1):
            console.print(f"position {number}: {position.files[0]} with {position.poni}", soft_wrap=True, markup=False)
        console.print(f"would become {output}", soft_wrap=True, markup=False)
        return
    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("frames", total=None)
        report = integrate_positions(
            positions,
            chosen[0],
            output,
            dataset=options["dataset"],
            threads=options["threads"],
            if_exists="replace" if options["again"] else "refuse",
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    show_report(console, report, "frames joined")
    if report.problems:
        raise SettingsError("not every frame is in the joined pattern; see above")


def _source(settings: SettingsSource, frames: Path, detectors: Sequence[str], dataset: str | None) -> Source:
    """The one source that an argument means: a scan by its number, a file, or a folder with a series of images."""
    masters = masters_of(settings, frames)
    sources = find_sources(masters, detectors, dataset, settings().storage.roots)
    if len(sources) != 1:
        named = ", ".join(source.name for source in sources[:3]) or "no frames"
        raise StorageError(f"{frames} should be the frames of one position, and there is: {named}; name one file")
    return sources[0]


def _numbers(text: str | None, number: int) -> list[float | None]:
    """Counts of the monitor for each position, or None for each without the option."""
    if text is None:
        return [None] * number
    try:
        counts: list[float | None] = [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise click.UsageError(f"--monitor-counts {text!r}: {error}; write such as 1e5,2e5") from None
    if len(counts) != number:
        raise click.UsageError(f"--monitor-counts has {len(counts)} numbers for {number} positions; give one for each")
    return counts
