"""`danmax reconstruct`: slices of a measured tomography."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from danmax_bluesky.callbacks.dxchange import has_dxchange
from danmax_bluesky.callbacks.reconstruct_slices import jobs_of
from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.errors import ScanError, SettingsError, StorageError
from danmax_bluesky.options import options_of
from danmax_bluesky.parsing import complaints
from danmax_bluesky.pipelines.any_file import AngleUnit, frames_of_file
from danmax_bluesky.pipelines.centre_series import columns_of, save_centre_series
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.pipelines.slice_process import reconstruct_scan
from danmax_bluesky.pipelines.slice_request import ReconstructionJob
from danmax_bluesky.pipelines.slice_target import SlicesTarget, write_reconstruction
from danmax_bluesky.pipelines.tomography_frames import naming_file
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import ended_record_of, journals_below
from danmax_bluesky.storage.plain_tomography import TomographyPaths
from danmax_bluesky.tomography.tori import DEFAULT, NONE, ReconstructionSettings, load_tori, read_tori


@click.command("reconstruct", epilog=HELP + " A file of another program is named by its path.")
@click.argument("scan", required=False)
@click.option(
    "--tori", "tori_name", default="", help="name of a settings file in the visit's .tori/ folder, or its path"
)
@click.option(
    "--center",
    default=None,
    metavar="auto|tori|COLUMN",
    help="where the rotation axis is from: found, the settings file, or this column",
)
@click.option(
    "--center-range",
    default="",
    metavar="FIRST:LAST:STEP",
    help="no slices, but a picture of the one in the middle about the axis at each of these columns",
)
@click.option("--incomplete", is_flag=True, help="also a scan that ended early, from the projections that it has")
@click.option("--rows", default="", metavar="middle|all|FIRST:LAST", help="rows of the detector; LAST is left out")
@click.option("--method", default="", help="of reconstruction, in place of that of the settings file")
@click.option("--memory-mb", type=click.IntRange(16), default=None, help="memory that is used at most")
@click.option("--allow-wedge", is_flag=True, help="also projections over less than half a turn: edges are missing then")
@click.option(
    "--volume-deg", type=float, default=None, help="a series: each volume from so many degrees of the rotation"
)
@click.option(
    "--volume-step-deg", type=float, default=None, help="from the beginning of one volume to that of the next"
)
@click.option(
    "--export",
    type=click.Choice(["tiff", "ome-zarr"]),
    default=None,
    help="the slices in this form too, beside the file",
)
@click.option("--detector", default="", help="for a file: whose frames")
@click.option("--data", default="", help="for a file without a format: HDF5 path of the projections")
@click.option("--flats", default="", help="for such a file: HDF5 path of the flats")
@click.option("--darks", default="", help="for such a file: HDF5 path of the darks")
@click.option(
    "--theta", default="", help="for such a file: HDF5 path of the angles, or first:last in degrees, as 0:180"
)
@click.option(
    "--theta-unit", type=click.Choice(["auto", "deg", "rad"]), default="auto", help="for a file: unit of the angles"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="for a file: the slices go there; <name>_slices.h5 else",
)
@click.pass_obj
def command(
    settings: SettingsSource,
    scan: str | None,
    tori_name: str,
    center: str | None,
    center_range: str,
    incomplete: bool,
    rows: str,
    method: str,
    memory_mb: int | None,
    allow_wedge: bool,
    volume_deg: float | None,
    volume_step_deg: float | None,
    export: str | None,
    detector: str,
    data: str,
    flats: str,
    darks: str,
    theta: str,
    theta_unit: AngleUnit,
    out: Path | None,
) -> None:
    """Reconstruct a tomography, as the last step of a scan does, or any DXchange, NXtomo, NeXus or HDF5 file."""
    over = {"rows": rows_of(rows), "method": method or None, "memory_mb": memory_mb, "centre_px": _column(center)}
    over |= {"volume_deg": volume_deg, "volume_step_deg": volume_step_deg, "export": export}
    over |= {"wedge": "allow" if allow_wedge else None}
    over = {key: value for key, value in over.items() if value is not None}
    if scan is not None and (data or _is_of_others(Path(scan))):
        paths = TomographyPaths(data, flats, darks, theta) if data else None
        _reconstruct_file(
            settings, Path(scan), tori_name, center, over, detector, paths, theta_unit, out, _range(center_range)
        )
        return
    console = screen()
    journals = journals_of(settings(), scan)
    done = 0
    where = "tori" if "centre_px" in over else center or ""
    for journal in journals:
        record = ended_record_of(journal)
        jobs = jobs_of(record, tori_name, where, incomplete=incomplete, wedge=allow_wedge)
        if not jobs:
            console.print(
                f"{record.files.master}: left aside: {_what_is_missing(record, tori_name, incomplete)}",
                soft_wrap=True,
                highlight=False,
            )
        for job in jobs:
            changed = dataclasses.replace(job, settings=merged(job.settings, over)) if over else job
            if center_range:
                console.print(str(_series_of_scan(changed, _range(center_range))), soft_wrap=True, highlight=False)
                done += 1
                continue
            with progress() as report:
                written = reconstruct_scan(changed, report)
            console.print("\n".join(map(str, written)), soft_wrap=True, highlight=False)
            done += 1
    if not done:
        raise ScanError("there is nothing to reconstruct")


def _is_of_others(path: Path) -> bool:
    """Whether a path is a file that no journal of ours belongs to."""
    if not path.is_file():
        return False
    try:
        journals_below(path.absolute())
    except StorageError:
        return True
    return False


def _reconstruct_file(
    settings: SettingsSource,
    path: Path,
    tori_name: str,
    center: str | None,
    over: Mapping[str, Any],
    detector: str,
    paths: TomographyPaths | None,
    unit: AngleUnit,
    out: Path | None,
    centres: list[float],
) -> None:
    settings_of_file = _settings_of(settings, tori_name)
    chain = ReconstructionSettings.model_validate(merged(settings_of_file.model_dump(mode="json"), over))
    with naming_file(path):
        frames, title = frames_of_file(path, detector, paths, unit)
    is_given = center is not None and center != "auto"
    if is_given and chain.centre_px is None:
        raise SettingsError("center 'tori' asks for the axis of the settings file, which does not say centre_px")
    output = Path(f"{path.stem}_slices.h5") if out is None else out
    if centres:
        picture = output.with_name(f"{output.stem}_centres.png").absolute()
        pixel_m = chain.pixel_um * 1e-6 if chain.pixel_um else None
        with naming_file(path):
            screen().print(str(save_centre_series(picture, frames, chain, centres, pixel_m)), soft_wrap=True)
        return
    target = SlicesTarget(
        output=output.absolute(),
        title=title or path.name,
        sample=path.stem,
        detector=frames.name,
        raw_file=path.absolute(),
        run_uid=f"file:{path.name}",
        pixel_m=chain.pixel_um * 1e-6 if chain.pixel_um else None,
        parameters={**chain.model_dump(mode="json"), "center": center or "auto"},
        remarks=_left_out(frames.left_out),
    )
    console = screen()
    with progress() as report:
        files, remarks = write_reconstruction(
            frames, chain, target, centre_px=chain.centre_px if is_given else None, report=report
        )
    for remark in remarks:
        console.print(f"note: {remark}", soft_wrap=True, highlight=False, markup=False)
    for file in files:
        console.print(str(file), soft_wrap=True, highlight=False, markup=False)


def _series_of_scan(job: ReconstructionJob, centres: list[float]) -> Path:
    with naming_file(job.files.master):
        frames, _ = frames_of_file(job.files.master, job.detector)
        chain = ReconstructionSettings.model_validate(job.settings)
        picture = job.output.with_name(f"{job.output.stem}_centres.png")
        return save_centre_series(picture, frames, chain, centres, job.pixel_m)


def _range(text: str) -> list[float]:
    """The columns of `--center-range`; none where it is not given."""
    if not text:
        return []
    try:
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise click.BadParameter(f"{text!r}: give FIRST:LAST:STEP, as 290:302:1", param_hint="--center-range") from None
    return columns_of(first, last, step)


def _left_out(count: int) -> tuple[str, ...]:
    return (f"{count} projections were left out, since their angle is not known",) if count else ()


def _settings_of(settings: SettingsSource, tori_name: str) -> ReconstructionSettings:
    """Of a name in the visit, or of a path; the defaults where none is named."""
    if not tori_name:
        return ReconstructionSettings()
    if Path(tori_name).suffix in (".toml", ".yaml", ".yml"):
        return read_tori(Path(tori_name))
    now = settings()
    return load_tori(now.data_root / now.proposal / now.visit, tori_name)


def merged(settings: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with what the command line says on top.

    Raises:
        SettingsError: together they cannot be used.
    """
    together = {**settings, **over}
    try:
        return ReconstructionSettings.model_validate(together).model_dump(mode="json")
    except ValidationError as error:
        problems = "; ".join(str(problem["msg"]) for problem in complaints(error))
        raise SettingsError(f"{', '.join(over)}: {problems}") from None


