import json
import os

import pytest
from bluesky import RunEngine
from bluesky import plans as bp

from danmax_bluesky.errors import ScanError, StorageError
from danmax_bluesky.shell.metadata import StoredMetadata


def test_what_is_added_is_there_again_and_what_was_given_is_not_kept(tmp_path):
    path = tmp_path / ".danmax" / "md.json"
    first = StoredMetadata(path, {"proposal": "1"})
    first["operator"] = "Ada"
    again = StoredMetadata(path, {"proposal": "2"})
    assert dict(again) == {"proposal": "2", "operator": "Ada"}
    assert json.loads(path.read_text()) == {"operator": "Ada"}


def test_what_is_deleted_is_gone_and_the_given_comes_back(tmp_path):
    metadata = StoredMetadata(tmp_path / "md.json", {"sample": "bone"})
    metadata["sample"] = "tooth"
    del metadata["sample"]
    assert metadata["sample"] == "bone"
    with pytest.raises(KeyError):
        del metadata["sample"]


def test_the_number_of_the_scan_is_not_kept(tmp_path):
    metadata = StoredMetadata(tmp_path / "md.json", {})
    metadata["scan_id"] = 7
    assert (metadata["scan_id"], len(StoredMetadata(tmp_path / "md.json", {}))) == (7, 0)


def test_what_cannot_be_kept_is_refused(tmp_path):
    metadata = StoredMetadata(tmp_path / "md.json", {})
    with pytest.raises(StorageError, match=r"RE\.md\['motor'\].*cannot be kept"):
        metadata["motor"] = object()
    assert "motor" not in metadata


def test_a_damaged_file_is_told(tmp_path):
    (tmp_path / "md.json").write_text("{")
    with pytest.raises(StorageError, match="move the file away"):
        StoredMetadata(tmp_path / "md.json", {})


def test_it_stands_in_every_start_document(tmp_path):
    engine = RunEngine({})
    engine.md = StoredMetadata(tmp_path / "md.json", {"proposal": "1"})
    engine.md["operator"] = "Ada"
    documents = []
    engine(bp.count([]), lambda name, doc: documents.append(doc))
    assert (documents[0]["operator"], documents[0]["proposal"], documents[0]["scan_id"]) == ("Ada", "1", 1)


def test_the_next_user_of_the_visit_may_read_what_the_one_before_kept(tmp_path):
    before = os.umask(0o077)
    try:
        StoredMetadata(tmp_path / "md.json", {})["operator"] = "Ada"
    finally:
        os.umask(before)
    assert (tmp_path / "md.json").stat().st_mode & 0o777 == 0o664


def test_metadata_that_may_not_be_read_keep_nobody_out_and_are_not_lost(tmp_path, monkeypatch, caplog):
    path = tmp_path / "md.json"
    StoredMetadata(path, {})["operator"] = "Ada"

    monkeypatch.setattr(os, "access", lambda *arguments, **options: False)  # root may read anything
    metadata = StoredMetadata(path, {"proposal": "1"})
    assert "may not be read by you; ask its owner for `chmod 664" in caplog.text
    assert dict(metadata) == {"proposal": "1"}
    with pytest.raises(StorageError, match="would be lost"):
        metadata["operator"] = "Bo"
    monkeypatch.undo()
    assert dict(StoredMetadata(path, {})) == {"operator": "Ada"}


def test_reserved_keys_are_refused_and_those_of_an_earlier_session_are_left_out(tmp_path, caplog):
    path = tmp_path / "md.json"
    path.write_text(json.dumps({"folder": "day2", "operator": "Ada", "sample": "tooth"}))
    metadata = StoredMetadata(path, {"folder": "day1", "sample": {"name": "bone"}})
    assert dict(metadata) == {"folder": "day1", "operator": "Ada", "sample": {"name": "bone"}}
    assert "folder = 'day2' is left out: use newfolder" in caplog.text
    with pytest.raises(ScanError, match="newfolder"):
        metadata["folder"] = "day3"
    metadata["dose"] = 3
    assert json.loads(path.read_text()) == {"operator": "Ada", "dose": 3}


def test_the_sample_holds_for_the_session_alone(tmp_path):
    metadata = StoredMetadata(tmp_path / "md.json", {"sample": {"name": "bone"}})
    metadata["sample"] = "tooth"
    metadata["operator"] = "Ada"
    assert metadata["sample"] == "tooth"
    assert dict(StoredMetadata(tmp_path / "md.json", {})) == {"operator": "Ada"}


def test_another_visit_has_its_own(tmp_path):
    metadata = StoredMetadata(tmp_path / "1" / "md.json", {})
    metadata["operator"] = "Ada"
    metadata.move(tmp_path / "2")
    assert dict(metadata) == {}
    metadata["operator"] = "Grace"
    metadata.move(tmp_path / "1")
    assert dict(metadata) == {"operator": "Ada"}
