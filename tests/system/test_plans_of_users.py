"""Plans that this package did not write: compositions of its verbs, and Bluesky's own plans."""

import re
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import numpy as np
import pytest

from danmax_bluesky.plans.stubs import arm
from danmax_bluesky.plans.tomography import darks, flats, projections
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.scanning import recording

PAGE = Path(__file__).parents[2] / "docs/how-to/tomography-of-your-own.md"


def example():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return code


@pytest.mark.parametrize("lost", [(), (0,), (3, 12)], ids=["whole", "first lost", "two lost"])
def test_a_tomography_of_ones_own_says_what_each_frame_is(sessions, lost):
    session = sessions()
    session.beamline.twin.faults.lose_frames("orca", *lost)
    with recording(session) as runs:
        exec(compile(example(), str(PAGE), "exec"), {"session": session, "RE": session.RE})
    (run,) = runs
    kept = np.setdiff1d(np.arange(104), lost)
    table = run.tables["orca"]
    kinds = np.array([2] * 3 + [1] * 4 + [0] * 91 + [-1] * 2 + [1] * 4)
    assert table.image_key_control.tolist() == kinds[kept].tolist()
    assert table.segment_names == ("dark", "flat", "proj", "ortho", "flat_002")
    np.testing.assert_allclose(table.angle_deg, run.truth["orca"]["angle_deg"][kept], atol=0.01)
    assert table.trigger.tolist() == kept.tolist()
    assert run.record.status == ("complete" if not lost else "incomplete")
    scan = open_scan(run.files.master)
    assert len(scan.frames) == 91 - len(set(lost) & set(range(7, 98)))
    assert len(scan.flats) == 8 - len(set(lost) & {3})
    with h5py.File(run.files.dxchange("orca", alone=True)) as file:
        assert file["exchange/data"].shape[0] == len(scan.frames)
        assert file["exchange/data_dark"].shape[0] == len(scan.darks)
    assert "tom_ry" in scan.snapshots["start"]


def test_two_armings_in_one_run_are_matched_each_by_itself(sessions):
    session = sessions()
    rig = session.rig.with_detectors(("orca",))
    session.beamline.twin.faults.lose_frames("orca", 8)

    @bpp.stage_decorator([*rig.detectors, rig.panda, rig.sequencer, rig.rotation])
    @bpp.run_decorator()
    def twice():
        yield from arm(rig, 3)
        yield from darks(rig, 3, 0.005)
        yield from arm(rig, 14)
        yield from flats(rig, 3, 0.005, out=session.position())
        yield from projections(rig, 11, 0.02, end_deg=100)

    with recording(session) as runs:
        session.RE(twice())
    table = runs[0].tables["orca"]
    true = runs[0].truth["orca"]["angle_deg"]
    np.testing.assert_allclose(table.angle_deg, np.delete(true, 8), atol=0.01)
    assert [len(table.of(key)) for key in (ImageKey.DARK, ImageKey.FLAT, ImageKey.PROJECTION)] == [3, 3, 10]


def integrated(files):
    return next(path for path in files if path.name.endswith("_integrated.h5"))


@pytest.fixture
def diffraction(sessions):
    session = sessions(
        **{
            "detectors.orca.active": False,
            "detectors.pilatus.active": True,
            "formats.integrate": True,
        }
    )
    session.RE(bps.mv(session.rig.cameras["pilatus"].exposure_time, 0.02))
    return session


def test_plans_of_bluesky_are_integrated_and_their_masters_are_whole(diffraction, caplog):
    session = diffraction
    pilatus, x, y = session.rig.cameras["pilatus"], *(session.rig.motors[f"tom_sam_{axis}"] for axis in "xy")
    session.RE(bp.count([pilatus], 3))
    assert caplog.text.count("pilatus exposes while the fast shutter is closed") == 1
    session.RE(bps.mv(session.rig.shutter, "open"))
    caplog.clear()
    columns = [-1.0, 0.0, 1.0]
    expected = {
        "count": (lambda: bp.count([pilatus], 3), {}),
        "scan": (lambda: bp.scan([pilatus], x, -1, 1, 3), {"tom_sam_x": columns}),
        "grid": (
            lambda: bp.grid_scan([pilatus], y, 0, 1, 2, x, -1, 1, 3, snake_axes=True),
            {"tom_sam_x": columns + columns[::-1], "tom_sam_y": [0.0] * 3 + [1.0] * 3},
        ),
    }
    for plan, positions in expected.values():
        session.RE(plan())
        session.wait_for_files()
        scan = open_scan(ScanFiles.of(session.last_run).master)
        frames = scan.detector("pilatus")
        num = max([3, *map(len, positions.values())])
        assert frames["data"].shape[0] == num
        with h5py.File(integrated(session.files())) as file:
            assert file["entry/data/I"].shape[0] == num
            assert np.nanmax(file["entry/data/I"][:]) > 0
            for name, values in positions.items():
                np.testing.assert_allclose(file[f"entry/frames/{name}"][:], values, atol=1e-3)
        with h5py.File(scan.path) as file:
            detector = file["entry/instrument/pilatus"]
            assert detector["count_time"][:].tolist() == [0.02] * num
            detector = file["entry_beamline/instrument/pilatus"]
            assert detector["type"][()] == b"pixel counting"
            assert detector["distance"][()] == 0.2
            assert detector["x_pixel_size"][()] == 172e-6
            assert "tom_ry" in file["entry/instrument/start_positioners"]
    assert "shutter is closed" not in caplog.text


def test_a_camera_flies_by_itself_as_it_is_set(diffraction):
    session = diffraction
    pilatus = session.rig.cameras["pilatus"]
    session.RE(bps.mv(session.rig.shutter, "open", pilatus.num_frames, 4))
    session.RE(bp.fly([pilatus]))
    session.wait_for_files()
    assert len(open_scan(ScanFiles.of(session.last_run).master).detector("pilatus")["data"]) == 4
    with h5py.File(integrated(session.files())) as file:
        assert file["entry/data/I"].shape[0] == 4
    session.RE(session.plans.azint_count(2, 0.02))  # the camera is free again
    session.wait_for_files()
    assert len(open_scan(ScanFiles.of(session.last_run).master).detector("pilatus")["data"]) == 2
