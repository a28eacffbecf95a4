import dataclasses
from pathlib import Path

import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from danmax_bluesky.runs.record import RecordBuilder, fold, moved
from danmax_bluesky.testing.compose import Part, compose_tomography, tomography_parts


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return compose_tomography(tmp_path_factory.mktemp("record"))


def test_composed_documents_are_valid(run):
    for name, doc in run.documents:
        schema_validators[getattr(DocumentNames, name)].validate(doc)


def test_segments_are_slices_of_one_file(run):
    record = fold(run.documents)
    rows = {segment.name: (segment.images["orca"].start, segment.images["orca"].stop) for segment in record.segments}
    assert rows == {
        "dark": (0, 4),
        "flat": (4, 8),
        "proj": (8, 39),
        "ortho": (39, 41),
        "flat_after": (41, 45),
        "dark_after": (45, 49),
    }
    assert record.segments[2].images["orca"].limit == 39
    assert record.image_keys == ("orca",)
    assert record.segments[2].configuration["orca"]["orca-exposure_time"] == 0.01
    assert record.segments[2].configuration_units["orca-exposure_time"] == "s"
    assert [segment.name for segment in record.segments_of("flat")] == ["flat", "flat_after"]


def test_the_snapshots_frame_the_run(run):
    first, last = fold(run.documents).snapshots
    assert (first.values["ring_current"], last.values["ring_current"]) == (400.0, 398.5)
    assert first.units["tom_ry"] == "deg"


@pytest.mark.parametrize(
    ("exit_status", "lost", "status"),
    [
        ("success", [], "complete"),
        ("success", [3], "incomplete"),
        ("abort", [], "aborted"),
        ("fail", [], "failed"),
        (None, [], "open"),
    ],
)
def test_the_status_says_how_a_run_ended(tmp_path, exit_status, lost, status):
    parts = tomography_parts()
    parts[2] = dataclasses.replace(parts[2], lost=lost)
    record = fold(compose_tomography(tmp_path, parts, exit_status=exit_status).documents)
    assert record.status == status
    assert record.is_complete == (status == "complete")
    assert record.missing == ({"proj": 1} if lost else {})


def test_a_run_that_is_known_to_be_over_is_incomplete(run):
    record = dataclasses.replace(fold(run.until("stream_datum").documents), closed=True)
    assert record.status == "incomplete"
    assert record.missing == {"flat": 4, "proj": 31, "ortho": 2, "flat_after": 4, "dark_after": 4}


def test_a_phase_that_recurs_has_streams_of_its_own(tmp_path):
    parts = [Part(f"{kind}_{n:03d}", kind, [0.0, 1.0]) for n in (1, 2) for kind in ("flat", "projection")]
    record = fold(compose_tomography(tmp_path, parts).documents)
    assert [len(segment) for segment in record.segments_of("projection")] == [2, 2]


def test_before_the_start_there_is_no_record():
    with pytest.raises(ValueError, match="no start document"):
        _ = RecordBuilder().record


def test_what_devices_write_to_files_has_its_usual_units(run):
    units = fold(run.documents).segments[2].units
    assert {key: units[key] for key in ("tom_ry_mean", "tom_ry_diff", "pcap_ts_trig", "orca_timestamp")} == {
        "tom_ry_mean": "counts",
        "tom_ry_diff": "counts",
        "pcap_ts_trig": "s",
        "orca_timestamp": "s",
    }
    assert units["pcap_bits0"] == units["orca_frame_number"] == ""


def test_a_moved_record_points_to_where_the_files_are(run):
    record = moved(fold(run.documents), Path("/elsewhere"))
    assert record.files.master == Path("/elsewhere/scan-0001.h5")
    assert record.segments[0].images["orca"].file == Path("/elsewhere/scan-0001_orca.h5")
    assert record.start == run.start


def test_values_inside_the_documents_become_columns():
    start = {"uid": "r", "time": 0.0, "segments": [{"name": "primary", "kind": "data", "num": 2}]}
    keys = {"x": {"dtype": "number", "shape": [], "units": "mm", "source": ""}}
    documents = [
        ("start", start),
        (
            "descriptor",
            {"uid": "d", "name": "primary", "run_start": "r", "data_keys": keys, "hints": {"x": {"fields": ["x"]}}},
        ),
        ("event", {"descriptor": "d", "data": {"x": 1.0}, "time": 5.0, "seq_num": 1}),
        ("event", {"descriptor": "d", "data": {"x": 2.0}, "time": 6.0, "seq_num": 2}),
        ("stop", {"run_start": "r", "exit_status": "success", "time": 7.0}),
    ]
    (segment,) = fold(documents).segments
    np.testing.assert_array_equal(segment.columns["x"], [1.0, 2.0])
    assert (segment.units["x"], segment.times, segment.hints) == ("mm", (5.0, 6.0), {"x": ["x"]})
    assert fold(documents).is_complete
