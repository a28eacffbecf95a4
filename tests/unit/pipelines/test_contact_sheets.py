"""Contact sheets are drawn once their files are settled, and again when something was computed after that."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from danmax_bluesky.errors import StorageError
from danmax_bluesky.pipelines.contact_sheets import FOLLOWED_S, LOOK_EVERY_S, SETTLED_S, ContactSheets
from danmax_bluesky.storage.contact_sheets import draw_sheet, sheet_is_due
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.reading import open_scan


class _Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def files(run):
    return record_of(run.folder / "scan-0001_documents.jsonl").files


def test_a_sheet_is_drawn_when_its_files_are_settled_and_again_when_something_was_computed(files):
    clock = _Clock(files.master.stat().st_mtime)
    sheets = ContactSheets(clock)
    sheets.add(files.documents)
    assert sheets.draw_one() is None  # its master has just been written
    clock.now_s += SETTLED_S + LOOK_EVERY_S
    assert sheets.draw_one() == files
    with Image.open(files.contact_sheet) as picture:
        assert min(picture.size) > 300
        assert np.ptp(np.asarray(picture.convert("L"))) == 255
    assert not sheet_is_due(files)
    clock.now_s += LOOK_EVERY_S
    assert sheets.draw_one() is None
    slices = files.computed("tomo", "orca_slices.h5")
    slices.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(files.master, slices)  # no slices are in it: the panel says so, the others are there
    later = files.contact_sheet.stat().st_mtime + 5
    os.utime(slices, (later, later))
    clock.now_s = later + SETTLED_S + LOOK_EVERY_S
    before = files.contact_sheet.stat().st_mtime_ns
    sheets.draw_one()
    assert files.contact_sheet.stat().st_mtime_ns > before
    clock.now_s += FOLLOWED_S
    sheets.draw_one()
    assert not sheets._followed


def test_a_sheet_of_a_tomography_has_frame_transmission_and_sinogram(files):
    figure = draw_sheet(open_scan(files.master))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [title.split(":")[0].split(" of row")[0] for title in titles] == ["orca", "divided by the flats", "sinogram"]
    sinogram = next(axes for axes in figure.axes if axes.get_title().startswith("sinogram")).images[0].get_array()
    scan = open_scan(files.master)
    order = np.argsort(scan.angles.values, kind="stable")
    row = scan.frames.shape[1] // 2
    dark = scan.darks[:, row].mean("frame").values
    light = scan.flats[:10, row].mean("frame").values - dark
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = -np.log((scan.frames[int(order[0])].values[row] - dark) / light)
    shown = np.isfinite(expected)
    np.testing.assert_allclose(np.asarray(sinogram)[0][shown], expected[shown], rtol=1e-6)


def test_a_scan_that_cannot_be_drawn_is_left_aside(files, caplog):
    files.master.write_text("no HDF5")
    sheets = ContactSheets(_Clock(files.master.stat().st_mtime + 60))
    sheets.add(files.documents)
    sheets.add(files.raw / "scan-0099_documents.jsonl")
    assert sheets.draw_one() is None
    assert "no contact sheet of scan-0001" in caplog.text
    assert not files.contact_sheet.exists()
    with pytest.raises(StorageError):
        open_scan(files.master)
