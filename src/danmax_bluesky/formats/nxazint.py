"""The file of integrated patterns: NXazint1d and NXazint2d of NeXus.

Source: the application definitions NXazint1d and NXazint2d (NeXus, 2025). With one pattern they stand in the entry
itself; a pattern and a cake of the same frames are two subentries, and `/entry/data` is a link to the pattern.
Beyond the definitions the file holds, in `/entry/frames`, one row for each frame of everything that is known of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from danmax_bluesky.formats.tree import Dataset, Group, Node, SoftLink, nx

STATE = "/entry/integration_state"
PROBLEMS = "/entry/integration_problems"
CONTRAST = "/entry/orientation_contrast"
ANY = "arbitrary units"
_INTEGRALS = {
    "I0": ("integral of I", 1),
    "I1": ("integral of I x", 2),
    "I2": ("integral of I x^2, the invariant", 3),
    "correlation_length": ("I1 / I2", -1),
}
KELVIN = "K"
_CHUNK_BYTES = 1 << 18
_UNIT_NAMES = {"q_A^-1": "q", "2th_deg": "2th"}
"""What azint, and GSAS-II after it, call these units."""
_AXES = {
    "q_A^-1": ("q", "1/angstrom"),
    "q_nm^-1": ("q", "1/nm"),
    "2th_deg": ("2theta", "degree"),
    "2th_rad": ("2theta", "radian"),
    "r_mm": ("r", "mm"),
}


@dataclass(frozen=True, eq=False)
class PatternLayout:
    """One kind of pattern.

    Attributes:
        unit: radial unit in pyFAI's spelling, "q_A^-1" or such.
        radial_edges: shape (n_radial + 1,), in that unit.
        norm: Σ share x weight of each bin, shape (n_radial,) or (n_rows, n_radial).
        azimuth_edges_deg: first and last azimuth of each row, shape (n_rows, 2); used when `norm` has two dimensions.
        parameters: everything the algorithm was given, name -> number, text, array or None.
        has_errors: the error model gives errors.
        cut: "q_h" or "q_v" for a band of pixels, whose axis is in 1/nm; "" for rings.
    """

    unit: str
    radial_edges: np.ndarray
    norm: np.ndarray
    azimuth_edges_deg: np.ndarray
    parameters: Mapping[str, Any]
    has_errors: bool = True
    cut: str = ""

    @property
    def definition(self) -> str:
        """Name of the application definition, "" where there is none: it knows q and 2theta alone."""
        is_defined = _AXES[self.unit][0] in ("q", "2theta") and not self.cut
        return f"NXazint{self.norm.ndim}d" if is_defined else ""


@dataclass(frozen=True)
class Column:
    """A value for each frame.

    Attributes:
        dtype: NumPy type string.
        units: UDUNITS, or "".
        shape: of the value of one frame.
        attrs: further attributes.
    """

    dtype: str = "<f8"
    units: str = ""
    shape: tuple[int, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, eq=False)
class AzintHeader:
    """What does not change from frame to frame.

    Attributes:
        title: of the entry, such as the command as typed.
        run_uid: of the run, or what stands for it.
        recipe_key: hash of everything that the patterns depend on beside the frames.
        recipe_settings: the recipe as it was written down, JSON.
        instrument: name of the beamline.
        source_name: name of the laboratory.
        wavelength_angstrom: Å.
        energy_kev: keV.
        date: ISO 8601 with zone.
        program: name of this program.
        version: its version, and those of the libraries that matter.
        inputs: absolute paths of the files that were integrated.
        integral_range: range of the radial axis for the integral parameters, or None for all.
        monitor: key of the beam monitor by which intensities were divided, or "".
        monitor_reference: what it counts where an intensity stays as it is.
        sample: its name, or "".
        scan: further scalars of the run, such as the scan number.
    """

    title: str
    run_uid: str
    recipe_key: str
    recipe_settings: str
    instrument: str
    source_name: str
    wavelength_angstrom: float
    energy_kev: float
    date: str
    program: str
    version: str
    inputs: Sequence[str] = ()
    integral_range: tuple[float, float] | None = None
    monitor: str = ""
    monitor_reference: float = 1.0
    sample: str = ""
    scan: Mapping[str, Any] = field(default_factory=dict[str, Any])


def nxazint_tree(
    header: AzintHeader, layouts: Mapping[str, PatternLayout], columns: Mapping[str, Column] | None = None
) -> Group:
    """A file without rows yet.

    Args:
        header: what holds for all frames.
        layouts: name of the subentry -> layout; with one, its fields stand in the entry itself. The first is plotted.
        columns: name -> what is known of each frame, for `/entry/frames`.
    """
    first = next(iter(layouts.values()))
    children: dict[str, Node] = {
        "title": Dataset(header.title),
        "entry_identifier": Dataset(header.run_uid),
        "integration_state": Dataset(
            0, {"meaning": "0 under way, 1 being divided by the monitor, 2 complete, 3 ended incomplete"}
        ),
        "integration_problems": Dataset(0, {"meaning": "how many things went wrong; the scan's provenance names them"}),
        "orientation_contrast": Dataset(
            np.full(4, np.nan),
            {"long_name": "share of the variance of the first frame that rings explain, for orientation 1 to 4"},
        ),
        **{name: Dataset(value) for name, value in header.scan.items()},
    }
    sample = _sample(header, columns or {})
    if len(layouts) == 1:
        children |= {**_definition(first), **_body(header, first), **sample}
    else:
        for name, layout in layouts.items():
            body = {**_definition(layout), **_body(header, layout), **sample}
            children[name] = nx("NXsubentry", body, default="data")
        children["data"] = SoftLink(f"/entry/{next(iter(layouts))}/data")
    children["frames"] = _frames(columns or {})
    children["integrals"] = _integrals(header)
    entry = nx("NXentry", children, default="data")
    attrs = {"NX_class": "NXroot", "default": "entry", "run_uid": header.run_uid, "recipe_key": header.recipe_key}
    attrs["recipe_settings"] = header.recipe_settings
    return Group({"entry": entry}, attrs)


def axis_of_unit(unit: str) -> tuple[str, str]:
    """Quantity and unit of the radial axis as they stand in a file, by pyFAI's name of the unit."""
    return _AXES[unit]


