from danmax_bluesky.callbacks.catalog import CatalogFeed
from danmax_bluesky.testing.compose import compose_tomography


class Service:
    def __init__(self):
        self.announced = []
        self.ended = []

    def announce(self, uid, journal):
        self.announced.append((uid, journal))

    def note_end(self, uid):
        self.ended.append(uid)


def test_a_run_is_announced_once_with_its_journal_and_its_end_is_noted(tmp_path):
    run, service = compose_tomography(tmp_path, scan_id=12), Service()
    feed = CatalogFeed(service)
    for document in run.documents[:-1]:
        feed(*document)
    assert service.announced == [(run.start["uid"], run.folder / "scan-0012_documents.jsonl")]
    assert service.ended == []
    feed(*run.documents[-1])
    assert service.ended == [run.start["uid"]]


def test_a_run_without_a_place_on_disk_is_left_aside():
    service = Service()
    feed = CatalogFeed(service)
    feed("start", {"uid": "1", "time": 0.0})
    feed("stop", {"uid": "2", "run_start": "1", "time": 1.0, "exit_status": "success"})
    assert (service.announced, service.ended) == ([], [])
