"""One recipe on its way into one file of patterns."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.nxazint import (
    CONTRAST,
    PROBLEMS,
    STATE,
    data_path,
    frames_path,
    integral_path,
    monitor_path,
)
from danmax_bluesky.formats.tree import Group
from danmax_bluesky.pipelines.blocks import Block
from danmax_bluesky.pipelines.pattern_header import header_tree
from danmax_bluesky.pipelines.recipes import PreparedRecipe
from danmax_bluesky.pipelines.worker_messages import ScanInfo
from danmax_bluesky.runs.pattern_streams import FRAME_NUMBER, FRAME_TIME
from danmax_bluesky.scattering.checks import orientation_warnings, ring_contrast
from danmax_bluesky.scattering.classifiers import NAMES, integral_parameters
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.matrix import effective_mask
from danmax_bluesky.scattering.validity import share_warnings
from danmax_bluesky.storage.locks import WriterLock
from danmax_bluesky.storage.patterns import INDEX, PatternFile, StoredRows

MEASURING, NORMALISING, COMPLETE, INCOMPLETE = range(4)
_COPY_ROWS = 256
_NAMED = 3
"""So many frames are named in a sentence about them."""
_log = logging.getLogger(__name__)

IfExists = Literal["refuse", "replace", "resume"]


class RecipeOutput:
    """Writes the patterns of one recipe, block by block.

    Args:
        prepared: the recipe, bound to the frames.
        integrators: layout -> integrator.
        path: the file of patterns.
        info: what is known of the scan.
        inputs: the files that are integrated.
        if_exists: what to do with a file of the same run: refuse, replace it, or continue it.
        timestamps: gives what the detector said so far of when each frame was taken, POSIX seconds.
        wait_s: how long to wait for another process that writes the file: who writes it holds its lock, from here on
            until it is closed.

    Raises:
        StorageError: another process writes the file; or it is not this run's; or it cannot be written.

    Attributes:
        done: number of the last frame that is written, -1 at first.
        resumed: rows that were there already.
    """

    def __init__(
        self,
        prepared: PreparedRecipe,
        integrators: Mapping[str, Integrator],
        path: Path,
        info: ScanInfo,
        inputs: Sequence[str],
        if_exists: IfExists = "refuse",
        timestamps: Callable[[], np.ndarray | None] | None = None,
        wait_s: float = 1.0,
    ) -> None:
        self.prepared = prepared
        self.integrators = dict(integrators)
        self.path = path
        self.resumed = 0
        self.info = info
        self._timestamps = timestamps
        self._layouts = list(self.integrators)
        self._unread: dict[int, str] = {}
        tree = header_tree(prepared, self.integrators, info, inputs)
        self._lock = WriterLock(path, wait_s)
        try:
            self._file = self._opened(tree, if_exists)
        except BaseException:
            self._lock.release()
            raise
        index = self._file.index()
        self.done = int(index[-1]) if len(index) else -1
        self._has_errors = {name: f"{data_path(self._layouts, name)}/I_errors" in self._file for name in self._layouts}

    def _opened(self, tree: Group, if_exists: IfExists) -> PatternFile:
        """The file, with the rows in it that are to be continued."""
        old = None if if_exists == "refuse" or not self.path.exists() else _stored(self.path)
        try:
            file = PatternFile.create(self.path, tree, replace_own=if_exists != "refuse")
            if if_exists == "resume" and old is not None:
                if old.key == tree.attrs["recipe_key"] and old.state == MEASURING:
                    self._copy(old, file)
        finally:
            if old is not None:
                old.close()
        return file

    def write(self, block: Block) -> None:
        """Append a block; its patterns are looked for under "<recipe>/<layout>".

        Raises:
            StorageError: the disk is full, or the like.
        """
        rows: dict[str, np.ndarray] = {}
        first = len(self._file)
        masked = np.zeros(len(block.index), np.int64)
        for name in self._layouts:
            patterns = block.patterns[self.key(name)]
            data = data_path(self._layouts, name)
            rows[f"{data}/I"] = patterns.intensity.astype(np.float32)
            if self._has_errors[name]:
                rows[f"{data}/I_errors"] = patterns.sigma.astype(np.float32)
            masked = np.maximum(masked, patterns.masked)
            for row in np.flatnonzero(patterns.masked):
                norm = patterns.norm[row : row + 1].astype(np.float32)
                self._file.write(f"{data}/frame_norm", first + int(row), norm)
        rows[frames_path("valid")] = np.array([int(i) not in block.errors for i in block.index], np.uint8)
        rows[frames_path("masked_pixels")] = masked
        rows |= {integral_path(name): values for name, values in self.integrals(block).items()}
        self._file.append(block.index, rows)
        self._unread |= block.errors
        self.done = int(block.index[-1])

    def check(self, image: np.ndarray) -> list[str]:
        """What speaks against the orientation and the valid counts, seen in one frame; the first is put on record."""
        contrast, warnings = frame_warnings(next(iter(self.integrators.values())), image)
        self._file.set(CONTRAST, contrast)
        return [f"{self.path.name}: {text}" for text in warnings]

    def integrals(self, block: Block) -> dict[str, np.ndarray]:
        """Integral parameters of each frame of a block, of the layout that is plotted."""
        first = self._layouts[0]
        edges = self.integrators[first].matrix.radial_edges
        intensity = block.patterns[self.key(first)].intensity
        return integral_parameters(edges, intensity, self.prepared.settings.integral_range).columns()

    def index(self) -> np.ndarray:
        """Number of each frame that is written."""
        return self._file.index()

    def datasets(self) -> dict[str, dict[str, tuple[str, tuple[int, ...]]]]:
        """Layout -> data key -> HDF5 path and shape of one pattern.

        The keys of the layout that is plotted are "I" and, with errors, "I_errors"; others begin with its name.
        """
        return {
            layout: {
                f"{prefix}{kind}": (f"{data_path(self._layouts, layout)}/{kind}", self.prepared.recipes[layout].shape)
                for kind in (("I", "I_errors") if self._has_errors[layout] else ("I",))
            }
            for layout, prefix in ((name, f"{name}_" if number else "") for number, name in enumerate(self._layouts))
        }

    def rows(self, dataset: str, first: int, last: int) -> np.ndarray:
        """Rows of a dataset of the file, by its HDF5 path, shape (last - first, ...)."""
        return self._file.rows(dataset, first, last)

    def columns_from(self, first: int) -> dict[str, np.ndarray]:
        """What the documents say of each pattern from row `first` on: integrals, number and time of its frame."""
        last = len(self._file)
        numbers = self._file.rows(INDEX, first, last)
        columns = {name: self._file.rows(integral_path(name), first, last) for name in NAMES}
        return {**columns, FRAME_NUMBER: numbers, FRAME_TIME: self._taken_at(numbers)}

    def __len__(self) -> int:
        return len(self._file)

    def _taken_at(self, numbers: np.ndarray) -> np.ndarray:
        """When frames were taken, POSIX seconds, NaN where the detector does not say it; shape (n,)."""
        moments = np.full(len(numbers), np.nan)
        said = None if self._timestamps is None else self._timestamps()
        if said is not None:
            is_said = numbers < len(said)
            moments[is_said] = said[numbers[is_said]]
        return moments

    def key(self, layout: str) -> str:
        """Name of this recipe's patterns of one layout in a block."""
        return f"{self.prepared.settings.name}/{layout}"

    def finish(
        self,
        columns: Mapping[str, np.ndarray] | None = None,
        *,
        complete: bool = True,
        problems: Sequence[str] = (),
    ) -> list[str]:
        """Write what is known of each frame, divide by the monitor, and close.

        The file is complete only if nothing went wrong; one that is not, for that reason, is made again later.

        Args:
            columns: name -> values, shape (n_rows, ...); one that is shorter leaves the last rows without.
            complete: every frame that was planned was measured.
            problems: what went wrong before, one sentence each.

        Returns:
            Everything that went wrong, one sentence each.
        """
        failures = list(problems)
        rows = len(self._file)
        valid = self._file.rows(frames_path("valid"), 0, rows) > 0
        if not valid.all():
            failures.append(self._about(~valid, "could not be read"))
        for name, values in (columns or {}).items():
            if frames_path(name) in self._file:
                self._file.write(frames_path(name), 0, values[:rows])
        monitor = self.prepared.settings.monitor
        if monitor:
            values = (columns or {}).get(monitor)
            if values is None or len(values) < rows:
                number = 0 if values is None else len(values)
                failures.append(f"{self.path}: monitor {monitor!r} is known of {number} of {rows} frames; not applied")
            else:
                counted = self._normalise(np.asarray(values[:rows], float))
                if not counted.all():
                    failures.append(self._about(~counted, f"have a monitor {monitor!r} that is no number above 0"))
                    self._file.write(frames_path("valid"), 0, (valid & counted).astype(np.uint8))
        self._file.set(PROBLEMS, len(failures))
        self._file.set(STATE, COMPLETE if complete and not failures else INCOMPLETE)
        self._file.close()
        self.close()
        return failures

    def close(self) -> None:
        """Close the file as it is, so that another process may continue it; doing so twice is no error.

        A file whose end did not fit on the disk opens nowhere. It is removed: its patterns can be made again.
        """
        try:
            self._file.close()
        except StorageError as error:
            _log.warning("%s; what there was of it is removed", error)
            self.path.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def __enter__(self) -> "RecipeOutput":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Close the file. After an error it is removed if no pattern is in it; else it can be continued."""
        discard = isinstance(error, Exception) and not len(self)
        self.close()
        if discard:
            self.path.unlink(missing_ok=True)

    def _about(self, rows: np.ndarray, what: str) -> str:
        """A sentence about some rows, with the first of their frames."""
        numbers = self.index()[rows].tolist()
        named = [f"frame {number}" + (f": {why}" if (why := self._unread.get(number)) else "") for number in numbers]
        more = [f"and {len(numbers) - _NAMED} more"] if len(numbers) > _NAMED else []
        examples = "; ".join([*named[:_NAMED], *more])
        return f"{self.path}: {len(numbers)} of {len(rows)} frames {what}, and their patterns are NaN: {examples}"

    def _normalise(self, monitor: np.ndarray) -> np.ndarray:
        """Divide by the monitor, relative to its reference; the norm is left, as NXazint has it.

        Returns:
            For each row whether its monitor counted anything; the patterns of the others become NaN.
        """
        self._file.set(STATE, NORMALISING)
        relative = monitor / self.prepared.settings.monitor_reference
        counted = (relative > 0) & np.isfinite(relative)
        relative = np.where(counted, relative, np.nan)
        self._normalise_integrals(relative)
        for name in self._layouts:
            data = data_path(self._layouts, name)
            for dataset in ("I", "I_errors") if self._has_errors[name] else ("I",):
                self._file.scale(f"{data}/{dataset}", 1.0 / relative)
            self._file.write(monitor_path(self._layouts, name), 0, monitor)
            self._file.set(f"{data.removesuffix('data')}monitor_applied", True)
        return counted

    def _normalise_integrals(self, relative: np.ndarray) -> None:
        for name in NAMES[:3]:  # the correlation length is a ratio
            self._file.scale(integral_path(name), 1.0 / relative)

    def _copy(self, old: StoredRows, file: PatternFile) -> None:
        for first in range(0, len(old), _COPY_ROWS):
            block = old.read(first, min(first + _COPY_ROWS, len(old)))
            file.append(block.pop("index"), block)
        for name in self._layouts:
            path = f"{data_path(self._layouts, name)}/frame_norm"
            for row, norm in old.sparse(path):
                file.write(path, row, norm)
        self.resumed = len(old)


def frame_warnings(integrator: Integrator, image: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What a frame tells of the calibration and of the mask.

    Args:
        integrator: by which it is integrated.
        image: counts, shape (H, W).

    Returns:
        What rings explain of it, for orientation 1 to 4, shape (4,); and what speaks against the orientation and the
        valid counts, one sentence each.
    """
    recipe = integrator.recipe
    contrast = ring_contrast(recipe.geometry, image, recipe.mask)
    limits = integrator.valid_counts(image.dtype)
    warnings = share_warnings(image, effective_mask(recipe), limits, recipe.dummy)
    return contrast, warnings + orientation_warnings(recipe.geometry, contrast)


def _stored(path: Path) -> StoredRows | None:
    """The patterns that are in a file already; None if it holds something else, which will not be replaced."""
    try:
        return StoredRows.of(path)
    except KeyError:
        return None
    except StorageError as error:
        raise StorageError(
            f"{error}\nIt held patterns alone, which can be made again: delete it, and integrate again"
        ) from None


def state_of(path: Path) -> int | None:
    """How far the integration in a file went, or None if it is no file of patterns of this program."""
    return known_state(path)[0]


def known_state(path: Path) -> tuple[int | None, str, int]:
    """How far the integration in a file went, by which settings (JSON), and how many things went wrong.

    None, "" and 0 if the file is none of ours.
    """
    with suppress(StorageError, KeyError):
        old = StoredRows.of(path)
        try:
            return old.state, old.settings, old.problems
        finally:
            old.close()
    return None, "", 0
