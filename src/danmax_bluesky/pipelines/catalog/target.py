"""A Tiled server as the target of deliveries."""

import logging
import uuid
import warnings
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
from bluesky_tiled_plugins import TiledWriter
from tiled.client.utils import ClientError
from tiled.structures.core import Spec

from danmax_bluesky.formats.scan_log import rows_of
from danmax_bluesky.pipelines.catalog import file_slices
from danmax_bluesky.pipelines.catalog.client import open_client
from danmax_bluesky.pipelines.catalog.outages import LostRequestError
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.scalars import load_scalars

SUMMARY = "summary"
FRAMES = "_frames"
"""End of the name of a stream that has an event for each frame of a detector."""
_AT_ONCE = 10_000
_TIMEOUT = httpx.Timeout(connect=5.0, read=30.0, write=30.0, pool=30.0)
_LOG = logging.getLogger(__name__)


class _Requests:
    """Counts requests and answers of one client, so that a repeated request does not go unnoticed."""

    def __init__(self, client: httpx.Client) -> None:
        self._open = 0
        self._faults = 0
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], self._sent],
            "response": [*hooks["response"], self._answered],
        }

    def _sent(self, _request: httpx.Request) -> None:
        self._open += 1

    def _answered(self, response: httpx.Response) -> None:
        self._open -= 1
        self._faults += response.status_code >= 500

    def check(self) -> None:
        """Raise if any request since the last call failed on its way or in the server."""
        lost, faults = self._open, self._faults
        self._open = self._faults = 0
        if lost or faults:
            raise LostRequestError(f"{lost} request(s) without an answer, {faults} answered with a server's error")


class TiledTarget:
    """Writes runs to a Tiled server.

    Args:
        uri: of the server's API, or of a folder of runs below it.
        api_key: its secret.

    Raises:
        httpx.HTTPError: the server does not answer.
    """

    def __init__(self, uri: str, api_key: str) -> None:
        file_slices.register()
        self._catalog = open_client(uri, api_key, _TIMEOUT)
        self._context = self._catalog.context
        self._requests = _Requests(self._context.http_client)

    def close(self) -> None:
        """Close the connections."""
        self._context.close()

    def begin(self, uid: str, *, whole: bool) -> Callable[[str, dict[str, Any]], None]:
        """Remove what is there of a run, and return what takes its documents.

        Documents are written one by one while a run is going on, and in large batches once it is over.
        """
        try:
            self._catalog.delete_contents(uid, recursive=True, external_only=False)
        except ClientError as error:
            if error.response.status_code != httpx.codes.NOT_FOUND:
                raise
        writer = TiledWriter(self._catalog, batch_size=_AT_ONCE if whole else 1)

        def write(name: str, document: dict[str, Any]) -> None:
            writer(name, document)
            self._requests.check()

        self._requests.check()
        return write

    def conclude(self, record: RunRecord) -> None:
        """Check that the rows of the files are those of the documents, and note how the run ended."""
        run = self._catalog[record.uid]
        summary = {
            "status": record.status,
            "rows": rows_of(record),
            "missing": record.missing,
        }
        run.update_metadata({SUMMARY: summary}, drop_revision=True)
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            if not run.validate(write_notes=False):
                _LOG.warning("run %s: not all of its files can be read", record.uid)
        for note in notes:
            _LOG.warning("run %s: %s", record.uid, note.message)
        self._add_frames(run, record)

    def _add_frames(self, run: Any, record: RunRecord) -> None:
        """Add a stream for each detector with an event for each of its frames: the others have rows for triggers."""
        for name, table in (frame_tables(load_scalars(record)) if record.image_keys else {}).items():
            if len(table):
                keys, rows = _as_stream(name, table)
                specs = [Spec("BlueskyEventStream", version="3.0"), Spec("composite")]
                stream = run.create_container(f"{name}{FRAMES}", metadata=keys, specs=specs).base
                stream.write_table(rows, key="internal")
        self._requests.check()


def _as_stream(detector: str, table: FrameTable) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """A descriptor, and the columns of its events, as the catalogue keeps those of any stream."""
    columns = table.as_columns()
    units = {name: text for name, (_, text) in table.recorded.items()}
    units |= {"timestamp": "s", "count_time": "s"}
    moments = np.where(np.isfinite(table.time_s), table.time_s, 0.0).tolist()
    described = {
        name: {
            "source": f"frames of {detector}",
            "dtype": "string" if values.dtype.kind == "O" else "integer" if values.dtype.kind in "iu" else "number",
            "shape": [],
            "object_name": detector,
            **({"units": units[name]} if units.get(name) else {}),
        }
        for name, values in columns.items()
    }
    metadata = {
        "uid": str(uuid.uuid4()),
        "time": max(moments),
        "data_keys": described,
        "hints": {},
        "configuration": {},
    }
    rows = {"seq_num": list(range(1, len(table) + 1)), "time": moments}
    rows |= {name: values.tolist() for name, values in columns.items()}
    return metadata, rows | {f"ts_{name}": moments for name in columns}
