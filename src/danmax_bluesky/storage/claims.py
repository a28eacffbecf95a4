"""The scan numbers of a visit that were taken: one small file each, which says who took it and for which folder."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path

_CLAIM = re.compile(r"scan-(\d{4,})")


def claims_folder(state: Path) -> Path:
    """Where the claims of a visit lie.

    Args:
        state: of the visit, from `config.state_folder`.
    """
    return state / "scans"


def latest_claims(state: Path, most: int) -> list[tuple[str, str]]:
    """The scans that were begun last, the latest first: the stem of their files, and their folder below `raw/`.

    Args:
        state: of the visit.
        most: how many at most.
    """
    try:
        names = os.listdir(claims_folder(state))
    except OSError:
        return []
    numbered = [(int(match[1]), name) for name in names if (match := _CLAIM.fullmatch(name))]
    latest: list[tuple[str, str]] = []
    for _, name in sorted(numbered, reverse=True)[:most]:
        with suppress(OSError, ValueError, KeyError, TypeError):  # one that is just being written, or says nothing
            claim = json.loads((claims_folder(state) / name).read_text(encoding="utf-8"))
            latest.append((name, str(claim["folder"])))
    return latest
