"""New files, as SAXSDOG's feeder announces them over 0MQ."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

POLL_MS = 200
_log = logging.getLogger(__name__)


def new_files(address: str, going_on: Callable[[], bool] = lambda: True) -> Iterator[Path | None]:
    """Paths of files that a feeder says are written, None when it has said nothing for a while.

    A message is one JSON object, {"command": "new file", "argument": PATH}, published without a topic; others are left
    aside.

    Args:
        address: of the feeder's PUB socket, such as tcp://127.0.0.1:5556.
        going_on: asked every 0.2 s whether to go on.
    """
    socket = zmq.Context.instance().socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)
        while going_on():
            if not socket.poll(POLL_MS):
                yield None
                continue
            path = path_in(socket.recv())
            if path is not None:
                yield path
    finally:
        socket.close()


def path_in(message: bytes) -> Path | None:
    """The path that a message announces, or None."""
    try:
        content = json.loads(message)
        if str(content["command"]).lower() == "new file":
            return Path(str(content["argument"]))
    except (ValueError, KeyError, TypeError):
        _log.warning("a message of the feeder is no JSON object with command and argument: %.80r", message)
    return None
