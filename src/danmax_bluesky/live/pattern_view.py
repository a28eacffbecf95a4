"""The patterns of a scan as they are looked at: the latest over earlier ones, all as a map, and the cake."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from danmax_bluesky.errors import FormatError
from danmax_bluesky.live.following import Following
from danmax_bluesky.live.frame_view import MOST_PX, contrast
from danmax_bluesky.live.scans import is_inside
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.scattering.peaks import expected_lines_deg
from danmax_bluesky.scattering.photon_energy import KEV_ANGSTROM
from danmax_bluesky.scattering.text_formats import two_theta_deg
from danmax_bluesky.storage.patterns import StoredPatterns, layouts_of, read_history, read_patterns

MOST_ROWS = 300
"""Patterns of the map; when there are more, every second one is left out."""
EARLIER = 6
"""Patterns that are drawn behind the latest one."""
HISTORY_EVERY_S = 0.3
"""How long what is known of each pattern is taken as the latest, seconds."""
SPEED_LOOKS = 20
"""Looks over which the speed of the integration is a mean."""
FRAME = "frame"
CALIBRANTS = ("CeO2", "LaB6", "Si", "Al2O3", "AgBh")
"""Those that are offered; any other can be named by its file."""
_MOST_COLUMNS = MOST_PX
_NO_CHANNEL = {"valid", "masked_pixels", "frame_number", "rotation_angle_flag"}


@dataclass(frozen=True, eq=False)
class PatternView:
    """Patterns, ready to be drawn.

    Attributes:
        detector: its name.
        recipe: name of the recipe.
        file: of the patterns.
        number: of patterns in the file.
        index: number of the frame of the latest pattern.
        radial: centres of the bins, shape (n,).
        label: of the radial axis, with its unit.
        intensity: of the latest pattern, shape (n,); NaN where there is no pixel.
        sigma: its standard error, shape (n,), or None where the error model gives none.
        earlier: patterns before it, the oldest first, each of shape (n,).
        map: the patterns one above the other, float32, shape (rows, columns), reduced to the screen.
        map_every: each how many-th pattern became a row of the map.
        low: contrast of the map.
        high: contrast of the map.
        channel: what the rows of the map stand at.
        along: its value for each row of the map, shape (rows,).
        channels: what else they could stand at.
        lines: positions of the lines of the calibrant, in the unit of `radial`.
        cake: intensities, shape (azimuths, n), of the latest frame, or None.
        azimuth_deg: limits of the cake's azimuths.
    """

    detector: str
    recipe: str
    file: Path
    number: int
    index: int
    radial: np.ndarray
    label: str
    intensity: np.ndarray
    sigma: np.ndarray | None
    earlier: tuple[np.ndarray, ...]
    map: np.ndarray
    map_every: int
    low: float
    high: float
    channel: str
    along: np.ndarray
    channels: tuple[str, ...]
    lines: np.ndarray
    cake: np.ndarray | None = None
    azimuth_deg: tuple[float, float] = (0.0, 360.0)


@dataclass(frozen=True, eq=False)
class Curve:
    """The pattern of one frame.

    Attributes:
        radial: centres of the bins, shape (n,).
        label: of the radial axis, with its unit.
        intensity: shape (n,); NaN where there is no pixel.
    """

    radial: np.ndarray
    label: str
    intensity: np.ndarray


@dataclass(frozen=True, eq=False)
class History:
    """What is known of each pattern of a file, without the patterns.

    Attributes:
        index: number of the frame of each pattern, shape (n,).
        integrals: I0, I1, ...: name -> values, shape (n,).
        channels: what they can stand against: name -> values, shape (n,).
        per_s: patterns that came in a second, of late; None as long as it is not known.
    """

    index: np.ndarray
    integrals: dict[str, np.ndarray]
    channels: dict[str, np.ndarray]
    per_s: float | None


@dataclass
class _Rows:
    """Some of the patterns of a file, evenly spread, and the last ones."""

    layout: str
    number: int = 0
    every: int = 1
    rows: list[np.ndarray] = field(default_factory=list[np.ndarray])
    numbers: list[int] = field(default_factory=list[int])


class PatternsOfScan:
    """Reads the patterns of a scan, each once."""

    def __init__(self, scan: Following, roots: tuple[Path, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._scan = scan
        self._roots = roots
        self._rows: dict[Path, _Rows] = {}
        self._clock = clock
        self._histories: dict[Path, tuple[float, History]] = {}
        self._seen: dict[Path, deque[tuple[float, int]]] = {}

    def choices(self) -> dict[str, Path]:
        """What was integrated, or will be: "detector, recipe" -> its file."""
        record = self._scan.record
        choices: dict[str, Path] = {}
        if record is None:
            return choices
        for recipe in record.start.get("recipes") or ():
            detector, name = str(recipe["detector"]), str(recipe.get("name", "azint"))
            sources = [segment.images[detector] for segment in record.segments if detector in segment.images]
            if sources:
                choices[f"{detector}, {name}"] = output_path(sources[-1].file, name)
        return {label: path for label, path in choices.items() if path.exists()}

    def view(self, choice: str, channel: str = FRAME, calibrant: str = "") -> PatternView | None:
        """What is shown; None as long as there is no pattern.

        Args:
            choice: one of `choices`.
            channel: that the rows of the map stand at: "frame", or one of `PatternView.channels`.
            calibrant: pyFAI's name; "" shows no lines.

        Raises:
            StorageError: the file cannot be read.
            FormatError: it lies elsewhere than the page may read.
            CalibrationError: there is no such calibrant.
        """
        path = self._path(choice)
        if path is None:
            return None
        layouts = layouts_of(path)
        flat = next((name for name in layouts if name != "azint2d"), layouts[0])
        rows = self._rows.setdefault(path, _Rows(flat))
        latest = read_patterns(path, flat or None, first=-(EARLIER + 1))
        if not len(latest.intensity) or latest.intensity.shape[-1] != len(latest.radial_axis):
            return None
        history = self._read_history(path)
        number = self._grow(rows, path, latest, len(history.index))
        one = [_flattened(pattern) for pattern in latest.intensity]
        sigma = None if latest.sigma is None else _flattened(latest.sigma[-1])
        shown = np.array([reduced_row(row) for row in rows.rows], np.float32)
        low, high = contrast(shown[np.isfinite(shown)])
        values = {**history.channels, **history.integrals}
        channels = tuple(values)
        at = np.array(rows.numbers, int)
        along = at.astype(float)
        if channel in channels and len(values[channel]) >= number:
            along = np.asarray(values[channel], float)[at]
            shown, along = on_even_steps(shown, along)
        else:
            channel = FRAME
        two = read_patterns(path, "azint2d", first=-1) if "azint2d" in layouts and len(layouts) > 1 else None
        if two is None and latest.intensity.ndim == 3:
            two = latest
        detector, _, recipe = choice.partition(", ")
        return PatternView(
            detector=detector,
            recipe=recipe,
            file=path,
            number=number,
            index=int(latest.index[-1]),
            radial=latest.radial_axis,
            label=_label(latest),
            intensity=one[-1],
            sigma=sigma,
            earlier=tuple(one[:-1]),
            map=shown,
            map_every=rows.every,
            low=low,
            high=high,
            channel=channel,
            along=along,
            channels=channels,
            lines=self._lines(latest, calibrant),
            cake=None if two is None else two.intensity[-1].astype(np.float32),
            azimuth_deg=_limits(two),
        )

    def curve(self, detector: str, row: int) -> Curve | None:
        """The pattern of one frame of a detector, by its first recipe; None as long as there is none.

        Args:
            detector: its name.
            row: of the frame in the detector's file.

        Raises:
            StorageError: the file cannot be read.
        """
        choice = next((name for name in self.choices() if name.startswith(f"{detector}, ")), "")
        path = self._path(choice)
        if path is None:
            return None
        at = np.flatnonzero(self._read_history(path).index == row)
        if not at.size:
            return None
        layouts = layouts_of(path)
        layout = next((name for name in layouts if name != "azint2d"), layouts[0])
        pattern = read_patterns(path, layout or None, first=int(at[-1]), every=1_000_000_000)
        return Curve(pattern.radial_axis, _label(pattern), _flattened(pattern.intensity[0]))

    def history(self, choice: str) -> History | None:
        """What is known of each pattern; None as long as there is none.

        Args:
            choice: one of `choices`.

        Raises:
            StorageError: the file cannot be read.
            FormatError: it lies elsewhere than the page may read.
        """
        path = self._path(choice)
        return None if path is None else self._read_history(path)

    def _path(self, choice: str) -> Path | None:
        path = self.choices().get(choice)
        if path is not None and not is_inside(path, self._roots):
            raise FormatError(f"{path} lies in none of the folders that the page may read")
        return path

    def _read_history(self, path: Path) -> History:
        moment = self._clock()
        last = self._histories.get(path)
        if last is not None and moment - last[0] < HISTORY_EVERY_S:
            return last[1]
        index, recorded, integrals = read_history(path)
        seen = self._seen.setdefault(path, deque(maxlen=SPEED_LOOKS))
        seen.append((moment, len(index)))
        lasted, came = moment - seen[0][0], len(index) - seen[0][1]
        channels = {
            name: values for name, values in recorded.items() if name not in _NO_CHANNEL and values.dtype.kind in "iuf"
        }
        history = History(index, integrals, channels, came / lasted if lasted > 0 else None)
        self._histories[path] = moment, history
        return history

    def _grow(self, rows: _Rows, path: Path, latest: StoredPatterns, number: int) -> int:
        """Read the rows that came since the last time; how many there are in all."""
        if rows.number and len(latest.intensity) and rows.numbers and rows.numbers[-1] >= 0:
            first = rows.numbers[-1] + rows.every
        else:
            first = 0
        if number < rows.number:  # it was integrated again
            rows.rows, rows.numbers, rows.every, first = [], [], 1, 0
        while first == 0 and -(-number // rows.every) > MOST_ROWS:
            rows.every *= 2
        if first < number:
            more = read_patterns(path, rows.layout or None, first=first, every=rows.every)
            rows.rows += [_flattened(pattern).astype(np.float32) for pattern in more.intensity]
            rows.numbers += [first + step * rows.every for step in range(len(more.intensity))]
        rows.number = number
        while len(rows.rows) > MOST_ROWS:
            rows.rows, rows.numbers, rows.every = rows.rows[::2], rows.numbers[::2], rows.every * 2
        return number

    def _lines(self, patterns: StoredPatterns, calibrant: str) -> np.ndarray:
        """Where a calibrant has its lines, in the unit of the axis."""
        record = self._scan.record
        energy = None if record is None else (record.start.get("source") or {}).get("energy_kev")
        if not calibrant or not energy:
            return np.empty(0)
        wavelength_a = KEV_ANGSTROM / float(energy)
        axis = patterns.radial_axis
        angles = two_theta_deg(axis, patterns.quantity, patterns.unit, wavelength_a)
        lines = expected_lines_deg(calibrant, wavelength_a * 1e-10, (float(angles[0]), float(angles[-1])))
        return np.interp(lines, angles, axis)


_SYMBOLS = {"q": "q", "2theta": "2θ", "r": "r"}
_UNITS = {"1/angstrom": "Å⁻¹", "1/nm": "nm⁻¹", "degree": "degrees"}


def _label(patterns: StoredPatterns) -> str:
    return f"{_SYMBOLS.get(patterns.quantity, patterns.quantity)} / {_UNITS.get(patterns.unit, patterns.unit)}"


def on_even_steps(rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of a value, and at even steps of it: each is the one that was measured nearest to its step.

    Args:
        rows: shape (n, columns).
        values: of each row, shape (n,); rows without one (NaN) are left out.

    Returns:
        the rows, and the value of each step; nothing if no row has a value.
    """
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.argsort(values[finite], kind="stable")]
    if not order.size:
        return rows[:0], values[:0]
    rising = values[order]
    steps = np.linspace(rising[0], rising[-1], len(order))
    after = np.clip(np.searchsorted(rising, steps), 1, max(1, len(rising) - 1))
    before = after - 1
    after = np.minimum(after, len(rising) - 1)
    nearest = np.where(steps - rising[before] <= rising[after] - steps, before, after)
    return rows[order[nearest]], steps


