"""Patterns joined over frames and over bins, in a file of the same kind."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.nxazint import CONTRAST, PROBLEMS, STATE
from danmax_bluesky.formats.tree import Dataset, Group, Node, SoftLink
from danmax_bluesky.pipelines.integrator_cache import matrix_of
from danmax_bluesky.pipelines.recipes import recipe_settings
from danmax_bluesky.scattering.classifiers import integral_parameters
from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.scattering.rebin import join, join_edges, variance_gain
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.storage.matrices import MatrixCache
from danmax_bluesky.storage.patterns import StoredPatterns, layouts_of, read_patterns, read_recipe
from danmax_bluesky.storage.trees import read_tree
from danmax_bluesky.storage.write import write_tree

_MADE_AGAIN = (
    "data",
    "frames",
    "integrals",
    "monitor",
    *(path.rpartition("/")[2] for path in (STATE, PROBLEMS, CONTRAST)),
)


def rebin_file(file: Path, output: Path, frames: int = 1, bins: int = 1) -> Path:
    """Join frames and bins of a file of patterns into a new one, with the norm as weight.

    Every layout is joined. Integral parameters are those of the joined patterns; of what is known of each frame,
    numbers with a fraction are the mean over the group, others those of its first frame.

    Args:
        file: of patterns, joined ones too.
        output: the new file.
        frames: in a group; a last group that is not full is joined as it is.
        bins: in a group; bins that fill no group are left out.

    Raises:
        StorageError: the output exists, or the file holds no patterns.
        CalibrationError: the groups cannot be.
    """
    names = layouts_of(file)
    entry = read_tree(file, "/entry", _MADE_AGAIN)
    children = dict(entry.children)
    plotted = None
    for name in names:
        patterns = read_patterns(file, name or None)
        data, joined = _joined(file, name, patterns, frames, bins)
        made: dict[str, Node] = {"data": data}
        if patterns.monitor is not None:
            made["monitor"] = _monitor(file, name, patterns, frames)
        if name:
            body = read_tree(file, f"/entry/{name}", _MADE_AGAIN)
            children[name] = replace(body, children={**_noted(body.children, file, frames, bins), **made})
        else:
            children = {**_noted(children, file, frames, bins), **made}
        plotted = plotted or (patterns, joined)
    assert plotted is not None
    patterns, intensity = plotted
    if names[0]:
        children["data"] = SoftLink(f"/entry/{names[0]}/data")
    children["frames"] = _columns(file, patterns, frames)
    children["integrals"] = _integrals(file, patterns, intensity, bins)
    root = Group({"entry": Group(children, entry.attrs)}, {"NX_class": "NXroot", "default": "entry"})
    write_tree(output, root)
    return output


def _joined(file: Path, name: str, patterns: StoredPatterns, frames: int, bins: int) -> tuple[Group, np.ndarray]:
    """The NXdata of one layout, and its intensities."""
    old = read_tree(file, f"/entry/{name}/data" if name else "/entry/data")
    gain = _gain(file, name, patterns, bins)
    intensity, sigma, weight = join(
        patterns.intensity, patterns.sigma, patterns.frame_norms(), frames, bins, 1.0 if gain is None else gain
    )
    relative = _means(patterns.monitor, frames)
    norm = weight if relative is None else weight / relative.reshape((-1,) + (1,) * (weight.ndim - 1))
    edges = join_edges(patterns.radial_edges, bins)
    n_bins = (edges.size - 1) * bins
    whole = frames * patterns.norm[..., :n_bins].reshape(*patterns.norm.shape[:-1], -1, bins).sum(axis=-1)
    values = {
        "I": intensity.astype("<f4"),
        "I_errors": None if sigma is None else sigma.astype("<f4"),
        "radial_axis": 0.5 * (edges[1:] + edges[:-1]),
        "radial_axis_edges": edges,
        "norm": whole,
        "frame_norm": norm.astype("<f4"),
    }
    children = {
        key: Dataset(values[key], node.attrs) if values.get(key) is not None and isinstance(node, Dataset) else node
        for key, node in old.children.items()
    }
    return Group(children, old.attrs), intensity


def _gain(file: Path, name: str, patterns: StoredPatterns, bins: int) -> np.ndarray | None:
    """Of the variance, where the pixels were split between the bins that are joined."""
    given = read_recipe(file, name)
    if patterns.sigma is None or bins == 1 or given.get("splitting") == "no" or "cut" in given:
        return None
    if "positions" in given:
        raise StorageError(f"{file} was joined from several positions; join them again with wider bins (--bins)")
    if given.get("joined_bins", 1) > 1:
        raise StorageError(f"{file} holds joined bins already; join those of the file it was made from")
    settings = recipe_settings(json.loads(given["settings"]))
    mask = np.asarray(given["mask"], bool)
    rows, columns = mask.shape
    geometry = geometry_of_poni(
        given["poni"],
        (rows, columns),
        orientation=given["orientation"],
        wavelength_m=given["wavelength"] * 1e-10,
        folder=None if settings.poni is None else settings.poni.parent,
    )
    is_cake = patterns.intensity.ndim == 3
    recipe = Recipe(
        geometry,
        mask,
        unit=settings.unit,
        radial_bins=settings.radial_bins,
        radial_range=settings.radial_range,
        radial_edges=tuple(given.get("radial_edges", ())),
        azimuth_bins=settings.azimuth_bins if is_cake else 1,
        azimuth_range_deg=settings.azimuth_range,
        azimuth_edges_deg=settings.azimuth_edges if is_cake else (),
        sectors_deg=settings.sectors if is_cake or len(settings.sectors) == 1 else (),
        splitting=settings.splitting,
        solid_angle=settings.solid_angle,
        polarization_factor=settings.polarization_factor,
        polarization_axis_deg=settings.polarization_axis,
        weighting=settings.weighting,
    )
    return variance_gain(matrix_of(recipe, MatrixCache()), patterns.intensity.shape[1:], bins)


def _monitor(file: Path, name: str, patterns: StoredPatterns, frames: int) -> Group:
    old = read_tree(file, f"/entry/{name}/monitor" if name else "/entry/monitor")
    means = _means(patterns.monitor, frames)
    assert means is not None
    data = old.children["data"]
    assert isinstance(data, Dataset)
    return Group({"data": Dataset(means * float(old.attrs["reference"]), data.attrs)}, old.attrs)


def _columns(file: Path, patterns: StoredPatterns, frames: int) -> Group:
    """One row for each group of frames."""
    old = read_tree(file, "/entry/frames")
    number = len(patterns.index)
    first = np.arange(0, number, frames)
    columns: dict[str, Node] = {}
    for name, node in old.children.items():
        values = patterns.index if name == "index" else patterns.columns.get(name)
        if isinstance(node, Dataset) and values is not None and len(values) == number and name != "joined_frames":
            columns[name] = Dataset(_means(values, frames) if values.dtype.kind == "f" else values[first], node.attrs)
    joined = patterns.columns.get("joined_frames", np.ones(number, np.int64))
    return Group({**columns, "joined_frames": Dataset(np.add.reduceat(joined, first))}, old.attrs)


def _integrals(file: Path, patterns: StoredPatterns, intensity: np.ndarray, bins: int) -> Group:
    old = read_tree(file, "/entry/integrals")
    limits = old.children.get("limits")
    given = None if not isinstance(limits, Dataset) else (float(limits.value[0]), float(limits.value[1]))
    edges = join_edges(patterns.radial_edges, bins)
    fresh = integral_parameters(edges, intensity, given).columns()
    children = {
        name: Dataset(fresh[name], node.attrs, chunks=(len(intensity),), maxshape=(None,))
        if name in fresh and isinstance(node, Dataset)
        else node
        for name, node in old.children.items()
    }
    return Group(children, old.attrs)


def _noted(children: Mapping[str, Node], file: Path, frames: int, bins: int) -> dict[str, Node]:
    """The same, with what was joined among the parameters."""
    reduction = children["reduction"]
    assert isinstance(reduction, Group)
    given = reduction.children["input"]
    assert isinstance(given, Group)
    joined: dict[str, Any] = {"joined_file": str(file.absolute()), "joined_frames": frames, "joined_bins": bins}
    before = {name: node.value for name, node in given.children.items() if isinstance(node, Dataset)}
    joined["joined_frames"] *= before.get("joined_frames", 1)
    if bins == 1:
        joined["joined_bins"] = before.get("joined_bins", 1)
    noted = replace(given, children={**given.children, **{name: Dataset(value) for name, value in joined.items()}})
    return {**children, "reduction": replace(reduction, children={**reduction.children, "input": noted})}


def _means(values: np.ndarray | None, frames: int) -> np.ndarray | None:
    """Mean over each group of frames of what is known of them."""
    if values is None:
        return None
    is_finite = np.isfinite(values)
    first = np.arange(0, len(values), frames)
    sums = np.add.reduceat(np.where(is_finite, values, 0.0), first, axis=0)
    counts = np.add.reduceat(is_finite.astype(np.int64), first, axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)
