"""How Tiled is told where the rows of a segment lie in a detector's file.

A detector is armed once and writes one file; each segment of the scan is a stream with a slice of the file's dataset
of its own. Three things differ from the stock consolidator of `bluesky_tiled_plugins`:

- The slice ends with the last row that a document told of. The stock one takes the planned slice as it stands, which
  reaches into the next segment when a frame was lost; validation then "corrects" the count to the wrong number.
- The chunks are those of the slice of the chunked dataset: the first one is cut short where the slice starts.
- A dataset may hold more rows than the documents tell of, in any stream.
"""

from itertools import pairwise
from typing import Any, cast

from bluesky_tiled_plugins.writing.consolidators import CONSOLIDATOR_REGISTRY, HDF5Consolidator
from event_model.documents import StreamDatum

HDF5 = "application/x-hdf5"


def chunks_of_slice(start: int, stop: int, chunk: int) -> tuple[int, ...]:
    """Lengths of the chunks of `dataset[start:stop]` whose own chunks have `chunk` rows."""
    edges = [start, *range((start // chunk + 1) * chunk, stop, chunk), stop]
    return tuple(after - before for before, after in pairwise(edges)) if stop > start else (0,)


class SegmentConsolidator(HDF5Consolidator):
    """The rows documented so far, of one data key in one stream."""

    def __init__(self, stream_resource: Any, descriptor: Any) -> None:
        super().__init__(stream_resource, descriptor)
        begin, _, _ = str(stream_resource["parameters"].get("slice") or "0:").partition(":")
        self._begin = int(begin or 0)
        self._first_row: int | None = None

    @property
    def _bounds(self) -> tuple[int, int]:
        start = self._begin + (self._first_row or 0)
        return start, start + self.shape[0]

    def consume_stream_datum(self, doc: StreamDatum) -> Any:
        """Add the rows of one StreamDatum."""
        if self._first_row is None:
            self._first_row = int(doc["indices"]["start"])
        return super().consume_stream_datum(doc)

    def adapter_parameters(self) -> dict[str, Any]:
        """What the server needs to read these rows, and none but these."""
        start, stop = self._bounds
        return {**super().adapter_parameters(), "slice": f"{start}:{stop}"}

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The chunks in which the server reads these rows."""
        stock = super().chunks
        rows = self.chunk_shape[0] if self.chunk_shape else max(self.shape[0], 1)
        return chunks_of_slice(*self._bounds, rows), *cast("tuple[tuple[int, ...], ...]", stock[1:])


def register() -> None:
    """Let this process's TiledWriter use it for every HDF5 file."""
    CONSOLIDATOR_REGISTRY[HDF5] = SegmentConsolidator
