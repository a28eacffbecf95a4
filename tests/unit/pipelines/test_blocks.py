"""However frames come together: the same patterns, bit by bit."""

import subprocess
import sys

import numpy as np
import pytest

from danmax_bluesky.pipelines.blocks import integrate_blocks
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.storage.frames import Hdf5Frames
from danmax_bluesky.testing.powder import DATASET, DetectorWriter, ring_frames

SHAPE = (97, 83)
GEOMETRY = Geometry(0.1, 0.008, 0.007, 0.01, 0.0, 0.1, 0.5e-10, 172e-6, 172e-6, SHAPE)


@pytest.mark.parametrize("splitting", ["no", "bbox", "2x2"])
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_every_size_give_the_same_bits(tmp_path, splitting, threads):
    images = ring_frames(SHAPE, 36)
    images[::5, 3, 4] = -1
    with DetectorWriter(tmp_path / "scan.h5", images) as writer:
        writer.append(36)
    frames = Hdf5Frames(tmp_path / "scan.h5", DATASET)
    integrator = Integrator(Recipe(GEOMETRY, radial_bins=60, splitting=splitting))
    expected = integrator.integrate(images)
    first = 0
    blocks = []
    for size in (1, 2, 3, 4, 5, 6, 7, 8):
        blocks.append(np.arange(first, first + size))
        first += size
    found = list(integrate_blocks(frames, {"azint1d": integrator}, blocks, threads))
    frames.close()
    assert np.array_equal(np.concatenate([block.index for block in found]), np.arange(36))
    for what in ("intensity", "sigma", "norm", "masked"):
        joined = np.concatenate([getattr(block.patterns["azint1d"], what) for block in found])
        assert np.array_equal(joined, getattr(expected, what), equal_nan=True)


COMPILE = """
import os
import sys
from pathlib import Path
import numpy as np
from danmax_bluesky.pipelines import blocks, fused
from danmax_bluesky.scattering import kernels
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.storage import bitshuffle
from danmax_bluesky.storage.frames import Hdf5Frames
def compiled():
    known = [thing for module in (kernels, fused, bitshuffle) for thing in vars(module).values()]
    return sum(len(thing.signatures) for thing in known if hasattr(thing, "signatures"))
def integrate(path):
    geometry = Geometry(0.1, 0.008, 0.007, 0.01, 0.0, 0.1, 0.5e-10, 172e-6, 172e-6, (97, 83))
    frames = Hdf5Frames(Path(path))
    for how in ({"splitting": "no"}, {"splitting": "bbox"}, {"error_model": "azimuthal", "clip_sigma": 5.0}):
        integrators = {"azint1d": Integrator(Recipe(geometry, radial_bins=60, **how))}
        blocks.compile_for(frames, integrators)
        before = compiled()
        done = list(blocks.integrate_blocks(frames, integrators, [np.arange(1), np.arange(1, 4), np.arange(4, 12)]))
        two = {**integrators, "again": integrators["azint1d"]}
        list(blocks.integrate_blocks(frames, two, [np.arange(8), np.arange(1)]))
        print(len(done), before > 0, compiled() - before, flush=True)
assert compiled() == 0
for path in sys.argv[1:]:
    child = os.fork()  # as fresh as this one, and its imports are done
    if not child:
        integrate(path)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_nothing_is_left_to_compile_once_threads_begin(tmp_path):
    """Two threads that compile at once make numba fail, now and then: in a fresh process, what one did is enough."""
    paths = [tmp_path / f"{dtype}.h5" for dtype in ("i4", "f4")]
    for path in paths:
        with DetectorWriter(path, ring_frames(SHAPE, 12).astype(path.stem)) as writer:
            writer.append(12)
    ended = subprocess.run([sys.executable, "-c", COMPILE, *paths], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == ["3 True 0"] * 3 * len(paths), ended.stdout + ended.stderr


def test_a_damaged_frame_in_a_block_of_any_size_spoils_no_other(tmp_path):
    images = ring_frames(SHAPE, 5)
    path = tmp_path / "scan.h5"
    with DetectorWriter(path, images) as writer:
        writer.append(5)
        place = writer._data.id.get_chunk_info(2)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 14)
        raw.write(b"\xff" * (place.size - 20))
    frames = Hdf5Frames(path, DATASET)
    integrator = Integrator(Recipe(GEOMETRY, radial_bins=60))
    (block,) = integrate_blocks(frames, {"azint1d": integrator}, [np.arange(5)])
    frames.close()
    assert list(block.errors) == [2]
    good = [0, 1, 3, 4]
    expected = integrator.integrate(images[good]).intensity
    assert np.array_equal(block.patterns["azint1d"].intensity[good], expected, equal_nan=True)
    assert np.isnan(block.patterns["azint1d"].intensity[2]).all()
