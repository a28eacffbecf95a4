"""Methods that project and project back: filtered back projection, SIRT, CGLS and total variation.

Lines are interleaved, shape (n_angles, width, lanes), and so are the slices, shape (width, width, lanes); each lane is
a slice of its own. Where each method is described stands in `methods`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from danmax_bluesky.tomography.centre import fast_length
from danmax_bluesky.tomography.direct_fourier import angle_weights
from danmax_bluesky.tomography.overhang import Edges
from danmax_bluesky.tomography.projector import Projector
from danmax_bluesky.tomography.ramp import ramp_response

if TYPE_CHECKING:
    from danmax_bluesky.tomography.methods import Geometry

Floats = npt.NDArray[np.float32]


def filtered_back_projection(lines: Floats, geometry: "Geometry") -> Floats:
    """Each line filtered by a ramp, and projected back."""
    edges = geometry.edge_px if isinstance(geometry.edge_px, Edges) else Edges.constant(geometry.edge_px)
    edge, width = edges.columns, geometry.width
    left = edges.left[::-1, None] * lines[:, :1]
    padded = np.concatenate([left, lines, edges.right[:, None] * lines[:, -1:]], axis=1) if edge else lines
    length = fast_length(2 * (width + 2 * edge))
    response = ramp_response(length, 0.0, geometry.window)[: length // 2 + 1]
    spectra: Any = scipy.fft.rfft(padded, length, axis=1, workers=geometry.threads)
    spectra *= response.astype(np.complex64)[None, :, None]
    filtered = np.asarray(scipy.fft.irfft(spectra, length, axis=1, workers=geometry.threads), np.float32)
    weighted = filtered[:, edge : edge + width] * angle_weights(geometry.theta_deg).astype(np.float32)[:, None, None]
    return _projector(geometry).back_project(np.ascontiguousarray(weighted, np.float32))


def sirt(lines: Floats, geometry: "Geometry", iterations: int, nonnegative: bool) -> Floats:
    """Simultaneous iterative reconstruction.

    Args:
        lines: attenuation.
        geometry: of the projections.
        iterations: more are sharper, and noisier.
        nonnegative: whether negative attenuation is set to zero after each.
    """
    projector = _projector(geometry)
    of_rays, of_pixels = _inverse_sums(projector)
    slices = np.zeros((geometry.width, geometry.width, lines.shape[2]), np.float32)
    for _ in range(iterations):
        missing = (lines - projector.project(slices)) * of_rays
        slices += projector.back_project(missing) * of_pixels
        if nonnegative:
            np.maximum(slices, 0, out=slices)
    return slices


def cgls(lines: Floats, geometry: "Geometry", iterations: int) -> Floats:
    """Conjugate gradients for the least squares of projections, from an empty slice.

    Args:
        lines: attenuation.
        geometry: of the projections.
        iterations: more are sharper, and noisier.
    """
    projector = _projector(geometry)
    slices = np.zeros((geometry.width, geometry.width, lines.shape[2]), np.float32)
    residual = lines.copy()
    gradient = projector.back_project(residual)
    direction = gradient.copy()
    power = _squares(gradient)
    for _ in range(iterations):
        projected = projector.project(direction)
        step = (power / np.maximum(_squares(projected), 1e-30)).astype(np.float32)
        slices += step * direction
        residual -= step * projected
        gradient = projector.back_project(residual)
        before, power = power, _squares(gradient)
        factor = (power / np.maximum(before, 1e-30)).astype(np.float32)
        direction = np.asarray(gradient + factor * direction, np.float32)
    return slices


def total_variation(lines: Floats, geometry: "Geometry", iterations: int, strength: float, nonnegative: bool) -> Floats:
    """Least squares of the projections plus the total variation of the slice, by the primal-dual method.

    Args:
        lines: attenuation.
        geometry: of the projections.
        iterations: until it rests, some hundred.
        strength: of the total variation, as a share of the mean attenuation of the rays through the sample, summed over
            the angles: larger ones smooth more.
        nonnegative: whether negative attenuation is not allowed.
    """
    projector = _projector(geometry)
    width, lanes = geometry.width, lines.shape[2]
    rays = projector.project(np.ones((width, width, 1), np.float32))
    pixels = projector.back_project(np.ones((projector.n_angles, width, 1), np.float32))
    of_rays = 1.0 / np.maximum(rays, 1.0)  # steps of each ray and pixel: T. Pock and A. Chambolle, ICCV (2011)
    of_pixels = 1.0 / (pixels + 4.0)
    weight = np.float32(strength * projector.n_angles) * _typical(lines)
    slices = np.zeros((width, width, lanes), np.float32)
    ahead = slices.copy()
    dual = np.zeros_like(lines)
    down, right = np.zeros_like(slices), np.zeros_like(slices)
    for _ in range(iterations):
        dual = np.asarray((dual + of_rays * (projector.project(ahead) - lines)) / (1 + of_rays), np.float32)
        down[:-1] += 0.5 * (ahead[1:] - ahead[:-1])
        right[:, :-1] += 0.5 * (ahead[:, 1:] - ahead[:, :-1])
        size = np.maximum(1.0, np.sqrt(down**2 + right**2) / np.maximum(weight, 1e-30))
        down /= size
        right /= size
        moved = projector.back_project(dual)
        moved[:-1] -= down[:-1]
        moved[1:] += down[:-1]
        moved[:, :-1] -= right[:, :-1]
        moved[:, 1:] += right[:, :-1]
        before = slices
        slices = np.asarray(before - of_pixels * moved, np.float32)
        if nonnegative:
            np.maximum(slices, 0, out=slices)
        ahead = np.asarray(2 * slices - before, np.float32)
    return slices


def _typical(lines: Floats) -> Floats:
    """Mean attenuation of the rays of each lane that pass through something, shape (lanes,)."""
    largest = lines.max(axis=(0, 1), keepdims=True)
    through = lines > 0.05 * largest
    total = np.where(through, lines, 0).sum(axis=(0, 1), dtype=np.float64)
    return (total / np.maximum(through.sum(axis=(0, 1)), 1)).astype(np.float32)


def _projector(geometry: "Geometry") -> Projector:
    return Projector(geometry.width, geometry.theta_deg, geometry.centre_px, geometry.threads)


def _inverse_sums(projector: Projector) -> tuple[Floats, Floats]:
    """One over the sums of the shares of each ray, and of each pixel; 0 where there are none."""
    rays = projector.project(np.ones((projector.width, projector.width, 1), np.float32))
    pixels = projector.back_project(np.ones((projector.n_angles, projector.width, 1), np.float32))
    return (
        np.where(rays > 0.5, 1.0 / np.maximum(rays, 0.5), 0).astype(np.float32),
        np.where(pixels > 0.5, 1.0 / np.maximum(pixels, 0.5), 0).astype(np.float32),
    )


def _squares(values: Floats) -> npt.NDArray[np.float64]:
    return np.einsum("abl,abl->l", values, values, dtype=np.float64)
