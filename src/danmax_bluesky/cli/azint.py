"""`danmax azint`: integrate scans, folders or a whole visit; rebin and export what is integrated."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.azint_join import join_positions
from danmax_bluesky.cli.azint_recipes import Recipes, masters_of, show_report
from danmax_bluesky.cli.recipe_options import takes_recipe
from danmax_bluesky.errors import DanmaxError, SettingsError, StorageError
from danmax_bluesky.pipelines.batch import LATER, TO_DO, Source, Task, find_sources, plan_tasks, run_task
from danmax_bluesky.pipelines.cluster import cluster_client
from danmax_bluesky.pipelines.export import export_text
from danmax_bluesky.pipelines.rebin import rebin_file
from danmax_bluesky.pipelines.saxsdog_feed import new_files
from danmax_bluesky.screen import screen

LOOK_EVERY_S = 3.0
_PATH = click.Path(path_type=Path)


@click.command("azint")
@click.argument("paths", nargs=-1, type=_PATH)
@takes_recipe
@click.option("--config", type=_PATH, help="recipe(s) in TOML or JSON, or a SAXSDOG calibration")
@click.option("--detector", help="of the files of a scan; those that have recipes if not given")
@click.option("--dataset", help="HDF5 path of the frames, where a file holds several")
@click.option("--out", type=_PATH, help="folder to write to; below process/azint/ if not given")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="processes, on a Dask cluster")
@click.option("--scheduler", default="", help="address of a Dask cluster that runs already")
@click.option("--again", is_flag=True, help="integrate also what is done, as with a new calibration")
@click.option("--follow", is_flag=True, help="keep looking for new files; Ctrl-C ends it")
@click.option("--feeder", default="", help='0MQ address that publishes {"command": "new file", "argument": PATH}')
@click.option("--dry-run", is_flag=True, help="only show what would be done")
@click.option("--rebin", nargs=2, type=int, metavar="FRAMES BINS", help="join frames and bins of integrated files")
@click.option(
    "--join",
    "joined",
    nargs=2,
    type=_PATH,
    multiple=True,
    metavar="PONI FRAMES",
    help="one pattern from several positions of a detector: a .poni and its frames, for each position",
)
@click.option("--monitor-counts", help="with --join: what the monitor counted for a frame of each position, 1e5,2e5")
@click.option(
    "--export", type=click.Choice(["chi", "xy", "xye"]), help="write integrated files as text, one for each frame"
)
@click.pass_obj
def command(settings: SettingsSource, paths: tuple[Path, ...], **options: Any) -> None:
    """Integrate scans by their number, FILES or whole FOLDERS: of detectors, other HDF5, image files.

    What is done is left, what was broken off is continued. Recipes come from --config, or from the run itself, or from
    the settings; single options change them. With --rebin or --export the files are integrated ones.

    \b
    One scan:            danmax azint 7 --poni cal.poni --mask mask.npy
    One file:            danmax azint raw/day1/scan-0007_pilatus.h5 --again
    A visit, overnight:  danmax azint 20260000/2026000001 --workers 4
    While measuring:     danmax azint 20260000/2026000001/raw --follow
    Detector on an arm:  danmax azint --join low.poni low.h5 --join high.poni high.h5
    Sum of 10 frames:    danmax azint --rebin 10 1 \\
                             process/azint/day1/scan-0007_pilatus_integrated.h5
    """  # noqa: D301  click reads \b
    console = screen()
    if options["joined"]:
        join_positions(console, settings, paths, options)
        return
    if options["monitor_counts"] is not None:
        raise click.UsageError("--monitor-counts belongs to --join; leave it out, or join positions")
    if not paths and not options["feeder"]:
        raise click.UsageError("name a scan number, a file or a folder")
    if options["rebin"]:
        _rebin(console, paths, *options["rebin"], out=options["out"])
        return
    if options["export"]:
        _export(console, paths, options["export"], options["out"])
        return
    paths = tuple(master for path in paths for master in masters_of(settings, path))
    several = options["workers"] > 1 or options["scheduler"]
    with cluster_client(options["scheduler"], options["workers"]) if several else nullcontext() as client:
        failed = _integrate(console, settings, paths, options, client)
    if failed:
        raise SettingsError(f"{failed} of the integrations failed; see above")


def _integrate(
    console: Console, settings: SettingsSource, paths: Sequence[Path], options: dict[str, Any], client: Any
) -> int:
    recipes = Recipes(settings, options)
    failed: dict[Path, str] = {}
    seen: dict[Path, Any] = {}
    waiting: list[Path] = []

    def refuse(source: Source, error: DanmaxError) -> None:
        if failed.get(source.paths[0]) != str(error):
            failed[source.paths[0]] = str(error)
            _tell_failed(console, source, error)

    for sources in _sources(paths, waiting, recipes.detectors(), options, settings().storage.roots):
        tasks = list(plan_tasks(sources, recipes.of, options["out"], again=options["again"], refuse=refuse))
        waiting += [task.source.paths[0] for task in tasks if task.state in LATER]
        fresh = [task for task in tasks if task.state in TO_DO and task.stamp != seen.get(task.output)]
        if not (tasks or failed or options["follow"] or options["feeder"]):
            names = ", ".join(recipes.detectors()) or "no detector"
            raise StorageError(
                f"no frames found in {', '.join(map(str, paths))}; of the files of scans, those of {names} count: "
                "name another place, or --detector"
            )
        if options["dry_run"]:
            console.print(_table(tasks))
            break
        if fresh:
            seen |= {task.output: task.stamp for task in fresh}
            failed = {key: text for key, text in failed.items() if key not in seen} | _run(
                console, fresh, options, client
            )
        elif not options["follow"] and not options["feeder"] and not failed:
            console.print(_table(tasks))
    return len(failed)


def _sources(
    paths: Sequence[Path],
    waiting: list[Path],
    detectors: Sequence[str],
    options: dict[str, Any],
    roots: Sequence[Path],
) -> Iterator[list[Source]]:
    """What there is; again and again with --follow; from a feeder what it announced, and what is waited for."""
    if not options["feeder"]:
        yield find_sources(paths, detectors, options["dataset"], roots)
        while options["follow"]:
            time.sleep(LOOK_EVERY_S)
            yield find_sources(paths, detectors, options["dataset"], roots)
        return
    for path in new_files(options["feeder"]):
        announced: list[Path] = list({file: None for file in (*waiting, path) if file is not None})
        waiting[:] = [file for file in announced if not file.exists()]
        there = [file for file in announced if file.exists()]
        if there:
            yield find_sources(there, detectors, options["dataset"], roots)


def _run(console: Console, tasks: Sequence[Task], options: dict[str, Any], client: Any) -> dict[Path, str]:
    failed: dict[Path, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        everything = bars.add_task("scans", total=len(tasks))
        for task in tasks:
            bar = bars.add_task(task.source.name, total=None)

            def show(done: int, total: int, bar: Any = bar) -> None:
                bars.update(bar, completed=done, total=total)

            try:
                report = run_task(
                    task, threads=options["threads"], client=client, again=options["again"], progress=show
                )
            except DanmaxError as error:
                failed[task.output] = str(error)
                _tell_failed(console, task.source, error)
            else:
                show_report(console, report)
                if report.problems:
                    failed[task.output] = "; ".join(report.problems)
            bars.remove_task(bar)
            bars.advance(everything)
    return failed


def _tell_failed(console: Console, source: Source, error: DanmaxError) -> None:
    console.print(f"[red]{escape(source.name)} failed:[/] {escape(str(error))}", soft_wrap=True, highlight=False)


def _table(tasks: Sequence[Task]) -> Table:
    table = Table("frames", "recipe", Column("patterns", overflow="fold"), "state")
    for task in tasks:
        table.add_row(escape(task.source.name), task.settings.name, escape(str(task.output)), task.state)
    return table


def _rebin(console: Console, files: Sequence[Path], frames: int, bins: int, out: Path | None) -> None:
    for file in files:
        name = f"{file.stem.removesuffix('_integrated')}_rebinned_{frames}x{bins}_integrated.h5"
        console.print(f"{rebin_file(file, (out or file.parent) / name, frames, bins)}", soft_wrap=True, highlight=False)


def _export(console: Console, files: Sequence[Path], kind: Any, out: Path | None) -> None:
    for file in files:
        written = list(export_text(file, kind, out))
        text = f"{len(written)} files in {written[0].parent}" if written else f"{file}: nothing to export"
        console.print(text, soft_wrap=True, highlight=False)
