"""What a scan is doing, from its documents."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from danmax_bluesky.live.now import bytes_text, duration_text, now_of
from danmax_bluesky.live.now_html import head_html, now_html
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import FrameSource, Segment, Snapshot

SEGMENTS = [
    {"name": "flat", "kind": "flat", "num": 10, "exposure_s": 0.1, "period_s": 0.2},
    {"name": "proj", "kind": "projection", "num": 100, "exposure_s": 0.1, "period_s": 0.2},
]


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A tomography of which 40 of 100 projections are there."""
    start = {
        "uid": "u",
        "time": 1000.0,
        "scan_id": 12,
        "data_root": str(tmp_path),
        "proposal": "p",
        "visit": "v",
        "folder": "f",
        "sample": {"name": "bone"},
        "command": "tomo_scan(...)",
        "segments": SEGMENTS,
        "motors": ["tom_ry"],
        "source": {"min_ring_current_ma": 10.0},
        "capture": {"shutter_bit": 6, "beam_bit": 7},
    }
    files = tmp_path / "p/v/raw/f"
    files.mkdir(parents=True)

    def segment(name: str, kind: str, rows: int, bits: int) -> Segment:
        source = FrameSource("orca", files / "x.h5", "/data", 0, rows, (20, 30), "<u2")
        captured = np.array([bits])
        return Segment(name, kind, None, external={"orca": source}, columns={"pcap_bits0": captured})

    snapshot = Snapshot(1000.0, {"tom_ry": 1.5, "ring_current": 250.0}, {"tom_ry": "deg", "ring_current": "mA"})
    segments = (segment("flat", "flat", 10, 0), segment("proj", "projection", 40, 0b11000000))
    return RunRecord(start, segments=segments, snapshots=(snapshot,))  # type: ignore[arg-type]


def test_phases_frames_and_the_time_that_remains_are_told(record):
    now = now_of(record, now_s=1010.0)
    assert (now.title, now.sample, now.state) == ("scan 12", "bone", "measuring")
    assert [(phase.name, phase.done, phase.planned, phase.is_now) for phase in now.phases] == [
        ("flat", 10, 10, False),
        ("proj", 40, 100, True),
    ]
    assert (now.done, now.planned) == (50, 110)
    assert now.remaining_s == pytest.approx(60 * 0.2)
    assert now.elapsed_s == 10.0
    assert now.to_come_bytes == 60 * 20 * 30 * 2


def test_shutter_and_beam_are_those_of_the_last_frame(record):
    now = now_of(record)
    assert {reading.name: (reading.text, reading.level) for reading in now.beam} == {
        "shutter": ("open", "plain"),
        "beam": ("there", "good"),
        "ring current": ("250 mA", "plain"),
    }


def test_a_beam_that_is_gone_is_said_in_red(record):
    segments = (*record.segments[:1], dataclasses.replace(record.segments[1], columns={"pcap_bits0": np.array([64])}))
    now = now_of(dataclasses.replace(record, segments=segments))
    assert next(reading for reading in now.beam if reading.name == "beam").level == "bad"
    assert "NO BEAM" in now_html(now)


def test_a_ring_without_current_is_said_in_red(record):
    monitor = Segment("ring_current_monitor", "monitor", None, columns={"ring_current": np.array([300.0, 2.0])})
    now = now_of(dataclasses.replace(record, segments=(*record.segments, monitor)))
    reading = next(reading for reading in now.beam if reading.name == "ring current")
    assert (reading.text, reading.level) == ("2 mA", "bad")
    assert [phase.name for phase in now.phases] == ["flat", "proj"]


def test_what_went_wrong_stands_first(record):
    stop = {"exit_status": "fail", "reason": "orca stalled", "time": 1020.0}
    now = now_of(dataclasses.replace(record, stop=stop), problems=["x.h5 is damaged"])
    assert (now.state, now.level, now.remaining_s, now.elapsed_s) == ("failed", "bad", None, 20.0)
    assert [message.text for message in now.messages] == ["x.h5 is damaged", "orca stalled", "missing: 60 of proj"]


def test_a_scan_whose_process_died_is_incomplete(record):
    now = now_of(dataclasses.replace(record, closed=True))
    assert now.state == "incomplete"
    assert any("process that measured ended" in message.text for message in now.messages)


def test_a_scan_of_points_without_periods_is_reckoned_by_its_speed(record):
    start = {**record.start, "segments": (), "num_points": 20}
    primary = Segment("primary", "data", None, columns={"x": np.arange(5.0)}, times=tuple(range(5)))
    now = now_of(dataclasses.replace(record, start=start, segments=(primary,)), now_s=1010.0)
    assert (now.done, now.planned) == (5, 20)
    assert now.remaining_s == pytest.approx(30.0)


def test_the_latest_position_of_a_motor_is_shown_before_where_the_others_rest(record):
    primary = Segment("primary", "data", None, columns={"tom_ry": np.array([3.0, 4.25])}, units={"tom_ry": "deg"})
    now = now_of(dataclasses.replace(record, segments=(primary,)))
    assert (now.motors[0].name, now.motors[0].text) == ("tom_ry", "4.25 deg")


def test_texts_of_documents_do_nothing_in_the_browser(record):
    start = {**record.start, "sample": {"name": "<script>alert(1)</script>"}, "command": "<img src=x onerror=y>"}
    now = now_of(dataclasses.replace(record, start=start), problems=["<b>bold</b>"])
    html = head_html(now) + now_html(now)
    assert "<script>" not in html
    assert "<img" not in html
    assert "<b>bold</b>" not in html


def test_a_page_without_a_scan_says_what_it_waits_for():
    assert "waiting for the first one in /data" in head_html(None, "waiting for the first one in /data")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (3599, "59 min 59 s"), (7800, "2 h 10 min")]
)
def test_durations_read_as_one_says_them(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(999, "999 B"), (1e3, "1 kB"), (3.21e9, "3.21 GB"), (2e12, "2 TB")])
def test_sizes_read_as_one_says_them(number, text):
    assert bytes_text(number) == text
