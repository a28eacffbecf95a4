"""New files, as SAXSDOG's feeder announces them over 0MQ."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from danmax_bluesky.errors import SettingsError

POLL_MS = 200
MAX_MESSAGE_BYTES = 1 << 16
"""What is longer is no message of a feeder."""
MAX_TAKEN_BYTES = 1 << 24
"""A feeder that sends more at once is cut off, and connected to anew."""
_log = logging.getLogger(__name__)


def new_files(address: str, going_on: Callable[[], bool] = lambda: True) -> Iterator[Path | None]:
    """Paths of files that a feeder says are written, None when it has said nothing for a while.

    A message is one JSON object, {"command": "new file", "argument": PATH}, published without a topic; others are left
    aside.

    Args:
        address: of the feeder's PUB socket, such as tcp://127.0.0.1:5556.
        going_on: asked every 0.2 s whether to go on.

    Raises:
        SettingsError: the address cannot be used; here, before anything is listened for.
    """
    socket = zmq.Context.instance().socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_TAKEN_BYTES)
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close()
        raise SettingsError(f"feeder {address!r}: {error}; it must be like tcp://127.0.0.1:5556") from None
    return _listened(socket, going_on)


def _listened(socket: "zmq.Socket[bytes]", going_on: Callable[[], bool]) -> Iterator[Path | None]:
    try:
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
    """The path that a message announces; None if it announces none, or one that no file can have."""
    try:
        content = json.loads(message[: MAX_MESSAGE_BYTES + 1])
        if str(content["command"]).lower() != "new file":
            return None
        path = Path(str(content["argument"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        _log.warning("a message of the feeder is no JSON object with command and argument: %.80r", message)
        return None
    try:
        path.stat()
    except (FileNotFoundError, PermissionError):
        pass  # it may come
    except (OSError, ValueError) as error:  # too long a name, a character NUL, links in a circle
        _log.warning("the feeder announces %.80r, which cannot be a file: %s", str(path), error)
        return None
    return path
