"""Which frames there are below some folders, what is to be done with each, and doing it."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from danmax_bluesky.errors import DanmaxError, FormatError, SettingsError, StorageError
from danmax_bluesky.pipelines.integrate import IntegrationReport, Progress, integrate_scan
from danmax_bluesky.pipelines.job import output_path
from danmax_bluesky.pipelines.notes import note_integration
from danmax_bluesky.pipelines.output import COMPLETE, INCOMPLETE, known_state
from danmax_bluesky.pipelines.recipes import IntegrationSettings
from danmax_bluesky.pipelines.scans import journal_beside
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.frames import HDF5_ENDINGS, IMAGE_ENDINGS, open_frames
from danmax_bluesky.storage.journal import is_being_written, read_journal
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.locks import has_writer
from danmax_bluesky.storage.walking import files_below

OURS = re.compile(r"scan-\d{4,}(?:_(?P<part>.+))?")
NOT_FRAMES = ("_integrated", "_dxchange", "_panda", "_master")
SETTLED_S = 2.0
_SERIES = re.compile(r"^(.*?)[_-]?(\d+)$")

State = Literal[
    "new", "to be continued", "other recipe", "outdated", "incomplete", "done", "being measured", "being integrated"
]
TO_DO: tuple[State, ...] = ("new", "to be continued", "other recipe", "outdated", "incomplete")
LATER: tuple[State, ...] = ("being measured", "being integrated")
"""What another process is at; look again when it has ended."""


@dataclass(frozen=True)
class Source:
    """Frames that become one file of patterns.

    Attributes:
        paths: one HDF5 file, or the images of a series in order.
        dataset: HDF5 path, or None to look for it.
    """

    paths: tuple[Path, ...]
    dataset: str | None = None

    @property
    def name(self) -> str:
        """For a table."""
        return self.paths[0].name if len(self.paths) == 1 else f"{self.paths[0].name} … {self.paths[-1].name}"


@dataclass(frozen=True)
class Task:
    """One source and one recipe.

    Attributes:
        source: the frames.
        settings: the recipe.
        output: the file of patterns.
        state: whether there is something to do.
    """

    source: Source
    settings: IntegrationSettings
    output: Path
    state: State

    @property
    def stamp(self) -> tuple[int, float]:
        """Changes when frames are added or written anew, and when a file of the recipe is."""
        return len(self.source.paths), _newest([*self.source.paths, *_files_of(self.settings)])


def find_sources(
    paths: Sequence[Path],
    detectors: Iterable[str],
    dataset: str | None = None,
    roots: Sequence[Path] = (),
    refuse: Callable[[StorageError], None] | None = None,
) -> list[Source]:
    """Frames in files and below folders, in order.

    Of the files of a scan, those of the named detectors count, for which its master stands; of other HDF5 files in a
    folder, those that hold frames, or cannot be read, which will be said. Images are joined to series by the name
    before their number.

    Args:
        paths: files and folders; their order does not matter.
        detectors: names of detectors.
        dataset: HDF5 path of the frames, or None to look for it.
        roots: folders that links to folders may lead into: `storage.roots` of the settings.
        refuse: called with what is wrong with a link to a folder, which is then left aside; None lets the error out.

    Raises:
        StorageError: a path does not exist, or a link leads into none of the roots.
    """
    wanted = set(detectors)
    hdf5: dict[Path, None] = {}
    images: dict[tuple[Path, str, str], list[Path]] = {}
    for path in paths:
        if not path.exists():
            raise StorageError(f"{path} does not exist")
        place = path.absolute()
        for file in sorted(files_below(place, roots, refuse)) if place.is_dir() else _meant_by(place, wanted, dataset):
            if file.suffix.lower() in HDF5_ENDINGS:
                if place.is_file() or _is_of_interest(file, place, wanted, dataset):
                    hdf5[file] = None
            elif file.suffix.lower() in IMAGE_ENDINGS and not file.name.startswith("."):
                match = _SERIES.match(file.stem)
                prefix = match[1] if match else file.stem
                images.setdefault((file.parent, prefix, file.suffix), []).append(file)
    series = [Source(tuple(sorted(files, key=_number))) for files in images.values()]
    return [Source((file,), dataset) for file in hdf5] + series


def _meant_by(file: Path, detectors: set[str], dataset: str | None) -> list[Path]:
    """The file itself; of the master of a scan, the files of the detectors beside it."""
    if dataset is None and OURS.fullmatch(file.stem) and file.with_name(f"{file.stem}_documents.jsonl").exists():
        beside = (file.with_name(f"{file.stem}_{name}.h5") for name in sorted(detectors))
        return [path for path in beside if path.exists()]
    return [file]


def _is_of_interest(file: Path, folder: Path, detectors: set[str], dataset: str | None) -> bool:
    """True if a file below a folder holds frames of one of the detectors, or other frames."""
    below = file.relative_to(folder).parts[:-1]
    if file.name.startswith(".") or file.stem.endswith(NOT_FRAMES) or "process" in below:
        return False
    match = OURS.fullmatch(file.stem)
    if match is not None:
        return match["part"] in detectors
    try:
        open_frames(file, dataset).close()
    except FormatError:
        return False
    except StorageError:
        return True
    return True


def plan_tasks(
    sources: Iterable[Source],
    recipes_of: Callable[[Source], Sequence[IntegrationSettings]],
    folder: Path | None = None,
    *,
    again: bool = False,
    refuse: Callable[[Source, DanmaxError], None] | None = None,
) -> Iterator[Task]:
    """What is to be done. An image that one of the recipes names, such as a mask, is no source.

    Args:
        sources: the frames.
        recipes_of: recipes for each of them.
        folder: where to write, None beside the raw data.
        again: integrate also what is done.
        refuse: called with a source of which not even that can be said, and why; None lets the error out.
    """
    for source in sources:
        try:
            recipes = recipes_of(source)
            tasks = [_task(source, settings, folder, again=again) for settings in recipes]
            if len({task.output for task in tasks}) < len(tasks):
                names = ", ".join(settings.name for settings in recipes)
                raise SettingsError(f"recipes {names} of {source.name}: equal names would share one file of patterns")
        except DanmaxError as error:
            if refuse is None:
                raise
            refuse(source, error)
            continue
        if not any(source.paths[0] in _files_of(settings) for settings in recipes):
            yield from tasks


def _task(source: Source, settings: IntegrationSettings, folder: Path | None, *, again: bool) -> Task:
    output = output_path(_named(source), settings.name, folder)
    return Task(source, settings, output, _state(source, settings, output, again=again))


def _named(source: Source) -> Path:
    """What an output is named after: the file, or the series without its number."""
    first = source.paths[0]
    match = _SERIES.match(first.stem)
    return first if len(source.paths) == 1 or not match or not match[1] else first.with_name(match[1] + first.suffix)


def _state(source: Source, settings: IntegrationSettings, output: Path, *, again: bool) -> State:
    if is_growing(source):
        return "being measured"
    if has_writer(output):
        return "being integrated"
    if again or not output.exists():
        return "new"
    state, by, problems = known_state(output)
    if by != settings.model_dump_json():
        return "other recipe"
    if state not in (COMPLETE, INCOMPLETE):
        return "to be continued"
    if problems:
        return "incomplete"
    written_s = output.stat().st_mtime
    if _newest(source.paths) > written_s:
        return "outdated"
    return "done" if written_s >= _newest(_files_of(settings)) else "other recipe"


def _files_of(settings: IntegrationSettings) -> list[Path]:
    """Files that a recipe names."""
    return [path for path in (settings.poni, settings.mask, settings.dark, settings.flat) if path]


def _newest(paths: Iterable[Path]) -> float:
    """When the last of some files was written, POSIX seconds; one that has gone does not count."""
    times = []
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def is_growing(source: Source) -> bool:
    """True while the run that the frames belong to is measured, or an image has only just been written."""
    beside = journal_beside(source.paths[0])
    if beside is not None:
        return is_being_written(beside[0])
    return time.time() - source.paths[-1].stat().st_mtime < SETTLED_S and len(source.paths) > 1


def run_task(
    task: Task, *, threads: int = 2, client: Any = None, again: bool = False, progress: Progress | None = None
) -> IntegrationReport:
    """Integrate, and put it into the provenance of the scan.

    Raises:
        DanmaxError: it cannot be done.
    """
    begun_s = time.time()
    paths = task.source.paths
    source: Path | Sequence[Path] = paths[0] if len(paths) == 1 else paths
    files = _scan_files(paths[0])
    recipe = task.settings.model_dump(mode="json")
    try:
        report = integrate_scan(
            source,
            task.settings,
            task.output,
            dataset=task.source.dataset,
            threads=threads,
            client=client,
            if_exists="replace" if again else "resume",
            progress=progress,
        )
    except DanmaxError as error:
        if files is not None:
            note_integration(files, recipe, paths[0], task.output, begun_s=begun_s, problems=[str(error)], failed=True)
        raise
    if files is not None:
        problems = report.problems
        note_integration(
            *(files, recipe, paths[0], task.output), begun_s=begun_s, problems=problems, failed=bool(problems)
        )
    return report


def start_of(source: Source) -> Mapping[str, Any] | None:
    """Start document of the run that the frames belong to, or None."""
    beside = journal_beside(source.paths[0])
    if beside is None:
        return None
    return next((doc for name, doc in read_journal(beside[0]) if name == "start"), None)


def _scan_files(path: Path) -> ScanFiles | None:
    """The files of the run that the frames belong to, where they are now; None if it says of none."""
    beside = journal_beside(path)
    try:
        return None if beside is None else record_of(beside[0]).files
    except DanmaxError:
        return None


def _number(file: Path) -> tuple[int, str]:
    match = _SERIES.match(file.stem)
    return (int(match[2]) if match else 0, file.name)