def reduced_row(pattern: np.ndarray) -> np.ndarray:
    """Means of neighbouring bins, at most as many as a screen shows; the last one may be of fewer."""
    step = max(1, -(-len(pattern) // _MOST_COLUMNS))
    if step == 1:
        return pattern
    padded = np.full(-(-len(pattern) // step) * step, np.nan)
    padded[: len(pattern)] = pattern
    blocks = padded.reshape(-1, step)
    number = np.isfinite(blocks).sum(axis=1)
    return np.where(number > 0, np.nansum(blocks, axis=1) / np.maximum(number, 1), np.nan)


def _flattened(pattern: np.ndarray) -> np.ndarray:
    """A pattern; of a cake the mean over its azimuths."""
    if pattern.ndim == 1:
        return np.asarray(pattern, float)
    number = np.isfinite(pattern).sum(axis=0)
    return np.where(number > 0, np.nansum(pattern, axis=0) / np.maximum(number, 1), np.nan)


def _limits(patterns: StoredPatterns | None) -> tuple[float, float]:
    if patterns is None or patterns.azimuth_axis_deg is None or not len(patterns.azimuth_axis_deg):
        return 0.0, 360.0
    axis = patterns.azimuth_axis_deg
    half = abs(float(axis[1] - axis[0])) / 2 if len(axis) > 1 else 180.0
    return float(axis[0]) - half, float(axis[-1]) + half
