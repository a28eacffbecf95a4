"""Methods of reconstruction behind one interface, found by their names.

A method of your own is a function of sinograms and their geometry, named as an entry point:

    [project.entry-points."danmax_bluesky.reconstruction_methods"]
    mine = "my_package.methods:mine"

    def mine(sinograms, geometry, **parameters):
        '''Who described it, where and when.'''
        return my_slices(sinograms, geometry.theta_deg, geometry.centre_px)

`sinograms` holds attenuation along each ray, shape (n_slices, n_angles, width); what comes back is attenuation a pixel,
shape (n_slices, width, width), row 0 at the top, with the conventions of `direct_fourier`. The settings then name it:
`method = "mine"`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError, SettingsError
from danmax_bluesky.tomography import iterative
from danmax_bluesky.tomography.interleaved import InterleavedFourier, engine_size, lanes_for
from danmax_bluesky.tomography.overhang import Edges
from danmax_bluesky.tomography.threads import threads_of
from danmax_bluesky.tomography.tori import Window

Floats = npt.NDArray[np.float32]
GROUP = "danmax_bluesky.reconstruction_methods"


@dataclass(frozen=True, eq=False)
class Geometry:
    """How the projections were taken, and how a method is to use them.

    Attributes:
        width: of the detector, and of a slice, pixels.
        theta_deg: angle of each projection, degrees, shape (n_angles,).
        centre_px: detector column of the rotation axis.
        window: softens high frequencies, for methods that filter.
        edge_px: how projections are continued on either side, for methods that filter.
        lanes: slices at once.
        threads: at most.
    """

    width: int
    theta_deg: npt.NDArray[np.float64]
    centre_px: float
    window: Window = "ramp"
    edge_px: int | Edges = 0
    lanes: int = 16
    threads: int = field(default_factory=threads_of)


class Reconstructor(Protocol):
    """Makes slices of one geometry."""

    def interleaved(self, lines: Floats, out: Floats | None = None) -> Floats:
        """Slices, shape (n, width, width), of lines, shape (n_angles, width, lanes); n is that of `out`, or lanes."""
        ...


class Method(Protocol):
    """A method of reconstruction."""

    @property
    def cite(self) -> str:
        """Where it is described."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Name -> usual value of what the settings may say of it."""
        ...

    def plan(self, geometry: Geometry, parameters: Mapping[str, Any]) -> Reconstructor:
        """What depends on the geometry alone, done once."""
        ...

    def memory(self, width: int, n_angles: int, lanes: int, edge_px: int = 0) -> int:
        """Bytes that a plan of these sizes takes at most, with the slices that it makes, beside the lines."""
        ...


@dataclass(frozen=True)
class DirectFourierMethod:
    """The interleaved engine."""

    cite: str = "A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging, chapter 3 (1988)"
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def plan(self, geometry: Geometry, parameters: Mapping[str, Any]) -> Reconstructor:
        """The engine."""
        return InterleavedFourier(
            geometry.width,
            geometry.theta_deg,
            geometry.centre_px,
            window=geometry.window,
            edge_px=geometry.edge_px,
            lanes=geometry.lanes,
            threads=geometry.threads,
        )

    def memory(self, width: int, n_angles: int, lanes: int, edge_px: int = 0) -> int:
        """As of the engine."""
        return engine_size(width, n_angles, lanes, edge_px).total


@dataclass(frozen=True)
class InterleavedMethod:
    """A function of interleaved lines.

    Attributes:
        function: (lines, geometry, **parameters) -> slices, shape (width, width, lanes).
        arrays: how many arrays as large as the lines, and as large as the slices, it holds at most.
    """

    function: Callable[..., Floats]
    cite: str
    parameters: Mapping[str, Any]
    arrays: tuple[int, int]

    def plan(self, geometry: Geometry, parameters: Mapping[str, Any]) -> Reconstructor:
        """The function with what it needs."""
        return _Planned(self.function, geometry, {**self.parameters, **parameters})

    def memory(self, width: int, n_angles: int, lanes: int, edge_px: int = 0) -> int:
        """From the number of its arrays; one more holds the slices that come out."""
        return _bytes_of(self.arrays, width, n_angles, lanes, edge_px)


@dataclass(frozen=True)
class SliceMethod:
    """A function of sinograms, such as one of another package.

    Attributes:
        function: (sinograms, geometry, **parameters) -> slices, shape (n_slices, width, width).
        arrays: as of `InterleavedMethod`; what another package takes is not known, and this is what is usual.
    """

    function: Callable[..., npt.NDArray[Any]]
    cite: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arrays: tuple[int, int] = (5, 6)

    def memory(self, width: int, n_angles: int, lanes: int, edge_px: int = 0) -> int:
        """From the number of its arrays."""
        return _bytes_of(self.arrays, width, n_angles, lanes, edge_px)

    def plan(self, geometry: Geometry, parameters: Mapping[str, Any]) -> Reconstructor:
        """The function with what it needs."""

        def laid_out(lines: Floats, geometry: Geometry, **values: Any) -> Floats:
            slices = np.asarray(self.function(np.ascontiguousarray(np.moveaxis(lines, 2, 0)), geometry, **values))
            wanted = (lines.shape[2], geometry.width, geometry.width)
            if slices.shape != wanted:
                raise ScanError(f"the method gave slices of shape {slices.shape}, wanted were {wanted}")
            return np.moveaxis(slices, 0, 2)

        return _Planned(laid_out, geometry, {**self.parameters, **parameters})


