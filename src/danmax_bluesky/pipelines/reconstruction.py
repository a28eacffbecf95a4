"""From the frames of a tomography to its slices, as the settings say: the chain that every reconstruction goes through.

Each frame is read once. Then the rotation axis is found, it is seen whether the sample fits into the field, and slices
are made group by group.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError, SettingsError
from danmax_bluesky.pipelines.binned_frames import Pixels, binned
from danmax_bluesky.pipelines.one_pass import MEGABYTE, FrameStep, Lines, MemoryPlan, read_lines
from danmax_bluesky.pipelines.reconstruction_remarks import (
    binned_remark,
    blind_remark,
    empty_remark,
    silent_remark,
    wedge_remark,
)
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames
from danmax_bluesky.tomography.angles import covers_half_turn
from danmax_bluesky.tomography.axis import Axis, find_axis
from danmax_bluesky.tomography.fast_fourier import library
from danmax_bluesky.tomography.field import EDGE_SHARE, FULL_TURN_DEG, OFF_MIDDLE, edge_shares, field_remark
from danmax_bluesky.tomography.interleaved import LANES
from danmax_bluesky.tomography.methods import Geometry, Reconstructor, check_parameters, method_of
from danmax_bluesky.tomography.overhang import Edges, Stitching, estimated_edges, most_columns
from danmax_bluesky.tomography.paganin import Paganin
from danmax_bluesky.tomography.stripes import check_stripes, remove_stripes
from danmax_bluesky.tomography.threads import threads_of
from danmax_bluesky.tomography.tori import ReconstructionSettings
from danmax_bluesky.tomography.warp import Warp
from danmax_bluesky.tomography.zingers import Zingers

Floats = npt.NDArray[np.float32]
Report = Callable[[str, int, int], None]
MOST_AXIS_ROWS, FEWEST_AXIS_ROWS = 32, 4
"""Rows of the middle half of the field, where light and sample are, that the rotation axis is found from."""
_AXIS_SHARE = 4
"""The rows for the axis take at most one of so many parts of the memory."""
_AXIS_BYTES = 28
_STRIPE_BYTES = 64
"""Of each pixel of the sinogram from which another package takes stripes."""
_HALF_TURN_RAD, _TURN_RAD = 3.0, 6.5


@dataclass(frozen=True)
class Grouping:
    """Which slices are made together, so that a reconstruction that was interrupted goes on with the same bits.

    Attributes:
        lanes: of the lines.
        at_once: slices at once.
    """

    lanes: int
    at_once: int


@dataclass(frozen=True)
class Slices:
    """Slices that are made when they are asked for.

    Attributes:
        rows: of the detector; of those that were binned into one, the first.
        width: of a slice, which is square, pixels: that of the frames, or of the field that is stitched together.
        axis: where the rotation axis falls on the detector.
        bin_px: pixels of the detector for one of a slice, in each direction.
        remarks: what a reader of the values must know, one sentence each.
        too_wide: whether the sample is wider than the field, and its values are estimates.
        engine: that makes them.
        grouping: which of them are made together.
        plan: how the memory is used.
    """

    rows: Sequence[int]
    width: int
    axis: Axis
    remarks: tuple[str, ...]
    too_wide: bool
    engine: Reconstructor
    plan: MemoryPlan
    bin_px: int
    grouping: Grouping
    _lines: Lines
    _stitching: Stitching | None
    _settings: ReconstructionSettings
    _report: Report | None

    def blocks(self) -> Iterator[tuple[Sequence[int], Floats]]:
        """The rows of each block, and its slices: attenuation a pixel, float32, shape (n, width, width).

        The next block comes in the same memory: copy what is to stay.
        """
        done, lanes = len(self.rows) - len(self._lines.rows), self.grouping.at_once
        slices = np.empty((min(lanes, len(self.rows)), self.width, self.width), np.float32)
        for rows, lines in self._lines.groups():
            remove_stripes(lines, self._settings.stripes, self._settings.stripe_px)
            for start in range(0, len(rows), lanes):
                part = np.ascontiguousarray(lines[..., start : start + lanes])
                if self._stitching is not None:
                    part = self._stitching.laid_out(part)
                here = [row * self.bin_px for row in rows[start : start + lanes]]
                yield here, self.engine.interleaved(part, slices[: len(here)])
                del part
                done += len(here)
                if self._report is not None:
                    self._report("slices", done, len(self.rows))

    def close(self) -> None:
        """Give the memory, and the scratch, back."""
        self._lines.close()


def reconstruct_frames(
    frames: TomographyFrames,
    settings: ReconstructionSettings,
    rows: Sequence[int],
    *,
    centre_px: float | None = None,
    pixel_m: float | None = None,
    folder: Path | None = None,
    threads: int | None = None,
    report: Report | None = None,
    done: int = 0,
    grouping: Grouping | None = None,
) -> Slices:
    """Read the frames, and get ready for the slices.

    Args:
        frames: of the tomography.
        settings: of the chain; their `rows` and `centre_px` are not looked at.
        rows: of the detector, that become slices; those that are binned into one become one.
        centre_px: detector column of the rotation axis; None finds it.
        pixel_m: at the sample, for phase retrieval, where the settings do not say it.
        folder: for scratch; None keeps all in memory.
        threads: None takes OMP_NUM_THREADS, or all cores.
        report: called with what is being done, how many of it are done, and of how many.
        done: slices that there are already, from the first row on, of a reconstruction that was interrupted.
        grouping: of that reconstruction.

    Raises:
        ScanError: the frames cannot be reconstructed so, with the reason.
        SettingsError: the settings ask for what is not there.
        StorageError: frames cannot be read, or scratch not be written.
    """
    method = method_of(settings.method)
    check_parameters(settings.method, settings.parameters)
    check_stripes(settings.stripes)
    if settings.method == "fourier":
        library()
    frames, pixels = binned(frames, settings)
    rows = sorted({min(row // pixels.bin_px, frames.height - 1) for row in rows})
    given_px = None if centre_px is None else pixels.binned_column(centre_px)
    limit = settings.memory_mb * MEGABYTE
    at_once = threads_of(threads)
    near = _axis_rows(frames, limit, rows)
    _check_field(frames, settings, given_px, pixels)
    lines = read_lines(
        frames,
        rows[done:],
        near,
        limit,
        folder=folder,
        steps=frame_steps(settings, pixel_m, frames, pixels),
        threads=at_once,
        engine=lambda lanes: _slices_bytes(settings, frames, lanes, lanes, frames.width, _fewest_columns(settings)),
        later_bytes=_widest_bytes(settings, frames, given_px),
        lanes=None if grouping is None else grouping.lanes,
        of_rows=rows,
        report=None if report is None else lambda done, of: report("projections", done, of),
    )
    try:
        sinograms = lines.near
        if settings.stripes != "none":
            interleaved = np.ascontiguousarray(np.moveaxis(sinograms, 0, 2))
            remove_stripes(interleaved, "fast", settings.stripe_px)
            sinograms = np.moveaxis(interleaved, 2, 0)
        theta_deg = lines.theta_deg
        axis = find_axis(sinograms, theta_deg) if given_px is None else Axis(given_px, 0.0, "given", 0)
        stitching, edges, remark = _field(sinograms, theta_deg, axis.centre_px, settings)
        width = frames.width if stitching is None else stitching.width
        columns = edges.columns if isinstance(edges, Edges) else edges
        lanes = _engine_lanes(limit, lines, frames, settings, width, columns) if grouping is None else grouping.at_once
        engine = method.plan(
            Geometry(
                width,
                theta_deg,
                axis.centre_px if stitching is None else stitching.centre_px,
                settings.window,
                edges,
                lanes,
                at_once,
            ),
            settings.parameters,
        )
    except BaseException:
        lines.close()
        raise
    lines.near = np.empty((0, 0, 0), np.float32)
    remarks = (
        binned_remark(pixels, settings) if any((remark, axis.remark, lines.empty, lines.silent)) else "",
        remark,
        axis.remark,
        wedge_remark(theta_deg),
        blind_remark(lines.blind),
        empty_remark(lines.empty),
        silent_remark(lines.silent),
    )
    notes = tuple(text for text in remarks if text)
    too_wide = bool(remark) and stitching is None
    return Slices(
        [row * pixels.bin_px for row in rows],
        width,
        replace(axis, centre_px=pixels.detector_column(axis.centre_px), sigma_px=axis.sigma_px * pixels.bin_px),
        notes,
        too_wide,
        engine,
        lines.plan,
        pixels.bin_px,
        Grouping(lines.plan.lanes, lanes),
        lines,
        stitching,
        settings,
        report,
    )


def _axis_rows(frames: TomographyFrames, limit: int, rows: Sequence[int]) -> list[int]:
    """Rows in which the axis is looked for, and whether the sample fits into the field."""
    each = _AXIS_BYTES * len(frames.theta_deg) * frames.width
    most = int(np.clip(limit // _AXIS_SHARE // each, FEWEST_AXIS_ROWS, MOST_AXIS_ROWS))
    middle = np.linspace(frames.height / 4, 3 * frames.height / 4, most, endpoint=False).astype(int)
    return sorted({*middle.tolist(), int(rows[0]), int(rows[len(rows) // 2]), int(rows[-1])})


def frame_steps(
    settings: ReconstructionSettings, pixel_m: float | None, frames: TomographyFrames, pixels: Pixels
) -> list[FrameStep]:
    """What is done to each frame before its logarithm.

    Raises:
        SettingsError: the size of a pixel is needed, and is not known.
    """
    steps: list[FrameStep] = []
    if settings.zinger_factor:
        steps.append(Zingers(settings.zinger_factor))
    if settings.phase == "paganin":
        pixel = settings.pixel_um * 1e-6 if settings.pixel_um is not None else pixel_m
        ratio, energy_kev, distance_mm = settings.delta_beta, settings.energy_kev, settings.distance_mm
        if pixel is None:
            raise SettingsError(
                "phase = 'paganin' needs pixel_um, which neither the settings nor the scan tell; add it"
            )
        assert ratio is not None  # of the settings
        assert energy_kev is not None
        assert distance_mm is not None
        steps.append(Paganin(ratio, energy_kev, distance_mm * 1e-3, pixel * pixels.bin_px))
    if settings.tilt_deg or settings.distortion:
        steps.append(_warp(settings, frames, pixels))
    return steps


def _warp(settings: ReconstructionSettings, frames: TomographyFrames, pixels: Pixels) -> Warp:
    height, width = frames.height, frames.width
    middle = (pixels.detector_column((width - 1) / 2), (height * pixels.bin_px - 1) / 2)
    column, row = settings.distortion_centre_px or middle
    centre_px = (pixels.binned_column(column), (row - (pixels.bin_px - 1) / 2) / pixels.bin_px)
    coefficients = tuple(value * pixels.bin_px**power for power, value in enumerate(settings.distortion))
    return Warp(height, width, settings.tilt_deg, coefficients, centre_px)


def _turns_fully(theta_deg: npt.NDArray[np.float64]) -> bool:
    return float(np.ptp(theta_deg)) >= FULL_TURN_DEG * (1 - 1 / len(theta_deg))


def _check_field(
    frames: TomographyFrames, settings: ReconstructionSettings, centre_px: float | None, pixels: Pixels
) -> None:
    """Refuse, before a frame is read, what the angles and the size of the frames rule out."""
    turned = float(np.ptp(frames.theta_deg))
    if not covers_half_turn(frames.theta_deg) and settings.wedge == "refuse":
        radians = "; do they hold radians? Then say --theta-unit rad" if _HALF_TURN_RAD < turned < _TURN_RAD else ""
        raise ScanError(
            f"{frames.name}: {len(frames.theta_deg)} projections do not cover half a turn, their angles lie within "
            f"{turned:.4g} degrees{radians}. To reconstruct from what there is, with edges missing and values too low, "
            "say --allow-wedge, or wedge = 'allow' in the settings file"
        )
    if settings.half_acquisition == "stitch" and not _turns_fully(frames.theta_deg):
        raise ScanError(
            f"{frames.name}: half_acquisition = 'stitch': rotation turned {turned:.0f} degrees, no "
            "full turn; say 'auto'"
        )
    if centre_px is not None and not 0 <= centre_px <= frames.width - 1:
        raise ScanError(
            f"{frames.name}: centre = {pixels.detector_column(centre_px):g}: the axis must lie in the field, columns "
            f"{pixels.detector_column(0):g} to {pixels.detector_column(frames.width - 1):g} of the detector"
        )


def _field(
    sinograms: Floats, theta_deg: npt.NDArray[np.float64], centre_px: float, settings: ReconstructionSettings
) -> tuple[Stitching | None, int | Edges, str]:
    """How a sample that is wider than the field is handled, and what is to be told of it."""
    width = int(sinograms.shape[2])
    shares = dict(zip(("left", "right"), edge_shares(sinograms), strict=True))
    sides = [side for side, share in shares.items() if share > EDGE_SHARE]
    off_middle = centre_px - (width - 1) / 2
    near_side = "left" if off_middle < 0 else "right"
    is_half = _turns_fully(theta_deg) and abs(off_middle) > OFF_MIDDLE * width and near_side in sides
    if settings.half_acquisition == "stitch" or (settings.half_acquisition == "auto" and is_half):
        stitching = Stitching.of(width, centre_px)
        cut = f"the sample reaches beyond the {near_side} edge of the field" if near_side in sides else "asked for"
        far = "right" if near_side == "left" else "left"
        lost = f"; it also reaches beyond the {far} edge, so that values near the rim are wrong" if far in sides else ""
        return (
            stitching,
            0,
            f"half acquisition: {cut}; opposite projections were stitched about the axis at column {centre_px:.1f} of "
            f"{width}, and the slices are {stitching.width} pixels wide{lost}",
        )
    if settings.edge_px != "auto":
        return None, settings.edge_px, field_remark(sinograms, theta_deg, centre_px, settings.edge_px)
    if not sides:
        return None, 0, ""
    edges = estimated_edges(sinograms, centre_px)
    return (
        None,
        edges,
        f"the sample reaches beyond the {' and the '.join(sides)} edge of the field; the projections were continued "
        f"over {edges.columns} columns as those of an ellipse, so that values are approximate, most near the edge",
    )


def _slices_bytes(
    settings: ReconstructionSettings, frames: TomographyFrames, lanes: int, of_lanes: int, width: int, columns: int
) -> int:
    """What making so many slices at once takes beside their lines, which lie in groups of `of_lanes`.

    Args:
        settings: of the chain.
        frames: of the tomography.
        lanes: slices at once.
        of_lanes: lines that lie together.
        width: of a slice, pixels.
        columns: by which projections are continued on either side.
    """
    angles = len(frames.theta_deg)
    size = method_of(settings.method).memory(width, angles, lanes, columns)
    size += 4 * lanes * angles * frames.width if lanes < of_lanes else 0  # lines that are taken out of theirs
    size += 4 * lanes * angles * width if width != frames.width else 0  # and that are laid into the whole field
    if settings.stripes not in ("none", "fast"):
        size += _STRIPE_BYTES * angles * frames.width
    return size


def _fewest_columns(settings: ReconstructionSettings) -> int:
    return 0 if settings.edge_px == "auto" else settings.edge_px


def _widest_bytes(settings: ReconstructionSettings, frames: TomographyFrames, centre_px: float | None) -> int:
    """What the fewest slices at once take at most, whatever the frames show of the axis and of the sample."""
    width = frames.width
    columns = most_columns(width) if settings.edge_px == "auto" else settings.edge_px
    sizes = [_slices_bytes(settings, frames, LANES[0], LANES[-1], width, columns)]
    if settings.half_acquisition != "ignore" and _turns_fully(frames.theta_deg):
        widest = Stitching.of(width, 0.0 if centre_px is None else centre_px).width
        sizes.append(_slices_bytes(settings, frames, LANES[0], LANES[-1], widest, 0))
    return max(sizes)


def _engine_lanes(
    limit: int, lines: Lines, frames: TomographyFrames, settings: ReconstructionSettings, width: int, columns: int
) -> int:
    """The most slices at once for which there is memory beside the lines; the plan left room for the fewest."""
    held, of_lanes = lines.held(len(frames.theta_deg), frames.width), lines.plan.lanes
    for lanes in (number for number in reversed(LANES) if number <= of_lanes):
        if held + _slices_bytes(settings, frames, lanes, of_lanes, width, columns) <= limit:
            return lanes
    return LANES[0]
