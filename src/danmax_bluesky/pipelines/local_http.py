"""Who may ask a server of ours over HTTP: the one rule of every server.

A browser on this machine also reaches a server on the loopback interface, and so does any page that it shows, if it
calls the server by a name of its own. So a request must name a host that is ours, and where it comes from another page
that page must be ours too. Whoever knows the token may ask, where there is one.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from danmax_bluesky.atomic_files import write_file

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


def is_our_host(hosts: Sequence[str], names: Sequence[str] = ()) -> bool:
    """True if a request names exactly one host, and that is this machine.

    Args:
        hosts: every `Host` of the request's headers, with or without a port.
        names: by which others reach this machine, beside those of the loopback interface.
    """
    if len(hosts) != 1:
        return False
    match = _HOST.fullmatch(hosts[0].lower())
    return match is not None and match[1] in {*_LOOPBACK_NAMES, *(name.lower() for name in names)}


def is_our_origin(origins: Sequence[str], hosts: Sequence[str], scheme: str) -> bool:
    """True if a request comes from no page, or from one of the very server that it asks.

    Args:
        origins: every `Origin` of the request's headers.
        hosts: every `Host` of them.
        scheme: of the server: "http" or "https".
    """
    if not origins:
        return True
    parts = urlsplit(origins[0])
    return len(origins) == 1 and [parts.netloc.lower()] == [host.lower() for host in hosts] and parts.scheme == scheme


def is_token(given: str, token: str) -> bool:
    """True if the token that was given is the right one; how long this takes tells nothing of it."""
    return hmac.compare_digest(given.encode(), token.encode())


def new_token() -> str:
    """A secret that cannot be guessed."""
    return secrets.token_urlsafe(32)


def write_token(path: Path, token: str) -> None:
    """Put the token into a file that only its owner may read, from its first moment on.

    Raises:
        OSError: it cannot be written.
    """
    write_file(path, token + "\n", replace=True, mode=0o600)


def remove_token(path: Path, token: str) -> None:
    """Take the file of a token away, unless another server has put its own there."""
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == token + "\n":
            path.unlink()
