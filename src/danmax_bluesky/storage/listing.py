"""What a scan left behind, and which programs open it."""

import glob
from pathlib import Path

from danmax_bluesky.runs.layout import HDF5_SUFFIXES, ScanFiles


def files_of(scan: ScanFiles) -> list[Path]:
    """Every file of a scan: those of its folder, then those computed from it."""
    raw = sorted(scan.raw.glob(f"{scan.stem}.h5")) + sorted(scan.raw.glob(f"{scan.stem}_*"))
    return raw + computed_files(scan)


def computed_files(scan: ScanFiles) -> list[Path]:
    """The files below `process/` that are computed from a scan."""
    pattern = f"*/{glob.escape(scan.folder)}/{scan.stem}_*"
    return sorted(path for path in scan.process.glob(pattern) if path.is_file())


def how_to_open(path: Path) -> str:
    """A program and a call that open a file of this kind."""
    if path.name.endswith("_dxchange.h5"):
        return "tomopy, dxchange, httomo, silx view"
    if path.name.endswith("_slices.h5"):
        return "silx view"
    if path.name.endswith("_integrated.h5"):
        return "silx view, GSAS-II, pyFAI"
    if path.suffix in HDF5_SUFFIXES:
        return "silx view, nabu, danmax_bluesky.open_scan" if path.stem.count("_") == 0 else "silx view"
    return {".jsonl": "a text editor; danmax rebuild", ".poni": "pyFAI", ".png": "any viewer"}.get(path.suffix, "")