def data_path(layouts: Sequence[str], name: str) -> str:
    """HDF5 path of the NXdata of one layout, given the names of all."""
    return "/entry/data" if len(layouts) == 1 else f"/entry/{name}/data"


def monitor_path(layouts: Sequence[str], name: str) -> str:
    """HDF5 path of the monitor of one layout."""
    return f"{data_path(layouts, name).removesuffix('/data')}/monitor/data"


def integral_path(name: str) -> str:
    """HDF5 path of an integral parameter."""
    return f"/entry/integrals/{name}"


def frames_path(column: str) -> str:
    """HDF5 path of a column of `/entry/frames`."""
    return f"/entry/frames/{column}"


def _definition(layout: PatternLayout) -> dict[str, Node]:
    return {"definition": Dataset(layout.definition)} if layout.definition else {}


def _body(header: AzintHeader, layout: PatternLayout) -> dict[str, Node]:
    parameters = layout.parameters
    body: dict[str, Node] = {
        "solid_angle_applied": Dataset(bool(parameters["solid_angle"])),
        "polarization_applied": Dataset(parameters["polarization_factor"] is not None),
        "normalization_applied": Dataset(True),
        "monitor_applied": Dataset(False),
        "instrument": nx(
            "NXinstrument",
            {
                "name": Dataset(header.instrument),
                "monochromator": nx(
                    "NXmonochromator",
                    {
                        "wavelength": Dataset(header.wavelength_angstrom, {"units": "angstrom"}),
                        "energy": Dataset(header.energy_kev, {"units": "keV"}),
                    },
                ),
                "source": nx(
                    "NXsource",
                    {
                        "name": Dataset(header.source_name),
                        "type": Dataset("Synchrotron X-ray Source"),
                        "probe": Dataset("x-ray"),
                    },
                ),
            },
        ),
        "reduction": _reduction(header, layout),
        "data": _data(layout),
    }
    if header.monitor:
        growing = _growing((), "<f8", {"units": "counts", "key": header.monitor})
        body["monitor"] = nx("NXmonitor", {"data": growing}, reference=header.monitor_reference)
    return body


def _reduction(header: AzintHeader, layout: PatternLayout) -> Group:
    return nx(
        "NXprocess",
        {
            "program": Dataset(header.program),
            "version": Dataset(header.version),
            "date": Dataset(header.date),
            "reference": Dataset(
                "geometry and matrix: pyFAI, J. Kieffer et al., J. Synchrotron Rad. 27, 558-566 (2020)"
            ),
            "note": Dataset(
                "Azimuth in degrees from the fast axis towards the slow axis. norm is that of a frame without bad "
                "pixels; a frame that had some has a row of its own in frame_norm, the others none or zeros there. "
                "NaN: no valid pixel lies in the bin."
            ),
            "input": nx(
                "NXparameters",
                {
                    **{name: _parameter(value) for name, value in layout.parameters.items() if value is not None},
                    "unit": Dataset(_UNIT_NAMES.get(layout.unit, layout.unit)),
                    "pyfai_unit": Dataset(layout.unit),
                    "azimuth_bins": Dataset(len(layout.norm) if layout.norm.ndim == 2 else 1),
                    "files": Dataset(json.dumps(list(header.inputs))),
                    "settings": Dataset(header.recipe_settings),
                },
            ),
        },
    )


