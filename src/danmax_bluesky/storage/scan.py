"""A measured scan: its frames as arrays that are read when they are used, its patterns, and how it looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from danmax_bluesky.errors import StorageError
from danmax_bluesky.reprs import html_table
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.frame_stack import FrameSource
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.listing import computed_files
from danmax_bluesky.storage.patterns import StoredPatterns, read_patterns
from danmax_bluesky.storage.recovery import RECOVERED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEYS = {"projections": (ImageKey.PROJECTION,), "flats": (ImageKey.FLAT,), "darks": (ImageKey.DARK,)}
_KEYS |= {"alignment": (ImageKey.ALIGNMENT,)}


@dataclass(frozen=True)
class Scan:
    """A measured scan.

    Attributes:
        path: the file that was opened.
        title: of the scan, in Sardana's words.
        command: how the scan was called, as typed; "" where the file does not tell.
        status: "complete", "incomplete", "aborted", "failed", "open", or "" where the file does not tell.
        uid: of the run, or "".
        detectors: name -> Dataset with `data` (frame, y, x), read when used, and for each frame, as far as they are
            known, its `rotation_angle` in degrees with its `rotation_angle_flag` (as `AngleFlag`), `image_key`,
            `image_key_control`, exposure `count_time` in s, `time` (the middle of the exposure, seconds since 1970,
            UTC), `sequence_number` in the order taken over all kinds, `ring_current` in mA, `scale` (what the counts of
            a flat above the dark were multiplied by, so that it looks as if it had been exposed as long as a
            projection), and, where the sample stage moved, its `x_translation`, `y_translation` (the height) and
            `z_translation`.
        positions: segment -> Dataset of what was recorded for each row of it; "" for files without segments.
        snapshots: "start" and "end" -> Dataset of scalars, each with its units.
        provenance: the rows of the process table.
        missing: what the file points to and is not there, one sentence each.
        sources: detector -> the same frames as `detectors` has, for who reads them block by block: no frame is decoded
            but those asked for.
    """

    path: Path
    title: str = ""
    command: str = ""
    status: str = ""
    uid: str = ""
    detectors: Mapping[str, xr.Dataset] = field(default_factory=dict)
    positions: Mapping[str, xr.Dataset] = field(default_factory=dict)
    snapshots: Mapping[str, xr.Dataset] = field(default_factory=dict)
    provenance: tuple[Mapping[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    sources: Mapping[str, FrameSource] = field(default_factory=dict, repr=False)

    def detector(self, name: str | None = None) -> xr.Dataset:
        """The frames of a detector; without a name those of the only, or first, one.

        Raises:
            StorageError: there are none, with what is missing.
        """
        if name is None and self.detectors:
            return next(iter(self.detectors.values()))
        if name is None or name not in self.detectors:
            present = ", ".join(self.detectors) or "none"
            lost = "".join(f"\n  {text}" for text in self.missing)
            raise StorageError(f"{self.path}: no frames of {name or 'any detector'}; with frames: {present}{lost}")
        return self.detectors[name]

    @property
    def frames(self) -> xr.DataArray:
        """The projections, or the frames of a scan that has no darks and flats."""
        return self._of("projections")

    @property
    def flats(self) -> xr.DataArray:
        """The flat fields."""
        return self._of("flats")

    @property
    def darks(self) -> xr.DataArray:
        """The dark fields."""
        return self._of("darks")

    @property
    def alignment(self) -> xr.DataArray:
        """The frames taken on the way back, to see whether the sample has moved."""
        return self._of("alignment")

    @property
    def angles(self) -> xr.DataArray:
        """Rotation at mid exposure of each projection, degrees.

        Raises:
            StorageError: the scan knows no angles.
        """
        frames = self.frames
        if "rotation_angle" not in frames.coords:
            raise StorageError(
                f"{self.path}: the angles are not known" + "".join(f"\n  {text}" for text in self.missing)
            )
        return frames["rotation_angle"]

    @cached_property
    def start(self) -> Mapping[str, Any]:
        """The start document of the run, from the journal beside the file; empty where there is none."""
        journal = self.path.with_name(f"{_stem(self.path)}_documents.jsonl")
        name, document = next(read_journal(journal), ("", {})) if journal.is_file() else ("", {})
        return document if name == "start" else {}

    def patterns(self, detector: str = "", recipe: str = "", layout: str | None = None) -> StoredPatterns:
        """The integrated patterns of the scan, from `process/azint/`.

        Args:
            detector: name; "" takes the only one that is integrated, or the first.
            recipe: name; "" likewise. "azint" is the recipe that stands in no file's name.
            layout: "azint1d" or "azint2d" where the file holds both; None takes the one that is plotted.

        Raises:
            StorageError: there are none, with those that there are.
        """
        files = self.pattern_files()
        asked = [name for name in (detector, recipe) if name]
        in_name = [name for name in asked if name != "azint"]
        wanted = [path for path in files if all(f"_{name}_" in path.name for name in in_name)]
        if recipe == "azint":
            wanted = [path for path in wanted if self._names_no_recipe(path)]
        if not wanted:
            names = ", ".join(path.name for path in files) or "none"
            of = f" of {', '.join(asked)}" if asked else ""
            raise StorageError(
                f"{self.path}: no integrated patterns{of}; with patterns: {names}; `danmax azint` integrates a scan"
            )
        return read_patterns(wanted[0], layout)

    def _names_no_recipe(self, patterns: Path) -> bool:
        """Whether only the detector stands in the name of a file of patterns."""
        frames = patterns.stem.removesuffix("_integrated")
        detectors = {*self.detectors, *self.start.get("detectors", ())}
        return frames in {f"{_stem(self.path)}_{name}{end}" for name in detectors for end in ("", RECOVERED)}

    def pattern_files(self) -> list[Path]:
        """The files of integrated patterns that belong to the scan."""
        return [path for path in self._computed("azint") if path.name.endswith("_integrated.h5")]

    def slice_files(self) -> list[Path]:
        """The files of reconstructed slices that belong to the scan."""
        return [path for path in self._computed("tomo") if path.name.endswith("_slices.h5")]

    def plot(self) -> "Figure":
        """A figure of what the plan measured.

        A tomography is shown by a projection and a slice, a mesh by a map, a scan of a motor and a series by their
        patterns one below the other, a single exposure by its pattern, everything else by its last frame.

        Raises:
            StorageError: the scan holds no frames.
        """
        from danmax_bluesky.storage.scan_plots import plot_scan

        return plot_scan(self)

    def map(
        self, value: str = "I0", *, detector: str = "", recipe: str = "", region: Sequence[int] | None = None
    ) -> xr.DataArray:
        """One number of each frame of a map, at the point where it was measured; see `storage.maps.read_map`.

        Args:
            value: an integral parameter of the patterns, or anything that was recorded with each frame.
            detector: its name; "" takes the first one.
            recipe: its name, where the detector has several.
            region: first column, first row, width and height of a rectangle of the frames: the counts in it are summed.

        Returns:
            shape (n_rows, n_columns), NaN where nothing was measured; its coordinates are the positions of the motors.

        Raises:
            StorageError: the scan is no map, has no such detector, value or region, or its documents cannot be read.
        """
        from danmax_bluesky.storage.maps import read_map

        documents = ScanFiles.of(self.start).at(self.path.parent).documents
        return read_map(documents, value, detector=detector, recipe=recipe, region=region)

    def _computed(self, technique: str) -> list[Path]:
        if not self.start:
            return []
        files = ScanFiles.of(self.start).at(self.path.parent)
        return [path for path in computed_files(files) if path.relative_to(files.process).parts[0] == technique]

    def _of(self, kind: str) -> xr.DataArray:
        dataset = self.detector()
        if self.status == "open":
            raise StorageError(
                f"{self.path}: the run is still open, and what each of its frames shows is not known before it ends; "
                "wait for its end, or `danmax rebuild` it if its program died"
            )
        if "image_key_control" not in dataset.coords:
            return dataset["data"] if kind == "projections" else dataset["data"].isel(frame=slice(0))
        wanted = np.isin(dataset["image_key_control"].values, [int(key) for key in _KEYS[kind]])
        return _selected(dataset["data"], np.flatnonzero(wanted))

    def __repr__(self) -> str:
        lines = [f"<Scan {self.path.name}: {self.title} ({self.status or 'status unknown'})>"]
        for name, dataset in self.detectors.items():
            lines.append(f"  {name}: {kinds_of_frames(dataset)}, {_shape_of(dataset)}, {dataset['data'].dtype}")
        lines += [f"  missing: {text}" for text in self.missing[:5]]
        lines += [f"  and {len(self.missing) - 5} more missing"] if len(self.missing) > 5 else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        sample = (self.start.get("sample") or {}).get("name", "")
        rows = {
            "title": self.title,
            **({"command": self.command} if self.command else {}),
            "status": self.status,
            "sample": str(sample),
            "file": str(self.path),
        }
        for name, dataset in self.detectors.items():
            rows[name] = f"{kinds_of_frames(dataset)}, {_shape_of(dataset)}, {dataset['data'].dtype}"
        rows |= {"missing": "; ".join(self.missing)} if self.missing else {}
        return html_table(f"Scan {self.path.name}", rows)


def kinds_of_frames(dataset: xr.Dataset) -> str:
    """How many frames of each kind a detector has: "361 projections, 20 flats, 10 darks"."""
    count = dataset.sizes["frame"]
    keys = dataset["image_key_control"].values if "image_key_control" in dataset.coords else np.zeros(0)
    if not keys.any():  # nothing but what a scan without darks and flats has
        return f"{count} frame{'s' if count != 1 else ''}"
    counts = {name: int(np.isin(keys, [int(key) for key in wanted]).sum()) for name, wanted in _KEYS.items()}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _shape_of(dataset: xr.Dataset) -> str:
    return f"{dataset.sizes['y']} x {dataset.sizes['x']} pixels"


def _stem(path: Path) -> str:
    """What the names of all files of a scan begin with, such as scan-0001."""
    return path.stem.partition("_")[0]


def _selected(frames: xr.DataArray, rows: np.ndarray) -> xr.DataArray:
    """Some of the frames: as slices, which are read as such; picked one by one, whole blocks would be read for each."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
    parts = [frames.isel(frame=slice(int(run[0]), int(run[-1]) + 1)) for run in runs]
    if len(parts) <= 1:
        return parts[0] if parts else frames.isel(frame=slice(0))
    return xr.concat(parts, "frame", coords="minimal", join="override", combine_attrs="override")
