"""Patterns over 0MQ, as soon as they are on disk.

A message has four parts: the topic `pattern`, a header in JSON, the intensities and their errors, both float32 in C
order. The header tells run, scan, detector, recipe, layout, unit, the number of each frame, the shape of the array,
when each frame was taken as far as the detector said, how much later it was published, and how many frames wait.
"""

import json
import threading
import time

import numpy as np
import zmq

from danmax_bluesky.pipelines.blocks import Block
from danmax_bluesky.pipelines.output import RecipeOutput

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

    def publish(self, output: RecipeOutput, block: Block, backlog: int = 0) -> None:
        """Tell of the patterns of one block; nobody need listen, and a slow listener is not waited for."""
        now = time.time()
        taken = output.taken_at(block.index)
        for layout in output.integrators:
            patterns = block.patterns[output.key(layout)]
            header = {
                "run_uid": output.info.run_uid,
                "scan_id": output.info.scan.get("scan_id"),
                "recipe": output.prepared.settings.name,
                "detector": output.prepared.settings.detector,
                "layout": layout,
                "unit": output.prepared.settings.unit,
                "file": str(output.path),
                "index": block.index.tolist(),
                "shape": list(patterns.intensity.shape),
                "dtype": "<f4",
                "taken_s": taken,
                "published_s": now,
                "backlog": backlog,
                "latency_s": [None if moment is None else now - moment for moment in taken],
            }
            arrays = [np.ascontiguousarray(array, "<f4") for array in (patterns.intensity, patterns.sigma)]
            with self._lock:
                self._socket.send_multipart([TOPIC, json.dumps(header).encode(), *arrays])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
