"""A run that is late is waited for once."""

from types import SimpleNamespace

from danmax_bluesky.pipelines.catalog.session_catalog import CatalogService


class Place(SimpleNamespace):
    """A catalogue that knows one run, which is over and not taken in; it counts how often it is asked."""

    asked = 0
    log = "feeder.log"

    def known_runs(self):
        return [self.run]

    def outcomes(self):
        self.asked += 1
        return {}


def test_a_run_that_is_late_is_waited_for_once_and_said_each_time(tmp_path, caplog):
    journal = tmp_path / "scan-0001_documents.jsonl"
    journal.write_text("")
    place = Place(run=SimpleNamespace(uid="uid", journal=journal))
    service = CatalogService(place, tmp_path)  # type: ignore[arg-type]
    service._wait_for_ended_runs(0.3)
    assert (service.late, place.asked > 3) == (["uid"], True)
    place.asked = 0
    service._wait_for_ended_runs(60.0)
    assert (service.late, place.asked) == (["uid"], 3)
    assert caplog.text.count("are not in the catalogue yet") == 2
