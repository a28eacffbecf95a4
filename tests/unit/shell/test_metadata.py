import json

import pytest
from bluesky import RunEngine
from bluesky import plans as bp

from danmax_bluesky.errors import StorageError
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
