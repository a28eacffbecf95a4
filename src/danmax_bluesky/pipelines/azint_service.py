"""An integration service that works through new files by one calibration at a time, as SAXSDOG's server does.

New files come from a folder that is looked through, or from a feeder. A new calibration replaces the old one; what was
integrated by the old one is integrated again only if that is asked for.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.config import INSIDE, RECIPE_FILES, RecipeSettings
from danmax_bluesky.errors import DanmaxError, SettingsError, StorageError
from danmax_bluesky.pipelines.batch import LATER, TO_DO, Source, State, Task, find_sources, plan_tasks, run_task
from danmax_bluesky.pipelines.other_programs import recipes_of_saxsdog
from danmax_bluesky.pipelines.recipes import recipes_of
from danmax_bluesky.pipelines.saxsdog_feed import new_files
from danmax_bluesky.pipelines.scan_frames import journal_beside
from danmax_bluesky.storage.frames import HDF5_ENDINGS
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.patterns import read_history, read_patterns
from danmax_bluesky.storage.references import pointed_to

LOOK_EVERY_S = 2.0
HISTORY = 100_000
MOST_ANNOUNCED = 10_000
NEW: tuple[State, ...] = ("new", "to be continued", "outdated", "incomplete")
"""What a new calibration does; what the one before it has done is only done again if that is asked for."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HistoryEntry:
    """What became of one frame.

    Attributes:
        file: of patterns.
        frame: number in it.
        time_s: when it was taken, as far as the detector said, else when it was integrated; POSIX seconds.
        integrals: name -> value.
    """

    file: str
    frame: int
    time_s: float
    integrals: Mapping[str, float]


@dataclass
class _Queue:
    """One calibration at work."""

    recipes: list[RecipeSettings]
    folder: Path
    again: bool = False
    closed_s: float | None = None
    aborted: bool = False
    seen: dict[Path, Any] = field(default_factory=dict)
    done: int = 0
    frames: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    begun_s: float = field(default_factory=time.time)


