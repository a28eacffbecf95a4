"""What the detectors' files hold of a run: its scalar rows, read into the record, and how many frames there are."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.runs.record import RunRecord, with_columns
from danmax_bluesky.runs.segments import FrameSource
from danmax_bluesky.storage.files import first_unwritten, open_to_read


def load_scalars(record: RunRecord) -> RunRecord:
    """The same record with every external scalar as a column, and every `FrameSource` as long as it is on disk.

    Rows that are in the file and belong to the segment count, whether a document told of them or not: a process that
    dies, or a detector that lost a frame, leaves its neighbours with rows that were never announced. A file that is
    missing or shorter than the documents say gives a shorter column, or none, and a sentence in `RunRecord.problems`;
    nothing is filled in.

    Returns:
        The record; a column may have fewer rows than its segment, and then holds the first ones.
    """
    ends = _ends(record)
    wanted: dict[Path, list[tuple[str, FrameSource]]] = {}
    for segment in record.segments:
        for source in segment.external.values():
            wanted.setdefault(source.file, []).append((segment.name, source))
    columns: dict[tuple[str, str], np.ndarray] = {}
    lengths: dict[tuple[Path, str], int] = {}
    problems: list[str] = []
    for path, sources in wanted.items():
        try:
            with open_to_read(path) as file:
                for segment_name, source in sources:
                    dataset = _dataset(file, source, problems, segment_name)
                    if dataset is None:
                        continue
                    length = lengths[path, source.dataset] = _written(dataset)
                    source = _as_on_disk(source, length, ends)
                    _complain_if_short(source, length, problems, segment_name)
                    rows = None if source.shape else _rows(dataset, source, length, problems, segment_name)
                    if rows is not None:
                        columns[segment_name, source.key] = rows
        except StorageError as error:
            problems.append(str(error))
        except (OSError, RuntimeError, KeyError) as error:
            problems.append(f"{path} is damaged: {error}; restore it from a backup")
    looked_at = dataclasses.replace(
        record,
        problems=tuple(dict.fromkeys((*record.problems, *problems))),
        segments=tuple(
            dataclasses.replace(
                segment,
                external={
                    key: _as_on_disk(source, lengths.get((source.file, source.dataset)), ends)
                    for key, source in segment.external.items()
                },
            )
            for segment in record.segments
        ),
    )
    return with_columns(looked_at, columns)


def _ends(record: RunRecord) -> dict[tuple[Path, str, int], int | None]:
    """(file, dataset, first row) of each segment's rows -> the row at which the next segment begins, or None."""
    starts: dict[tuple[Path, str], set[int]] = {}
    for segment in record.segments:
        for source in segment.external.values():
            starts.setdefault((source.file, source.dataset), set()).add(source.start)
    return {
        (*dataset, first): following
        for dataset, rows in starts.items()
        for first, following in zip(sorted(rows), [*sorted(rows)[1:], None], strict=True)
    }


def _as_on_disk(source: FrameSource, length: int | None, ends: dict[tuple[Path, str, int], int | None]) -> FrameSource:
    """The source with the dataset's length, and reaching as far as its segment's rows do."""
    if length is None:
        return dataclasses.replace(source, length=None)
    following = ends[source.file, source.dataset, source.start]
    bounds = [bound for bound in (source.limit, following, length) if bound is not None]
    reach = min(bounds) if source.limit is not None else source.stop
    return dataclasses.replace(source, length=length, stop=max(source.stop, reach))


def _dataset(file: h5py.File, source: FrameSource, problems: list[str], segment: str) -> h5py.Dataset | None:
    dataset = file.get(source.dataset)
    if not isinstance(dataset, h5py.Dataset):
        problems.append(f"{source.file}: no dataset {source.dataset} ({source.key} of {segment})")
        return None
    if (
        dataset.dtype.kind not in "iufb"
        or dataset.ndim < 1
        or dataset.shape[dataset.ndim - len(source.shape) :] != (source.shape)
    ):
        problems.append(
            f"{source.file}: {source.dataset} holds {dataset.dtype} of shape {dataset.shape}, not rows of numbers of "
            f"shape {source.shape}"
        )
        return None
    return dataset


def _written(dataset: h5py.Dataset) -> int:
    """Number of rows before the first that was never written."""
    gap = first_unwritten(dataset)
    return dataset.shape[0] if gap is None else gap


def _complain_if_short(source: FrameSource, length: int, problems: list[str], segment: str) -> None:
    if length < source.stop:
        problems.append(
            f"{source.file}: {source.dataset} ends after {length} rows, the documents tell of "
            f"{source.stop}; {source.stop - max(source.start, length)} of {segment} are missing"
        )


def _rows(
    dataset: h5py.Dataset, source: FrameSource, length: int, problems: list[str], segment: str
) -> np.ndarray | None:
    try:
        return np.asarray(dataset[source.start : max(source.start, min(source.stop, length))]).reshape(-1)
    except (OSError, RuntimeError) as error:
        problems.append(f"{source.file}: {source.dataset} cannot be read for {segment}: {error}")
        return None