def rows_of(text: str) -> str | list[int] | None:
    """What `--rows` says; None for nothing."""
    if text in ("", "middle", "all"):
        return text or None
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isdigit() for part in parts):
        raise click.BadParameter(f"{text!r}: give middle, all, FIRST:LAST or FIRST:LAST:STEP", param_hint="--rows")
    return [int(part) for part in parts] + [1] * (3 - len(parts))


def _column(center: str | None) -> float | None:
    if center in (None, "auto", "tori"):
        return None
    try:
        return float(center)
    except ValueError:
        raise click.BadParameter(f"{center!r}: give auto, tori or a column", param_hint="--center") from None


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time that is left for each stage, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen(), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        yield report


def _what_is_missing(record: RunRecord, tori_name: str, incomplete: bool) -> str:
    """Which of the things that a reconstruction needs a scan does not have, or who asked for none."""
    if not record.start.get("scan"):
        return f"it is no tomography but {record.start.get('plan_name', 'another plan')}"
    if not record.is_complete and not incomplete:
        return f"it is {record.status}, and only a complete scan is reconstructed; --incomplete takes what it has"
    if record.start.get("scan", {}).get("helical"):
        return "it is helical: a row of the detector saw another height of the sample at each angle"
    if tori_name == NONE:
        return f"--tori {NONE} asks for no reconstruction; leave it out, or name a settings file"
    if not tori_name and record.start.get("scan", {}).get("tori_name") == NONE:
        return f"it was measured with --tori {NONE}, which asks for no slices; say --tori {DEFAULT} to make them"
    tables = [table for table in read_run(record).tables.values() if has_dxchange(table)]
    if not tables:
        return "it holds no projections of a 2D detector"
    if not any(len(table.of(ImageKey.FLAT)) for table in tables):
        return "it holds no flats, by which projections are divided"
    return "its projections do not cover half a turn; --allow-wedge takes what there is"


def _settings_help() -> str:
    """What a settings file may say, for the help of the command."""
    keys = "".join(f"\n\n  {option.name}: {option.sentence}" for option in options_of(ReconstructionSettings))
    return f"A file such as .tori/bone.toml of the visit may say:{keys}"


command.help = f"{command.help}\n\n{_settings_help()}"