def _sample(header: AzintHeader, columns: Mapping[str, Column]) -> dict[str, Node]:
    """The sample, with what was measured of it in each frame where readers look for it; none if it has no name."""
    if not header.sample:
        return {}
    linked = [name for name, column in columns.items() if column.units == KELVIN]
    measured: dict[str, Node] = {
        name if "temperature" in name else f"{name}_temperature": SoftLink(frames_path(name)) for name in linked
    }
    return {"sample": nx("NXsample", {"name": Dataset(header.sample), **measured})}


def _parameter(value: Any) -> Dataset:
    return value if isinstance(value, Dataset) else Dataset(value)


def _data(layout: PatternLayout) -> Group:
    quantity, unit = (layout.cut, "1/nm") if layout.cut else _AXES[layout.unit]
    edges = layout.radial_edges
    shape = layout.norm.shape
    children: dict[str, Node] = {
        "I": _growing(shape, "<f4", {"long_name": "intensity", "units": ANY}),
        "radial_axis": Dataset(0.5 * (edges[1:] + edges[:-1]), {"long_name": quantity, "units": unit}),
        "radial_axis_edges": Dataset(edges, {"long_name": f"{quantity} bin edges", "units": unit}),
        "norm": Dataset(
            layout.norm,
            {"long_name": "effective number of pixels contributing to the corresponding bin", "units": ANY},
        ),
    }
    children["frame_norm"] = Dataset(
        np.zeros((0, *shape), "<f4"),
        {"long_name": "norm of the frames that had bad pixels", "units": ANY},
        chunks=(1, *shape),
        maxshape=(None, *shape),
        compression="gzip",
    )
    if layout.has_errors:
        children["I_errors"] = _growing(shape, "<f4", {"long_name": "estimated intensity error", "units": ANY})
    axes = [".", "radial_axis"]
    if layout.norm.ndim == 2:
        axes = [".", "azimuthal_axis", "radial_axis"]
        children |= _azimuth(layout.azimuth_edges_deg)
    interpretation = "spectrum" if layout.norm.ndim == 1 else "image"
    return nx("NXdata", children, signal="I", axes=axes, interpretation=interpretation)


def _azimuth(edges: np.ndarray) -> dict[str, Node]:
    centre = {"long_name": "azimuthal bin center", "units": "degree"}
    axis: dict[str, Node] = {"azimuthal_axis": Dataset(edges.mean(axis=1), centre)}
    if np.allclose(edges[1:, 0], edges[:-1, 1]):
        joined = np.append(edges[:, 0], edges[-1, 1])
        axis["azimuthal_axis_edges"] = Dataset(joined, {"long_name": "azimuthal bin edges", "units": "degree"})
    else:
        axis["sectors"] = Dataset(edges, {"long_name": "first and last azimuth of each sector", "units": "degree"})
    return axis


def _frames(columns: Mapping[str, Column]) -> Group:
    children: dict[str, Node] = {}
    for name, column in columns.items():
        attrs = {**({"units": column.units} if column.units else {}), **column.attrs}
        attrs |= {"target": frames_path(name)} if column.units == KELVIN else {}
        children[name] = _growing(column.shape, column.dtype, attrs)
    return nx("NXcollection", children)


def _integrals(header: AzintHeader) -> Group:
    """Integral parameters of each frame.

    A collection, since readers of the definition, GSAS-II among them, take any NXdata of the entry for the patterns.
    """
    children: dict[str, Node] = {}
    for name, (text, power) in _INTEGRALS.items():
        children[name] = _growing((), "<f8", {"long_name": text, "units": f"{ANY}, powers of the axis: {power}"})
    if header.integral_range is not None:
        children["limits"] = Dataset(list(header.integral_range), {"long_name": "range of the radial axis"})
    return nx("NXcollection", children)


def _growing(shape: tuple[int, ...], dtype: str, attrs: Mapping[str, Any]) -> Dataset:
    """A dataset that begins empty and grows along its first axis."""
    row_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    rows = int(np.clip(_CHUNK_BYTES // max(row_bytes, 1), 1, 4096))
    return Dataset(np.zeros((0, *shape), dtype), attrs, chunks=(rows, *shape), maxshape=(None, *shape))
