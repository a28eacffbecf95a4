"""Patterns as other files: text for one frame each, and joined or rebinned patterns."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tree import Dataset, Group, Node, nx
from danmax_bluesky.scattering.rebin import join, join_edges
from danmax_bluesky.scattering.text_formats import chi_text, xye_text
from danmax_bluesky.storage.patterns import StoredPatterns, read_patterns, read_recipe
from danmax_bluesky.storage.text import write_text
from danmax_bluesky.storage.write import write_tree


def export_text(file: Path, kind: Literal["chi", "xye"], folder: Path | None = None) -> Iterator[Path]:
    """Write each pattern of a file as text, and name each file that was written.

    Args:
        file: of patterns.
        kind: "chi" with a header, or "xye" in 2theta.
        folder: where to; None takes a folder beside the file.

    Raises:
        StorageError: a text file exists already, or cannot be written.
        FormatError: the patterns cannot be told so.
    """
    patterns = read_patterns(file)
    if patterns.intensity.ndim != 2:
        raise StorageError(f"{file} holds cakes alone; integrate with a pattern beside the cake to export text")
    recipe = read_recipe(file)
    target = folder or file.with_name(f"{file.stem}_{kind}")
    target.mkdir(parents=True, exist_ok=True)
    stem = file.stem.removesuffix("_integrated")
    wavelength = float(recipe["wavelength"])
    for row, number in enumerate(patterns.index):
        sigma = None if patterns.sigma is None else patterns.sigma[row]
        values = (patterns.radial_axis, patterns.intensity[row], sigma, patterns.quantity, patterns.unit)
        if kind == "xye":
            text = xye_text(*values, wavelength)
        else:
            parameters = {key: value for key, value in recipe.items() if not isinstance(value, np.ndarray)}
            text = chi_text(*values, parameters, {key: float(v[row]) for key, v in patterns.integrals.items()})
        path = target / f"{stem}_{int(number):05d}.{kind}"
        write_text(path, text, is_ours=lambda _: False)
        yield path


def rebin_file(file: Path, output: Path, frames: int = 1, bins: int = 1) -> Path:
    """Join frames and bins of a file of patterns into a new one, with the norm as weight.

    Raises:
        StorageError: the output exists.
        CalibrationError: the groups cannot be.
    """
    patterns = read_patterns(file)
    intensity, sigma, norm = join(patterns.intensity, patterns.sigma, patterns.frame_norms(), frames, bins)
    write_tree(output, _joined_tree(file, patterns, intensity, sigma, norm, frames, bins))
    return output


def _joined_tree(
    file: Path,
    patterns: StoredPatterns,
    intensity: np.ndarray,
    sigma: np.ndarray | None,
    norm: np.ndarray,
    frames: int,
    bins: int,
) -> Group:
    edges = join_edges(patterns.radial_edges, bins)
    axis = {"long_name": patterns.quantity, "units": patterns.unit}
    units = {"units": "arbitrary units"}
    starts = np.arange(0, len(patterns.index), frames)
    kept = patterns.norm.shape[-1] // bins * bins
    whole_norm = frames * patterns.norm[..., :kept].reshape(*patterns.norm.shape[:-1], kept // bins, bins).sum(axis=-1)
    data: dict[str, Node] = {
        "I": Dataset(intensity.astype("<f4"), {"long_name": "intensity", **units}),
        "radial_axis": Dataset(0.5 * (edges[1:] + edges[:-1]), axis),
        "radial_axis_edges": Dataset(edges, {**axis, "long_name": f"{patterns.quantity} bin edges"}),
        "norm": Dataset(whole_norm, {"long_name": "norm of a group of frames without bad pixels", **units}),
        "frame_norm": Dataset(norm.astype("<f4"), {"long_name": "norm of each joined pattern", **units}),
    }
    if sigma is not None:
        data["I_errors"] = Dataset(sigma.astype("<f4"), {"long_name": "estimated intensity error", **units})
    axes = [".", "radial_axis"]
    if patterns.azimuth_axis_deg is not None:
        axes = [".", "azimuthal_axis", "radial_axis"]
        data["azimuthal_axis"] = Dataset(patterns.azimuth_axis_deg, {"units": "degree"})
    interpretation = "spectrum" if intensity.ndim == 2 else "image"
    columns: dict[str, Any] = {"index": patterns.index, **patterns.columns}
    whole = {name: values for name, values in columns.items() if len(values) == len(patterns.index)}
    children: dict[str, Node] = {
        "title": Dataset(f"{file.name}: {frames} frame(s) and {bins} bin(s) joined"),
        "data": nx("NXdata", data, signal="I", axes=axes, interpretation=interpretation),
        "frames": nx("NXcollection", {name: Dataset(values[starts]) for name, values in whole.items()}),
        "reduction": nx(
            "NXprocess",
            {
                "program": Dataset("danmax_bluesky"),
                "date": Dataset(datetime.now(UTC).isoformat(timespec="seconds")),
                "note": Dataset("mean weighted with the norm; /entry/frames tells of the first frame of each group"),
                "input": nx(
                    "NXparameters", {"file": Dataset(str(file)), "frames": Dataset(frames), "bins": Dataset(bins)}
                ),
            },
        ),
    }
    return Group({"entry": nx("NXentry", children, default="data")}, {"NX_class": "NXroot", "default": "entry"})
