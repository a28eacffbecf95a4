"""What is to be reconstructed of a scan, as a value that goes to another process."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from danmax_bluesky.formats.nxtomo import sample_pixel_m
from danmax_bluesky.formats.provenance_table import Status
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.tomography.tori import ReconstructionSettings

ACTOR = "reconstruction"
TECHNIQUE = "tomo"


@dataclass(frozen=True)
class ReconstructionJob:
    """One detector of one scan, to be reconstructed.

    Attributes:
        raw: folder of the scan's files.
        process: folder above everything that is computed.
        folder: of the scan, below `raw/`.
        stem: "scan-0001".
        run_uid: of the run.
        detector: whose projections.
        settings: a `ReconstructionSettings`, as JSON holds it.
        center: "auto" to find the rotation axis, "tori" to take that of the settings.
        pixel_m: at the sample, metres, or None.
        title: the command as typed.
        sample: name of the sample.
    """

    raw: str
    process: str
    folder: str
    stem: str
    run_uid: str
    detector: str
    settings: dict[str, Any]
    center: str = "auto"
    pixel_m: float | None = None
    title: str = ""
    sample: str = ""

    @classmethod
    def of(
        cls, record: RunRecord, detector: str, settings: ReconstructionSettings, center: str = "auto"
    ) -> "ReconstructionJob":
        """The job of a run."""
        files = record.files
        return cls(
            raw=str(files.raw),
            process=str(files.process),
            folder=files.folder,
            stem=files.stem,
            run_uid=record.uid,
            detector=detector,
            settings=settings.model_dump(mode="json"),
            center=center,
            pixel_m=sample_pixel_m(record, detector),
            title=str(record.start.get("command", "")),
            sample=str(sample_of(record.start)["name"]),
        )

    @classmethod
    def loads(cls, text: str) -> Self:
        """From `dumps`."""
        return cls(**json.loads(text))

    def dumps(self) -> str:
        """As text."""
        return json.dumps(dataclasses.asdict(self))

    @property
    def files(self) -> ScanFiles:
        """Of the scan."""
        return ScanFiles(Path(self.raw), Path(self.process), self.folder, self.stem)

    @property
    def output(self) -> Path:
        """Where the slices go."""
        return self.files.computed(TECHNIQUE, f"{self.detector}_slices.h5")


def end_as_failed(job: ReconstructionJob, why: str) -> None:
    """Give the row of a reconstruction its end, where the process died that had begun it."""
    provenance = Provenance(job.files, computed=True)
    for action in provenance.actions():
        if action.actor == ACTOR and action.status == Status.RUNNING:
            provenance.end(action.id, message=why, failed=True)
