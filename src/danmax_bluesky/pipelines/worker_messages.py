"""What an integration is told, as plain values: cheap to import, and they travel as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from danmax_bluesky.formats.nxazint import Column
from danmax_bluesky.runs.layout import one_name


@dataclass(frozen=True, eq=False)
class ScanInfo:
    """What is known of a scan beside its frames.

    Attributes:
        title: the command as typed.
        run_uid: of the run; a file of another run is never replaced.
        instrument: name of the beamline.
        source_name: name of the laboratory.
        energy_kev: photon energy, for recipes without a .poni.
        detector: settings of the detector, likewise; None where they do not tell how it stands.
        detector_kind: what the run says of the detector, "imaging" or "counting"; "" if there is no run.
        scan: further scalars for the entry.
        columns: name -> what will be known of each frame, beside its number.
    """

    title: str = "azimuthal integration"
    run_uid: str = ""
    instrument: str = "DanMAX"
    source_name: str = "MAX IV"
    energy_kev: float | None = None
    detector: Mapping[str, Any] | None = None
    detector_kind: str = ""
    scan: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a worker is told when a run begins; it travels as JSON.

    Attributes:
        id: of the job.
        file: the detector file.
        dataset: HDF5 path of the frames.
        detector: data key of the frames.
        recipes: settings of each recipe.
        outputs: file of patterns of each recipe.
        info: fields of `ScanInfo`, the columns apart.
        columns: name -> dtype, units.
        journal: documents of the run, for what is known of each frame in the end; "" without.
        threads: blocks at a time.
    """

    id: str
    file: str
    dataset: str
    detector: str
    recipes: Sequence[Mapping[str, Any]]
    outputs: Sequence[str]
    info: Mapping[str, Any]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    journal: str = ""
    threads: int = 2

    def scan_info(self) -> ScanInfo:
        """What is known of the scan."""
        columns = {name: Column(dtype, units) for name, (dtype, units) in self.columns.items()}
        return ScanInfo(**{**self.info, "columns": columns})

    @classmethod
    def of(cls, info: ScanInfo, **fields: Any) -> "Job":
        """A job from a `ScanInfo` and the other fields."""
        raw = asdict(replace(info, columns={}))
        raw.pop("columns")
        columns = {name: (column.dtype, column.units) for name, column in info.columns.items()}
        return cls(info=raw, columns=columns, **fields)


@dataclass(frozen=True)
class Outcome:
    """How one recipe of a job ended.

    Attributes:
        recipe: its name.
        output: the file of patterns, "" if there is none.
        frames: patterns in it.
        resumed: how many of them a process before this one had written.
        problems: what went wrong, one sentence each.
        failed: there is no file, or it is not whole.
        warnings: what speaks against the calibration, one sentence each.
    """

    recipe: str
    output: str
    frames: int = 0
    resumed: int = 0
    problems: Sequence[str] = ()
    failed: bool = False
    warnings: Sequence[str] = ()


def output_path(frames: Path, recipe: str = "azint", root: Path | None = None) -> Path:
    """Where the patterns of a detector file go.

    `raw/<folder>/scan-0001_pilatus.h5` becomes `process/azint/<folder>/scan-0001_pilatus_integrated.h5`; the name of a
    recipe other than "azint" comes before "integrated".

    Args:
        frames: the detector file.
        recipe: name of the recipe.
        root: folder to write to instead, flat.

    Raises:
        FormatError: the name of the recipe leads to another folder.
    """
    one_name("name of a recipe", recipe)
    name = f"{frames.stem}_integrated.h5" if recipe == "azint" else f"{frames.stem}_{recipe}_integrated.h5"
    if root is not None:
        return root / name
    parts = frames.parent.parts
    if "raw" in parts:
        index = len(parts) - 1 - parts[::-1].index("raw")
        return Path(*parts[:index], "process", "azint", *parts[index + 1 :], name)
    return frames.parent / name
