"""Which frames there are below some folders, what is to be done with each, and doing it."""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import DanmaxError, FormatError, SettingsError, StorageError
from danmax_bluesky.pipelines.corrections import depends_on_file, files_named
from danmax_bluesky.pipelines.integration_provenance import note_integration
from danmax_bluesky.pipelines.output import COMPLETE, INCOMPLETE, known_state
from danmax_bluesky.pipelines.scan_frames import files_of_scan, journal_beside
from danmax_bluesky.pipelines.scan_integration import IntegrationReport, Progress, integrate_scan
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.storage.folder_walk import files_below
from danmax_bluesky.storage.frames import is_hdf5, linked_files, open_frames
from danmax_bluesky.storage.images import is_image, series_name
from danmax_bluesky.storage.journal import is_being_written, read_journal
from danmax_bluesky.storage.locks import has_writer

OURS = re.compile(r"scan-\d{4,}(?:_(?P<part>.+))?")
NOT_FRAMES = ("_integrated", "_dxchange", "_panda")
SETTLED_S = 2.0
_log = logging.getLogger(__name__)
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
    settings: RecipeSettings
    output: Path
    state: State

    @property
    def stamp(self) -> tuple[int, float]:
        """Changes when frames are added or written anew, and when a file of the recipe is."""
        return len(self.source.paths), _newest(_files_of(self.source, self.settings))


def find_sources(
    paths: Sequence[Path],
    detectors: Iterable[str],
    dataset: str | None = None,
    roots: Sequence[Path] = (),
    refuse: Callable[[StorageError], None] | None = None,
) -> list[Source]:
    """Frames in files and below folders, in order.

    Of the files of a scan, those of the named detectors count, for which its master stands; of other HDF5 files in a
    folder, those that hold frames, or cannot be read, which will be said; not the data files that another of them links
    to, such as the master of an Eiger, whose frames they are. Images are joined to series by the name
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
    named: set[Path] = set()
    images: dict[tuple[Path, str, str], list[Path]] = {}
    for path in paths:
        if not path.exists():
            raise StorageError(f"{path} does not exist")
        source = path.absolute()
        for file in (
            sorted(files_below(source, roots, refuse)) if source.is_dir() else _meant_by(source, wanted, dataset)
        ):
            if is_hdf5(file):
                if source.is_file():
                    named.add(file)
                if source.is_file() or _is_of_interest(file, source, wanted, dataset):
                    hdf5[file] = None
            elif is_image(file) and not file.name.startswith("."):
                stem, ending = series_name(file)
                match = _SERIES.match(stem)
                images.setdefault((file.parent, match[1] if match else stem, ending), []).append(file)
    for file in [file for file in hdf5 if file not in named]:
        for linked in linked_files(file):
            if linked not in named:
                hdf5.pop(linked, None)
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
    recipes_of: Callable[[Source], Sequence[RecipeSettings]],
    folder: Path | None = None,
    *,
    again: bool = False,
    refuse: Callable[[Source, DanmaxError], None] | None = None,
) -> list[Task]:
    """What is to be done. An image that one of the recipes names, such as a mask, is no source.

    Where a recipe names an image of its own for each data file, the images of a series are integrated one by one.

    Args:
        sources: the frames.
        recipes_of: recipes for each of them.
        folder: where to write, None beside the raw data.
        again: integrate also what is done.
        refuse: called with a source of which not even that can be said, and why; None lets the error out.
    """
    planned: list[Task] = []
    images: set[Path] = set()
    for source in sources:
        try:
            recipes = recipes_of(source)
            if len(source.paths) > 1 and any(depends_on_file(settings) for settings in recipes):
                apart = [Source((path,), source.dataset) for path in source.paths]
            else:
                apart = [source]
            tasks = [_task(one, settings, folder, again=again) for one in apart for settings in recipes]
            if len({task.output for task in tasks}) < len(tasks):
                names = ", ".join(settings.name for settings in recipes)
                raise SettingsError(f"recipes {names} of {source.name}: equal names would share one file of patterns")
        except DanmaxError as error:
            if refuse is None:
                raise
            refuse(source, error)
            continue
        planned += tasks
        images.update(file for task in tasks for file in files_named(task.settings, task.source.paths[0]))
    return [task for task in planned if task.source.paths[0] not in images]


def _task(source: Source, settings: RecipeSettings, folder: Path | None, *, again: bool) -> Task:
    output = output_path(_named(source), settings.name, folder)
    return Task(source, settings, output, _state(source, settings, output, again=again))


def _named(source: Source) -> Path:
    """What an output is named after: the file, or the series without its number."""
    first = source.paths[0]
    stem, ending = series_name(first)
    match = _SERIES.match(stem)
    named = stem if len(source.paths) == 1 or not match or not match[1] else match[1]
    return first.with_name(f"{named}.{ending.rpartition('.')[2]}") if is_image(first) else first


def _state(source: Source, settings: RecipeSettings, output: Path, *, again: bool) -> State:
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
    return "done" if written_s >= _newest(files_named(settings, source.paths[0])) else "other recipe"


def _files_of(source: Source, settings: RecipeSettings) -> list[Path]:
    """Files that patterns are made from: those of the frames, and those that a recipe names."""
    return [*source.paths, *files_named(settings, source.paths[0])]


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
    files = files_of_scan(paths[0])
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
    except Exception as caught:  # whatever a library raises over odd input, it is one source of many
        error = caught
        if not isinstance(caught, DanmaxError):
            _log.exception("%s", task.source.name)
            error = FormatError(f"{paths[0]} cannot be integrated: {type(caught).__name__}: {caught}")
        if files is not None:
            note_integration(files, recipe, paths[0], task.output, begun_s=begun_s, problems=[str(error)], failed=True)
        raise error from (caught if error is not caught else caught.__cause__)
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


def _number(file: Path) -> tuple[int, str]:
    match = _SERIES.match(series_name(file)[0])
    return (int(match[2]) if match else 0, file.name)
