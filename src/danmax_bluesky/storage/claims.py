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


def claim_files(folder: Path) -> list[Path]:
    """The claims of a visit, that of the highest number first.

    Args:
        folder: from `claims_folder`; one that is not there holds none.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    numbered = [(int(match[1]), name) for name in names if (match := _CLAIM.fullmatch(name))]
    return [folder / name for _, name in sorted(numbered, reverse=True)]


def folder_of_claim(claim: Path) -> str | None:
    """The folder below `raw/` that a number was claimed for; None where its file does not say so, or not yet."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(claim.read_text(encoding="utf-8"))["folder"])
    return None


def latest_claims(state: Path, most: int) -> list[tuple[str, str]]:
    """The scans that were begun last, the latest first: the stem of their files, and their folder below `raw/`.

    Args:
        state: of the visit.
        most: how many at most.
    """
    claims = [(claim.name, folder_of_claim(claim)) for claim in claim_files(claims_folder(state))[:most]]
    return [(name, folder) for name, folder in claims if folder is not None]
