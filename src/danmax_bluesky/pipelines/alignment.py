"""From a run that was measured for an alignment to a proposal: its frames read, an estimate made, a picture drawn."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from danmax_bluesky.alignment.profile import profile_centre
from danmax_bluesky.alignment.proposal import Move, Proposal, Quantity
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.pipelines.alignment_pictures import draw_profile
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.scan import Scan
from danmax_bluesky.storage.text_files import write_text

PRIMARY = "primary"
Draw = Callable[[Path], None]


def picture_path(scan: Scan, kind: str) -> Path:
    """Where the picture of an alignment belongs: `process/alignment/<folder>/scan-0001_<kind>.png`."""
    return ScanFiles.of(scan.start).computed("alignment", f"{kind}.png")


def finished(proposal: Proposal, scan: Scan, draw: Draw = lambda _path: None) -> Proposal:
    """The proposal with its picture, and both written to `process/alignment/` of the visit.

    Args:
        proposal: without a picture.
        scan: the run that it comes from.
        draw: draws a picture to the path of a PNG; it may be there already.

    Raises:
        StorageError: they cannot be written.
    """
    path = picture_path(scan, proposal.kind)
    complete = replace(proposal, picture=path)
    text = json.dumps(complete.record(), indent=2, ensure_ascii=False) + "\n"
    write_text(path.with_suffix(".json"), text, is_ours=lambda _: True)
    draw(path)
    return complete


def stem_of(scan: Scan) -> str:
    """What the names of the run's files begin with."""
    return ScanFiles.of(scan.start).stem


def read_column(scan: Scan, name: str) -> np.ndarray:
    """What was read under a name at each position of a step scan, shape (n,).

    The names of integrals may be given by their ends, as in I0.

    Raises:
        AlignmentError: there is no such name, or there are several; with those that there are.
    """
    rows = scan.positions.get(PRIMARY)
    names = [] if rows is None else [str(key) for key in rows.data_vars]
    near = [key for key in names if key.endswith(f"_{name}") or key.startswith(f"{name}-")]
    fitting = [name] if name in names else near
    if rows is None or len(fitting) != 1:
        problem = "is not among" if not fitting else "is the end of several of"
        raise AlignmentError(f"{scan.path.name}: {name} {problem} what was read: {', '.join(names) or 'nothing'}")
    return np.asarray(rows[fitting[0]].values, float)


_REGION = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*")


def region_of(text: str) -> tuple[slice, slice]:
    """Rows and columns of a region of a detector: "10:40,100:220", the ends left out; "" is the whole frame.

    Raises:
        AlignmentError: the text is no region.
    """
    if not text:
        return slice(None), slice(None)
    match = _REGION.fullmatch(text)
    first_row, end_row, first_column, end_column = map(int, match.groups()) if match else (0, 0, 0, 0)
    if not (first_row < end_row and first_column < end_column):
        raise AlignmentError(
            f"region = {text!r}: give first row, end, first column and end, the ends left out, as in 10:40,100:220"
        )
    return slice(first_row, end_row), slice(first_column, end_column)


def totals(scan: Scan, detector: str, region: str = "") -> np.ndarray:
    """The total of each frame, shape (n,): counts of good pixels (pixels marked by a negative number are left out).

    Args:
        scan: the run.
        detector: its name.
        region: of the detector, as `region_of` reads it.

    Raises:
        AlignmentError: the region lies outside the frames.
        StorageError: there are no frames of the detector.
    """
    rows, columns = region_of(region)
    frames = scan.detector(detector)["data"]
    part = frames[:, rows, columns]
    if not part.shape[1] or not part.shape[2]:
        raise AlignmentError(f"region = {region}: lies outside the frames of {detector}, which are {frames.shape[1:]}")
    read = (np.asarray(part[number].values) for number in range(part.shape[0]))
    return np.array([float(np.where(frame < 0, 0, frame).sum(dtype=np.float64)) for frame in read])


def sample_proposal(scan: Scan, motor: str, units: str, at: float, signal: str, region: str = "") -> Proposal:
    """Where a motor should stand so that the sample, or the beam, is in the middle of the signal.

    Args:
        scan: a step scan of the motor.
        motor: its name.
        units: of its position.
        at: where it stands.
        signal: a detector, whose total is taken, or what was read at each position.
        region: of the detector.

    Raises:
        AlignmentError: there is no peak, dip or pair of edges in it.
    """
    is_detector = signal in scan.detectors
    values = totals(scan, signal, region) if is_detector else read_column(scan, signal)
    positions = read_column(scan, motor)
    count = min(len(positions), len(values))
    try:
        profile = profile_centre(positions[:count], values[:count])
    except AlignmentError as error:
        raise AlignmentError(f"{stem_of(scan)}: {signal} over {motor}: {error}") from None
    quantities = [
        Quantity(f"middle of the {profile.shape} in {signal}", profile.centre, units),
        Quantity("width", profile.width, units),
    ]
    moves = [Move(motor, at, profile.centre.value, profile.centre.sigma, units)]
    label = f"total counts of {signal}" + (f", {region}" if region else "") if is_detector else signal
    title = f"{stem_of(scan)}: sample to beam"
    proposal = Proposal("sample", stem_of(scan), quantities, moves)
    return finished(proposal, scan, lambda path: draw_profile(path, profile, title, motor, units, label, at))


def write_files(proposal: Proposal) -> None:
    """Write the files of a proposal.

    Raises:
        StorageError: a file is there already, or cannot be written.
    """
    for path, text in proposal.files.items():
        write_text(path, text, is_ours=lambda _: False)
