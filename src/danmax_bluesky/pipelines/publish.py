"""Patterns over 0MQ, as soon as they are on disk.

A message has four parts: the topic `pattern`, a header in JSON, the intensities and their errors, both float32 in C
order. The header tells run, scan, detector, recipe, layout, unit, the number of each frame, the shape of the array,
when each frame was taken as far as the detector said, how much later it was published, and how many frames wait.
"""

import json
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import zmq

from danmax_bluesky.runs.pattern_streams import FRAME_NUMBER, FRAME_TIME, FRAMES_WAITING, PATTERNS
from danmax_bluesky.runs.record import path_of_uri

TOPIC = b"pattern"
_LINGER_MS = 500


class Publisher:
    """A PUB socket.

    Args:
        address: such as tcp://127.0.0.1:5600; port 0 takes a free one. Anyone who reaches it may listen.

    Attributes:
        address: where it is bound.
    """

    def __init__(self, address: str = "tcp://127.0.0.1:0") -> None:
        self._socket = zmq.Context.instance().socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.bind(address)
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._lock = threading.Lock()

    def send(self, header: dict[str, Any], *arrays: np.ndarray) -> None:
        """Send one message; nobody need listen, and a slow listener is not waited for."""
        parts = [np.ascontiguousarray(array, "<f4") for array in arrays]
        with self._lock:
            self._socket.send_multipart([TOPIC, json.dumps(header).encode(), *parts])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class PatternMessages:
    """Subscribes to the documents of one run of patterns, and sends a message for each block and layout.

    Args:
        publisher: sends the messages.
        read: gives rows of a dataset of the file of patterns: called with its HDF5 path, the first row and one past the
            last one; returns float32 of the shape (n, ...).
    """

    def __init__(self, publisher: Publisher, read: Callable[[str, int, int], np.ndarray]) -> None:
        self._publisher = publisher
        self._read = read
        self._resources: dict[str, Any] = {}
        self._rows: tuple[int, int] | None = None

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        match name:
            case "start":
                self._start = doc
            case "descriptor" if doc["name"] == PATTERNS:
                self._layouts = doc["object_keys"]
            case "stream_resource":
                self._resources[doc["data_key"]] = doc
            case "stream_datum":
                self._rows = doc["indices"]["start"], doc["indices"]["stop"]
            case "event_page" if self._rows is not None:  # a page that is repeated has no new rows
                self._send(doc["data"], *self._rows)
                self._rows = None

    def _send(self, columns: dict[str, list[Any]], first: int, last: int) -> None:
        taken = [None if math.isnan(moment) else moment for moment in columns[FRAME_TIME]]
        recipe = self._start["recipe"]
        for layout, (key, *errors) in self._layouts.items():
            resource = self._resources[key]
            intensity = self._read(resource["parameters"]["dataset"], first, last)
            sigma = [self._read(self._resources[name]["parameters"]["dataset"], first, last) for name in errors]
            now = time.time()
            header = {
                "run_uid": self._start["derived_from"],
                "scan_id": self._start.get("scan_id"),
                "recipe": recipe["name"],
                "detector": recipe["detector"],
                "layout": layout,
                "unit": recipe["unit"],
                "file": str(path_of_uri(resource["uri"])),
                "index": columns[FRAME_NUMBER],
                "shape": list(intensity.shape),
                "dtype": "<f4",
                "taken_s": taken,
                "published_s": now,
                "backlog": columns[FRAMES_WAITING][-1],
                "latency_s": [None if moment is None else now - moment for moment in taken],
            }
            self._publisher.send(header, intensity, *(sigma or [np.full_like(intensity, np.nan)]))
