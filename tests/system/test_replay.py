"""Recorded measurements, measured again by the twin."""

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np

from danmax_bluesky.devices.flat_positions import FlatPosition
from danmax_bluesky.plans.tomography import measure_phases
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.tomography.phases import Phase, unique_names

ORDER = (("flat", 50), ("dark", 50), ("proj", 3001), ("flat", 50), ("dark", 50))
EXPOSURE_US, PERIOD_US = 1000, 1100


def recorded_phases(moving_deg, parked_deg):
    """What the file holds, in its order: the projections as a sweep between their first and last angle."""
    num = len(moving_deg)
    sweep = {
        "motion": "sweep",
        "angles_deg": tuple(np.linspace(moving_deg[0], moving_deg[-1], num).tolist()),
        "speed_deg_s": float(moving_deg[-1] - moving_deg[0]) / ((num - 1) * PERIOD_US * 1e-6),
    }
    return unique_names(
        Phase("proj", "projection", count, EXPOSURE_US, PERIOD_US, parked_deg=moving_deg[0], **sweep)
        if name == "proj"
        else Phase(name, name, count, EXPOSURE_US, PERIOD_US, parked_deg=parked_deg)
        for name, count in ORDER
    )


def test_the_recorded_k11_scan_arrives_in_its_order_with_its_angles(sessions, recorded_data):
    recorded = recorded_data / "tomography/k11-18014.nxs"
    with h5py.File(recorded_data / "tomography/k11-18014/k11-18014-pcompPanda.h5") as file:
        angles = file["/entry/gts_theta.value/gts_theta.value"][()]
    with h5py.File(recorded_data / "tomography/k11-18014/k11-18014-imaging.h5") as file:
        images = file["/entry/detector/detector"][()]
    session = sessions(
        twin__recorded_tomography=str(recorded),
        detectors__orca__width=26,
        detectors__orca__height=22,
        detectors__orca__readout_s=1e-4,
    )
    moving = angles[100:3101]
    phases = recorded_phases(moving, float(angles[0]))
    documents = []
    session.RE.subscribe(lambda name, doc: documents.append((name, doc)))
    out = FlatPosition("out", (("tom_sam_x", 20.0),))
    rig = session.rig.with_detectors(("orca",))
    session.RE(measure_phases(rig, phases, out, md={"plan_name": "replay", "command": "replay"}))
    session.wait_for_files()
    record = load_scalars(fold(documents))

    assert record.is_complete
    assert session.beamline.twin.world.armings["orca"] == 1
    counts = {segment.name: (segment.kind, len(segment)) for segment in record.segments}
    assert counts == {
        "flat_001": ("flat", 50),
        "dark_001": ("dark", 50),
        "proj": ("projection", 3001),
        "flat_002": ("flat", 50),
        "dark_002": ("dark", 50),
    }
    with h5py.File(ScanFiles.of(record.start).master) as master:
        detector = master["entry_orca/instrument/detector"]
        key = detector["image_key"][()]
        theta = master["entry_orca/sample/rotation_angle"][()]
        measured = detector["data"][()]
    expected_key = np.repeat([1, 2, 0, 1, 2], [num for _, num in ORDER])
    np.testing.assert_array_equal(key, expected_key)
    assert np.abs(theta[key == 0] - moving).max() < 0.01
    np.testing.assert_array_equal(measured[key == 2], images[expected_key == 2])
    np.testing.assert_array_equal(measured[key == 1], images[expected_key == 1])
    same = (measured[key == 0] == images[100:3101]).all(axis=(1, 2))
    assert same.all()
