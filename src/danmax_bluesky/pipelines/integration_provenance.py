"""Integrations in the provenance of their scan."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.provenance_journal import Provenance

ACTOR = "integration"
_log = logging.getLogger(__name__)


def note_integration(
    files: ScanFiles,
    recipe: Mapping[str, Any],
    source: Path,
    output: Path,
    *,
    begun_s: float,
    problems: Sequence[str] = (),
    failed: bool = False,
) -> None:
    """Add a row: which frames became which patterns, by which recipe.

    What cannot be written down is logged; the patterns are there all the same.

    Args:
        files: of the scan.
        recipe: settings, as JSON holds them.
        source: the detector file.
        output: the file of patterns.
        begun_s: when it began, POSIX seconds.
        problems: what went wrong, one sentence each.
        failed: there is no output, or it is not whole.
    """
    name = str(recipe.get("name", "azint"))
    detector = str(recipe.get("detector", ""))
    try:
        provenance = Provenance(files, computed=True)
        row = provenance.begin(
            ACTOR,
            description=f"azimuthal integration of {detector} by {name}",
            parameters={"detector": detector, "recipe": dict(recipe), "file": os.path.relpath(output, files.raw)},
            inputs=[note_of(source, files.raw)],
            when_s=begun_s,
        )
        outputs = [note_of(output, files.raw)] if output.exists() else []
        provenance.end(row, message="; ".join(problems), outputs=outputs, failed=failed, when_s=time.time())
    except (DanmaxError, OSError) as error:
        _log.warning("the integration of %s is not in the provenance: %s", source, error)
