"""What is said of runs that the catalogue does not hold whole, and which of them are waited for."""

import json
from types import SimpleNamespace

import pytest

from danmax_bluesky.pipelines.catalog.session_catalog import CUT_OFF, ON_ITS_WAY, CatalogService


class Folder(SimpleNamespace):
    """A catalogue that knows one run, which is over and not taken in; it counts how often it is asked."""

    asked = 0
    log = "feeder.log"

    def announced_runs(self):
        return [self.run]

    def outcomes(self):
        self.asked += 1
        return {}


def test_a_run_that_is_late_is_waited_for_once_and_said_each_time(tmp_path, caplog):
    journal = tmp_path / "scan-0001_documents.jsonl"
    journal.write_text("")
    folder = Folder(run=SimpleNamespace(uid="uid", journal=journal))
    service = CatalogService(folder, tmp_path)  # type: ignore[arg-type]
    service._wait_for_ended_runs(0.3)
    assert (service.late, folder.asked > 3) == (["uid"], True)
    folder.asked = 0
    service._wait_for_ended_runs(60.0)
    assert (service.late, folder.asked) == (["uid"], 3)
    assert caplog.text.count("are not in the catalogue yet") == 2


@pytest.mark.parametrize(
    ("documents", "is_awaited"),
    [
        ([["start", {"uid": "uid", "derived_from": "other"}]], False),
        ([["start", {"uid": "uid", "derived_from": "other"}], ["stop", {"exit_status": "success"}]], True),
        ([["start", {"uid": "uid"}]], True),
    ],
)
def test_patterns_whose_worker_died_are_said_to_be_cut_off_and_not_waited_for(tmp_path, documents, is_awaited):
    journal = tmp_path / "scan-0001_pilatus_documents.jsonl"
    journal.write_text("".join(json.dumps(document) + "\n" for document in documents))
    folder = Folder(run=SimpleNamespace(uid="uid", journal=journal))
    service = CatalogService(folder, tmp_path)  # type: ignore[arg-type]
    service._wait_for_ended_runs(0.3 if is_awaited else 60.0)
    assert (folder.asked > 3) is is_awaited
    assert service.late == (["uid"] if is_awaited else [])
    assert service.said == {"uid": ON_ITS_WAY if is_awaited else CUT_OFF}
