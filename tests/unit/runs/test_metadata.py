import datetime
import json
import re
from pathlib import Path

import event_model
import numpy as np
import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.runs.metadata import (
    NOTES,
    RESERVED,
    RunMetadata,
    holdable,
    refuse_reserved,
    sample_of,
    start_metadata,
)
from danmax_bluesky.runs.record import RunRecord

OWN = {
    "data_root": "/data",
    "proposal": "20260000",
    "visit": "2026000001",
    "folder": "bone",
    "sample": {"name": "bone"},
    "users": [{"name": "Ada", "affiliation": "Lund"}],
}


def made(**said):
    start = start_metadata(said, OWN)
    document = {**start, "uid": "u", "time": 0.0, "scan_id": 1}
    event_model.schema_validators[event_model.DocumentNames.start].validate(document)
    json.dumps(document, default=str).encode("utf-8")
    return start


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("tooth", {"name": "tooth"}),
        (12, {"name": "12"}),
        (1.5, {"name": "1.5"}),
        (np.int64(7), {"name": "7"}),
        ({"name": "tooth", "mass_mg": 3.5}, {"name": "tooth", "mass_mg": 3.5}),
        ({"name": 12}, {"name": "12"}),
        ({"color": "red"}, {"color": "red", "name": ""}),
        (None, {"name": "bone"}),
    ],
)
def test_a_sample_is_a_mapping_with_a_name_however_it_was_given(sample, expected):
    start = made(sample=sample)
    assert start["sample"] == expected
    assert NOTES not in start


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ("Ada", [{"name": "Ada"}]),
        (42, [{"name": "42"}]),
        ({"name": "Ada", "role": "user"}, [{"name": "Ada", "role": "user"}]),
        (["Ada", {"name": "Grace"}], [{"name": "Ada"}, {"name": "Grace"}]),
        ((), []),
        (None, []),
    ],
)
def test_users_are_mappings_with_a_name_however_they_were_given(users, expected):
    assert made(users=users)["users"] == expected


def test_what_nobody_said_is_said_by_the_session():
    assert made() == OWN


def test_a_sample_of_another_kind_becomes_text_with_a_note():
    start = made(sample=["a", "b"])
    assert start["sample"] == {"name": "['a', 'b']"}
    assert start[NOTES] == ["sample: list recorded as text"]


@pytest.mark.parametrize(
    ("value", "recorded", "note"),
    [
        ("a\0b", "a\\x00b", "characters that a file cannot hold"),
        ("Pr\udcf6be", "Pr\\udcf6be", "characters that a file cannot hold"),
        (b"Pr\xf6be", "Pr\\xf6be", ""),
        (2**70, str(2**70), "does not fit into 64 bits"),
        (-(2**63), -(2**63), ""),
        (1 + 2j, "(1+2j)", "complex recorded as text"),
        (Path("/data"), "/data", ""),
        (datetime.date(2026, 11, 27), "2026-11-27", "date recorded as text"),
        ({"b", "a"}, ["a", "b"], ""),
        (np.float32(0.5), 0.5, ""),
        ([1, 2**70], [1, str(2**70)], r"comment\[1\]"),
        (True, True, ""),
        (None, None, ""),
    ],
)
def test_a_value_that_no_file_can_hold_becomes_text_with_a_note(value, recorded, note):
    start = made(comment=value)
    assert start["comment"] == recorded
    assert bool(note) == (NOTES in start)
    assert re.search(note, " ".join(start.get(NOTES, [])))


def test_a_key_that_no_document_can_have_is_spelled_in_another_way():
    start = made(**{"dose mg/kg": 3, "dose mg_kg": 4, "a.b": {"c/d": 5}})
    assert (start["dose mg_kg"], start["dose mg_kg_"], start["a_b"]) == (4, 3, {"c_d": 5})
    assert start[NOTES] == [
        "dose mg_kg_: the key was 'dose mg/kg'",
        "a_b: the key was 'a.b'",
        "a_b.c_d: the key was 'c/d'",
    ]


def test_fields_that_documents_want_as_text_are_text():
    start = made(group=12, owner=["Ada"], plan_name=3)
    assert (start["group"], start["owner"], start["plan_name"]) == ("12", "['Ada']", "3")
    assert len(start[NOTES]) == 3
    assert made(command=None)["command"] is None


def test_a_value_that_holds_itself_does_not_hold_up_a_scan():
    endless: list = []
    endless.append(endless)
    value, notes = holdable(endless, "x")
    assert json.dumps(value)
    assert "nested more than" in notes[0]


def test_numbers_in_an_array_stay_as_they_are():
    positions = np.arange(3.0)
    assert holdable({"positions": positions})[0]["positions"] is positions


@pytest.mark.parametrize("key", sorted(RESERVED))
def test_a_reserved_key_is_refused_with_what_to_do_instead(key):
    with pytest.raises(ScanError) as refused:
        refuse_reserved(["operator", key], "RE.md[{key!r}]")
    text = str(refused.value)
    assert text.startswith(f"RE.md[{key!r}] cannot be set: ")
    assert "{key}" not in text


@pytest.mark.parametrize(("key", "word"), [("folder", "newfolder"), ("visit", "newvisit"), ("proposal", "newvisit")])
def test_the_command_that_moves_all_files_is_named(key, word):
    with pytest.raises(ScanError, match=rf"{word}\(.*danmax {word} "):
        refuse_reserved([key], "{key}")


@pytest.mark.parametrize("key", ["folder", "visit", "proposal", "data_root"])
def test_a_plan_cannot_say_another_place_than_the_session(key):
    with pytest.raises(ScanError, match=f"the metadata say {key} = 'elsewhere', and the session {OWN[key]!r}: "):
        start_metadata({key: "elsewhere"}, OWN)


@pytest.mark.parametrize("key", ["series", "segments", "scan", "hints", "detectors", "time", "uid"])
def test_a_plan_cannot_say_what_would_cost_the_files_of_its_scan(key):
    with pytest.raises(ScanError, match=f"the metadata say {key} = 'first'.*such as my_{key}"):
        start_metadata({key: "first"}, OWN)


def test_a_plan_cannot_say_another_source_than_the_settings():
    with pytest.raises(ScanError, match=r"the metadata say source = 'lamp', and the session .*the settings say it"):
        start_metadata({"source": "lamp"}, {**OWN, "source": {"name": "MAX IV"}})


def test_metadata_refuse_reserved_keys_and_keep_what_the_session_says():
    metadata = RunMetadata(OWN)
    with pytest.raises(ScanError, match="newfolder"):
        metadata["folder"] = "day2"
    with pytest.raises(ScanError, match="newfolder"):
        metadata.update(folder="day2")
    metadata["sample"] = "tooth"
    metadata["scan_id"] = 3
    assert (metadata["folder"], metadata["sample"], metadata["scan_id"]) == ("bone", "tooth", 3)
    metadata.say({"folder": "day2"})
    metadata.forget("sample")
    assert (metadata["folder"], metadata["sample"]) == ("day2", {"name": "bone"})


def test_runs_of_before_are_read_as_those_of_today():
    record = RunRecord({"uid": "u", "sample": "tooth", "users": "Ada"})
    assert record.start["sample"] == {"name": "tooth"}
    assert record.start["users"] == [{"name": "Ada"}]
    assert sample_of({"sample": 3}) == {"name": "3"}
    assert sample_of({}) == {"name": ""}