@dataclass(frozen=True)
class _Planned:
    function: Callable[..., Floats]
    geometry: Geometry
    parameters: Mapping[str, Any]

    def interleaved(self, lines: Floats, out: Floats | None = None) -> Floats:
        count = lines.shape[2] if out is None else len(out)
        slices = np.moveaxis(self.function(lines[..., :count], self.geometry, **self.parameters), 2, 0)
        if out is None:
            return np.ascontiguousarray(slices, np.float32)
        out[:] = slices
        return out


def _bytes_of(arrays: tuple[int, int], width: int, n_angles: int, lanes: int, edge_px: int) -> int:
    of_lines, of_slices = arrays
    return 4 * lanes * (of_lines * n_angles * (width + 2 * edge_px) + (of_slices + 1) * width * width)


_KAK = "A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging, chapter 3 (1988)"
SHIPPED: Mapping[str, Method] = {
    "fourier": DirectFourierMethod(),
    "fbp": InterleavedMethod(iterative.filtered_back_projection, _KAK, {}, (6, 2)),
    "sirt": InterleavedMethod(
        iterative.sirt,
        "P. Gilbert, J. Theor. Biol. 36, 105 (1972); J. Gregor and T. Benson, IEEE Trans. Med. Imaging 27, 918 (2008)",
        {"iterations": 100, "nonnegative": True},
        (3, 3),
    ),
    "cgls": InterleavedMethod(
        iterative.cgls,
        "M. R. Hestenes and E. Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952); A. Bjorck, Numerical Methods for "
        "Least Squares Problems (1996)",
        {"iterations": 20},
        (3, 4),
    ),
    "tv": InterleavedMethod(
        iterative.total_variation,
        "A. Chambolle and T. Pock, J. Math. Imaging Vis. 40, 120 (2011); E. Y. Sidky, J. H. Jorgensen and X. Pan, "
        "Phys. Med. Biol. 57, 3065 (2012)",
        {"iterations": 200, "strength": 0.001, "nonnegative": True},
        (4, 9),
    ),
}
"""What this package ships."""


def method_names() -> tuple[str, ...]:
    """Every method that the settings may name."""
    return (*SHIPPED, *sorted({entry.name for entry in entry_points(group=GROUP)} - set(SHIPPED)))


def method_of(name: str) -> Method:
    """The method of a name.

    Raises:
        SettingsError: there is none, with those that there are; or its package cannot be imported.
    """
    if name in SHIPPED:
        return SHIPPED[name]
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return _loaded(entry)
    other = next((package for package in ("tomopy", "astra") if name.startswith(package)), "")
    ours = f"methods of {other} are not part of this package; " if other else ""
    raise SettingsError(
        f"method = {name!r}: {ours}must be one of {', '.join(method_names())}. A package adds one as an entry point "
        f"of the group {GROUP}"
    )


def _loaded(entry: EntryPoint) -> Method:
    try:
        made: Any = entry.load()
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"method {entry.name!r} cannot be loaded from {entry.value} ({error}); install its package again"
        ) from error
    return made if hasattr(made, "plan") else SliceMethod(made, (made.__doc__ or "").strip())


def check_parameters(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that a method does not have, or values of another kind.

    Raises:
        SettingsError: with those that it has.
    """
    method = method_of(name)
    if name not in SHIPPED:
        return
    for key, value in parameters.items():
        usual = method.parameters.get(key)
        allowed = ", ".join(f"{other} = {value}" for other, value in method.parameters.items()) or "none"
        if key not in method.parameters:
            raise SettingsError(f"parameters: method {name!r} has no {key!r}; it has {allowed}")
        wrong = isinstance(value, bool) != isinstance(usual, bool) or not isinstance(value, int | float)
        if wrong or (isinstance(usual, int) and not isinstance(value, int)) or value < 0:
            raise SettingsError(f"parameters: {key} = {value!r} of method {name!r}: give one such as {usual}")


def reconstruct_with(
    name: str, sinograms: npt.NDArray[Any], geometry: Geometry, parameters: Mapping[str, Any] | None = None
) -> Floats:
    """Slices of some sinograms by a method, for example in a notebook.

    Args:
        name: of the method.
        sinograms: shape (n_slices, n_angles, width).
        geometry: of the projections; its `lanes` is not used.
        parameters: of the method.

    Returns:
        attenuation a pixel, float32, shape (n_slices, width, width).
    """
    given = dict(parameters or {})
    check_parameters(name, given)
    lanes = lanes_for(len(sinograms))
    at = Geometry(
        geometry.width,
        geometry.theta_deg,
        geometry.centre_px,
        geometry.window,
        geometry.edge_px,
        lanes,
        geometry.threads,
    )
    plan = method_of(name).plan(at, given)
    slices = np.empty((len(sinograms), geometry.width, geometry.width), np.float32)
    for start in range(0, len(sinograms), lanes):
        block = sinograms[start : start + lanes]
        lines = np.zeros((len(geometry.theta_deg), geometry.width, lanes), np.float32)
        lines[..., : len(block)] = np.moveaxis(block, 0, 2)
        plan.interleaved(lines, slices[start : start + len(block)])
    return slices
