import hashlib

import bitshuffle
import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.twin.sources import make_chunks
from danmax_bluesky.twin.sources.base import Gate, camera_config
from danmax_bluesky.twin.sources.chunks import encode

ORCA = {"kind": "imaging", "name": "orca", "width": 64, "height": 16, "pixel_size_m": 1e-6}
PILATUS = {
    "kind": "counting",
    "name": "pilatus",
    "width": 200,
    "height": 200,
    "pixel_size_m": 172e-6,
    "distance_m": 0.05,
}


def gate(trigger=0, angle_deg=0.0, is_open=True, x_mm=0.0, beam=1.0):
    return Gate(0, 10_000_000, trigger, angle_deg, int(is_open), x_mm, 0.0, 0.0, beam, 0)


def decode(chunk, shape, dtype="u2"):
    body = np.frombuffer(chunk[12:], np.uint8)
    return bitshuffle.decompress_lz4(body, shape, np.dtype(dtype), 8192 // np.dtype(dtype).itemsize)


@pytest.mark.parametrize("dtype", ["u2", "i4"])
@pytest.mark.parametrize("shape", [(16, 64), (1, 1), (33, 77)])
def test_hdf5_decodes_what_was_encoded(tmp_path, shape, dtype):
    frame = np.random.default_rng(1).integers(0, 1000, shape).astype(dtype)
    filters = hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
    with h5py.File(tmp_path / "frame.h5", "w") as file:
        dataset = file.create_dataset("data", (1, *shape), dtype, chunks=(1, *shape), **filters)
        dataset.id.write_direct_chunk((0, 0, 0), encode(frame))
    with h5py.File(tmp_path / "frame.h5") as file:
        np.testing.assert_array_equal(file["data"][0], frame)


@pytest.fixture(scope="module")
def bank():
    return make_chunks(camera_config({**ORCA, "frame_bank": 8}))


def test_every_trigger_gets_the_projection_nearest_to_its_angle(bank):
    one_turn = [bank.chunk(gate(angle_deg=45.0 * index)) for index in range(8)]
    assert len(set(one_turn)) == 8
    for index in range(8):
        for off_deg in (-22, 22, 360, -720):
            assert bank.chunk(gate(trigger=99, angle_deg=45.0 * index + off_deg)) == one_turn[index]


def test_a_bank_shows_what_rendering_shows(bank):
    rendered = make_chunks(camera_config({**ORCA, "exposure_s": 0.01}))
    for seen in (gate(angle_deg=90.0), gate(is_open=False), gate(x_mm=20.0)):
        prepared = decode(bank.chunk(seen), (16, 64)).astype(float)
        np.testing.assert_allclose(prepared, decode(rendered.chunk(seen), (16, 64)), rtol=0.15, atol=30)


def test_flats_and_darks_take_turns(bank):
    for change in ({"is_open": False}, {"x_mm": 20.0}):
        chunks = [bank.chunk(gate(trigger, **change)) for trigger in range(10)]
        assert len(set(chunks)) == 8
        assert chunks[0] == chunks[8]


def test_without_beam_a_bank_gives_darks(bank):
    assert bank.chunk(gate(beam=0.1)) == bank.chunk(gate(is_open=False))


def test_a_bank_is_the_same_in_every_session(bank):
    again = make_chunks(camera_config({**ORCA, "frame_bank": 8, "drift_px": (50.0, 0.0)}))
    other = make_chunks(camera_config({**ORCA, "frame_bank": 8, "seed": 2}))
    digests = [hashlib.sha256(chunks.chunk(gate(angle_deg=90.0))).digest() for chunks in (bank, again, other)]
    assert digests[0] == digests[1] != digests[2]


def test_the_frames_of_a_counting_detector_take_turns():
    chunks = make_chunks(camera_config({**PILATUS, "frame_bank": 3}))
    made = [chunks.chunk(gate(trigger)) for trigger in range(6)]
    assert len(set(made)) == 3
    assert made[:3] == made[3:]


def test_preparing_makes_every_frame_once_and_changes_none(bank):
    prepared = make_chunks(camera_config({**ORCA, "frame_bank": 8}))
    steps = 0
    while prepared.prepare():
        steps += 1
    assert steps == 8 + 8 + 8
    for seen in (gate(angle_deg=90.0), gate(3, is_open=False), gate(4, x_mm=20.0)):
        assert prepared.chunk(seen) == bank.chunk(seen)


def test_a_replay_needs_no_bank(tmp_path):
    path = tmp_path / "recording.h5"
    with h5py.File(path, "w") as file:
        for name in ("data", "data_white", "data_dark"):
            file[f"exchange/{name}"] = np.full((1, 16, 64), len(name))
        file["exchange/theta"] = [0.0]
    chunks = make_chunks(camera_config({**ORCA, "frame_bank": 8, "recorded": str(path)}))
    assert (decode(chunks.chunk(gate(angle_deg=90.0)), (16, 64)) == 4).all()