class IntegrationService:
    """Integrates new files in a thread of its own.

    Args:
        root: folder below which it reads and writes, and nowhere else.
        feeder: 0MQ address that announces new files; "" looks through the folder instead.
        threads: blocks of frames at a time.
    """

    def __init__(self, root: Path, feeder: str = "", threads: int = 2) -> None:
        self.root = root.resolve()
        self._threads = threads
        self._feeder = feeder
        self._lock = threading.Lock()
        self._queue: _Queue | None = None
        self._announced: dict[Path, None] = {}
        self._history: deque[HistoryEntry] = deque(maxlen=HISTORY)
        self._latest: Path | None = None
        self._ending = threading.Event()
        self._workers = [threading.Thread(target=self._work, name="azint service", daemon=True)]
        if feeder:
            announced = new_files(feeder, lambda: not self._ending.is_set())
            self._workers.append(threading.Thread(target=self._listen, args=(announced,), name="azint feeder"))
            self._workers[-1].daemon = True
        for worker in self._workers:
            worker.start()

    def new(self, calibration: Mapping[str, Any], folder: str = "", detector: str = "pilatus") -> dict[str, Any]:
        """Begin with a calibration: a SAXSDOG one, a recipe, or {"recipes": [...]}; an old queue is aborted.

        Raises:
            DanmaxError: it cannot be used.
        """
        _check_mapping("the calibration", calibration)
        path = self._folder(folder or "/".join(map(str, calibration.get("Directory") or ())))
        recipes = self._recipes(calibration, path, detector)
        self._begin(_Queue(recipes, path))
        return {"result": "new queue", "data": self.status()["data"]}

    def abort(self) -> dict[str, Any]:
        """End the queue: what is under way is finished, the rest is left."""
        with self._lock:
            if self._queue:
                self._queue.aborted = True
        return {"result": "queue aborted", "data": self.status()["data"]}

    def close_queue(self) -> dict[str, Any]:
        """Take no new files; what is there already is worked through."""
        with self._lock:
            if self._queue and self._queue.closed_s is None:
                self._queue.closed_s = time.time()
        return {"result": "queue closed", "data": self.status()["data"]}

    def clear(self) -> dict[str, Any]:
        """Forget the history."""
        with self._lock:
            self._history.clear()
            if self._queue:
                self._queue.done = self._queue.frames = 0
                self._queue.failed.clear()
        return {"result": "cleared", "data": self.status()["data"]}

    def reintegrate(self, calibration: Mapping[str, Any] | None = None, detector: str = "pilatus") -> dict[str, Any]:
        """Integrate everything in the folder again, by a new calibration or the same.

        Raises:
            DanmaxError: there is no queue, or the calibration cannot be used.
        """
        with self._lock:
            current = self._queue
        if current is None:
            raise SettingsError("there is no queue; send a calibration with `new` first")
        recipes = current.recipes if not calibration else self._recipes(calibration, current.folder, detector)
        self._begin(_Queue(recipes, current.folder, again=True))
        return {"result": "reintegrating", "data": self.status()["data"]}

    def status(self) -> dict[str, Any]:
        """What goes on."""
        with self._lock:
            current = self._queue
            data: dict[str, Any] = {"history": len(self._history), "feeder": self._feeder, "root": str(self.root)}
            if current is None:
                return {"result": "no queue", "data": data}
            seconds = max(time.time() - current.begun_s, 1e-9)
            data |= {
                "folder": str(current.folder),
                "recipes": [recipe.name for recipe in current.recipes],
                "state": "aborted" if current.aborted else "running" if current.closed_s is None else "closed",
                "files processed": current.done,
                "images processed": current.frames,
                "images per second": current.frames / seconds,
                "failed": [f"{name}: {text}" for name, text in current.failed.items()],
                "latest": None if self._latest is None else str(self._latest),
            }
        return {"result": data["state"], "data": data}

    def history(self, limit: int = 1000) -> dict[str, Any]:
        """Integral parameters of the last frames."""
        with self._lock:
            last = list(self._history)[-limit:]
        return {"result": "history", "data": [vars(entry) for entry in last]}

    def latest(self) -> dict[str, Any]:
        """The last pattern that was written, to be plotted."""
        with self._lock:
            path = self._latest
        if path is None:
            raise SettingsError("no pattern was written yet")
        patterns = read_patterns(path, first=-1)
        return {
            "result": "pattern",
            "data": {
                "file": str(path),
                "frame": int(patterns.index[-1]),
                "axis": patterns.radial_axis.tolist(),
                "quantity": patterns.quantity,
                "unit": patterns.unit,
                "intensity": _numbers(patterns.intensity[-1]),
                "sigma": None if patterns.sigma is None else _numbers(patterns.sigma[-1]),
            },
        }

    def close(self) -> None:
        """End."""
        self._ending.set()
        for worker in self._workers:
            worker.join(30)

    def _inside(self, path: Path) -> Path:
        """The path that one below the root stands for, with every link followed.

        Raises:
            SettingsError: it lies outside the root.
        """
        try:
            followed = (self.root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # links in a circle, a character NUL
            raise SettingsError(f"{path} is no path: {error}") from None
        if not followed.is_relative_to(self.root):
            raise SettingsError(f"{path} lies outside {self.root}, which this server keeps to, also through links")
        return followed

    def _folder(self, folder: str) -> Path:
        path = self._inside(Path(folder))
        if not os.path.isdir(path):
            raise SettingsError(f"{path} is no folder")
        return path

    def _recipes(self, calibration: Mapping[str, Any], folder: Path, detector: str) -> list[RecipeSettings]:
        _check_mapping("the calibration", calibration)
        if "Geometry" not in calibration:
            entries = calibration.get("recipes", [calibration])
            return recipes_of({"detector": detector, **self._with_paths(entry)} for entry in entries)
        for mask in calibration.get("Masks", ()):
            _check_mapping("a mask", mask)
            if mask.get("MaskFile"):
                self._inside(folder / str(mask["MaskFile"]))
        text = json.dumps(dict(calibration), sort_keys=True)
        name = f"calibration-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return recipes_of_saxsdog(text, name, folder, self._inside(Path(".azint_server")), detector)

    def _with_paths(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The same recipe, with the files that it names as paths below the root."""
        _check_mapping("a recipe", entry)
        files = {
            name: self._inside(Path(str(entry[name]).partition(INSIDE)[0])) for name in RECIPE_FILES if entry.get(name)
        }
        for name, file in files.items():
            if not os.path.isfile(file):
                raise SettingsError(f"{name} {file} does not exist; put it below {self.root} first")
        parts = {name: str(entry[name]).partition(INSIDE)[1:] for name in files}
        return {**entry, **{name: f"{file}{''.join(parts[name])}" for name, file in files.items()}}

    def _begin(self, fresh: _Queue) -> None:
        """Put a queue in the place of the one that is there."""
        with self._lock:
            if self._queue:
                self._queue.aborted = True
            self._queue = fresh

    def _listen(self, announced: Iterator[Path | None]) -> None:
        for path in announced:
            if path is None:
                continue
            try:
                followed = self._inside(path)
            except SettingsError as error:
                _log.warning("announced: %s", error)
                continue
            with self._lock:
                self._announced[followed] = None
                if len(self._announced) > MOST_ANNOUNCED:
                    gone = next(iter(self._announced))
                    del self._announced[gone]
                    _log.warning("%s was announced and did not come; it is forgotten", gone)

    def _work(self) -> None:
        while not self._ending.is_set():
            with self._lock:
                current = self._queue
            tasks = []
            if current is not None and not current.aborted:
                try:
                    tasks = self._tasks(current)
                except Exception as error:  # nothing that lies in the folder may end the service
                    self._refuse(current, str(current.folder), error)
            for task in tasks:
                if current is None or current.aborted or self._ending.is_set():
                    break
                current.seen[task.output] = task.stamp
                try:
                    self._run(current, task)
                except Exception as error:  # one file may not end the service
                    self._refuse(current, task.source.name, error)
            if not tasks:
                self._ending.wait(0.1 if current is None or self._feeder else LOOK_EVERY_S)

    def _refuse(self, current: _Queue, name: str, error: Exception) -> None:
        text = str(error) if isinstance(error, DanmaxError) else f"{type(error).__name__}: {error}"
        with self._lock:
            is_repeated = current.failed.get(name) == text
            current.failed[name] = text
        if not is_repeated:
            _log.warning("%s: %s", name, text)

    def _tasks(self, current: _Queue) -> list[Task]:
        """What is there to be done, and was not tried yet."""
        detectors = {recipe.detector for recipe in current.recipes}
        fed = self._feeder and not current.again
        with self._lock:
            paths = list(self._announced) if fed else [current.folder]
        sources = find_sources(
            [path for path in paths if path.exists()],
            detectors,
            refuse=lambda error: self._refuse(current, str(current.folder), error),
        )
        if current.closed_s is not None:
            last = current.closed_s
            sources = [source for source in sources if source.paths[-1].stat().st_mtime <= last]

        def refuse(source: Source, error: DanmaxError) -> None:
            self._refuse(current, source.name, error)

        sources = [source for source in sources if self._keeps_inside(source, refuse)]
        tasks = list(plan_tasks(sources, lambda _: current.recipes, again=current.again, refuse=refuse))
        if fed:
            growing = {task.source.paths[0] for task in tasks if task.state in LATER}
            with self._lock:
                for path in paths:
                    if path.exists() and path.absolute() not in growing:
                        self._announced.pop(path, None)
        wanted = TO_DO if current.again else NEW
        return [task for task in tasks if task.state in wanted and current.seen.get(task.output) != task.stamp]

    def _keeps_inside(self, source: Source, refuse: Callable[[Source, DanmaxError], None]) -> bool:
        """True if the frames lie below the root, with every link followed."""
        try:
            for path in source.paths:
                self._inside(path)
        except SettingsError as error:
            refuse(source, error)
            return False
        return True

    def _check_inside(self, task: Task) -> None:
        """Refuse what would be read or written outside the root, through links of the system or inside the files.

        Raises:
            SettingsError: a file lies outside.
            StorageError: a file cannot be read.
        """
        self._inside(task.output)
        read = set(task.source.paths)
        beside = journal_beside(task.source.paths[0])
        if beside is not None:
            segments = record_of(beside[0]).segments
            read |= {source.file for segment in segments for source in segment.external.values()}
        for path in read:
            self._inside(path)
        for _, target in pointed_to(path for path in read if path.suffix in HDF5_ENDINGS and path.exists()):
            self._inside(target)

    def _run(self, current: _Queue, task: Task) -> None:
        self._check_inside(task)
        report = run_task(task, threads=self._threads, again=current.again)
        index, columns, integrals = read_history(report.output)
        taken = columns.get("timestamp", np.full(len(index), time.time()))
        entries = [
            HistoryEntry(
                str(report.output),
                int(number),
                float(taken[row]) if row < len(taken) else time.time(),
                {name: _number(values[row]) for name, values in integrals.items()},
            )
            for row, number in enumerate(index)
        ]
        with self._lock:
            self._history.extend(entries)
            self._latest = report.output
            current.done += 1
            current.frames += report.frames
            current.failed.pop(task.source.name, None)
        if report.problems:
            self._refuse(current, task.source.name, StorageError("; ".join(report.problems)))


def _check_mapping(what: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{what} must be a JSON object, not {value!r}")


def _number(value: Any) -> Any:
    return float(value) if np.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[Any]:
    return [_number(value) for value in np.asarray(values).ravel()]
