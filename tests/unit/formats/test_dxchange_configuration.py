import json
from importlib.resources import files

import pytest

from danmax_bluesky.errors import FormatError
from danmax_bluesky.formats.dxchange_configuration import configuration_of, load_configuration, parse_slice, schema


def test_the_default_configuration_is_valid_and_names_its_schema():
    content = json.loads(files("danmax_bluesky.formats").joinpath("dxchange_configuration.json").read_text("utf-8"))
    assert content["$schema"] == "dxchange_configuration.schema.json"
    kinds = {entry.kind for entry in load_configuration().entries.values()}
    assert kinds == {"h5 link", "h5 copy", "tango", "value"}


def test_the_schema_for_editors_is_that_of_the_program():
    shipped = files("danmax_bluesky.formats").joinpath("dxchange_configuration.schema.json").read_text("utf-8")
    assert json.loads(shipped) == json.loads(json.dumps(schema()))


def test_the_schema_accepts_the_default():
    jsonschema = pytest.importorskip("jsonschema")
    content = json.loads(files("danmax_bluesky.formats").joinpath("dxchange_configuration.json").read_text("utf-8"))
    jsonschema.validate(content, schema())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "h5 lnk"}, "entry /a: kind 'h5 lnk' is none of 'h5 link', 'h5 copy', 'tango', 'value'"),
        ({}, "entry /a: 'kind' is missing"),
        ({"kind": "h5 link"}, "entry /a: 'path' is missing"),
        ({"kind": "value", "value": 1, "unit": "m"}, "entry /a: 'unit' = 'm' is not known"),
        ({"kind": "h5 copy", "file": "x", "path": "/d", "slice": "1;2"}, "'1;2' is no slice"),
        ({"kind": "tango", "device": "x", "at": "begin"}, r"entry /a: at: .*'start' or 'end' \(found 'begin'\)"),
    ],
)
def test_a_wrong_entry_is_named_with_what_was_found_and_what_is_allowed(entry, said):
    with pytest.raises(FormatError, match=said):
        configuration_of({"entries": {"/a": entry}}, "mine.json")


def test_a_path_must_be_absolute():
    with pytest.raises(FormatError, match="must be an absolute path"):
        configuration_of({"entries": {"a": {"kind": "value", "value": 1}}}, "mine.json")


def test_files_that_are_no_configuration_are_named(tmp_path):
    with pytest.raises(FormatError, match=r"gone\.json cannot be read"):
        load_configuration(tmp_path / "gone.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(FormatError, match=r"broken\.json is no valid JSON"):
        load_configuration(tmp_path / "broken.json")
    (tmp_path / "twice.json").write_text('{"entries": {"/a": {"kind": "value", "value": 1}, "/a": {}}}')
    with pytest.raises(FormatError, match="'/a' is given twice"):
        load_configuration(tmp_path / "twice.json")


@pytest.mark.parametrize(
    ("text", "slices"),
    [
        ("10:20", (slice(10, 20, None),)),
        ("0:100:2, :, 5:50", (slice(0, 100, 2), slice(None, None, None), slice(5, 50, None))),
        ("3", (slice(3, 4, None),)),
        ("-1", (slice(-1, None, None),)),
        ("::5", (slice(None, None, 5),)),
    ],
)
def test_slices_are_written_as_in_numpy(text, slices):
    assert parse_slice(text) == slices


@pytest.mark.parametrize("text", ["", "a", "1:2:0", "1:2:-1", "1,,2"])
def test_other_slices_are_refused(text):
    with pytest.raises(ValueError, match="is no slice"):
        parse_slice(text)
