import pytest

from danmax_bluesky.callbacks.scan_status import ScanRecords

START = {
    "uid": "run",
    "scan_id": 7,
    "data_root": "/data",
    "proposal": "20260001",
    "visit": "2026112108",
    "folder": "bone",
    "detectors": ["orca"],
    "segments": [
        {"name": "dark", "kind": "dark", "num": 2, "exposure_s": 1.0, "period_s": 2.0},
        {"name": "flat", "kind": "flat", "num": 2, "exposure_s": 1.0, "period_s": 2.0},
        {"name": "proj", "kind": "projection", "num": 4, "exposure_s": 1.0, "period_s": 2.0},
    ],
}


class Store:
    def __init__(self):
        self.values = {}
        self.history = []

    def update(self, values):
        self.values.update(values)
        self.history.append(dict(self.values))


class Scan:
    """Documents of a scan as a camera and a PandA make them."""

    def __init__(self, records):
        self.records = records

    def begin(self, name, start, num):
        self.records("descriptor", {"uid": f"d-{name}", "name": name, "run_start": "run", "data_keys": {}})
        for key, file in (("orca", "scan-0007_orca.h5"), ("tom_ry_mean", "scan-0007_panda.hdf5")):
            resource = {
                "uid": f"{key}-{name}",
                "data_key": key,
                "uri": f"file://localhost/data/{file}",
                "parameters": {"dataset": f"/entry/{key}", "slice": f"{start}:{start + num}"},
            }
            self.records("stream_resource", resource)

    def rows(self, name, key, stop):
        datum = {"stream_resource": f"{key}-{name}", "descriptor": f"d-{name}", "indices": {"start": 0, "stop": stop}}
        self.records("stream_datum", datum)


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def scan(store, now):
    return Scan(ScanRecords(store.update, lambda: now[0]))


def test_a_scan_tells_state_label_counts_and_times(scan, store, now):
    scan.records("start", START)
    assert (store.values["scan_state"], store.values["remaining"]) == ("starting", 16.0)
    scan.begin("dark", 0, 2)
    assert (store.values["scan_state"], store.values["label"]) == ("dark", "dark")
    now[0] += 4.0
    scan.rows("dark", "tom_ry_mean", 2)
    now[0] += 4.0
    scan.rows("dark", "orca", 2)
    assert (store.values["elapsed"], store.values["progress"], store.values["remaining"]) == (8.0, 25.0, 12.0)
    assert (store.values["frames_collected"], store.values["frames_saved"]) == (2, 2)
    scan.begin("proj", 4, 4)
    assert (store.values["scan_state"], store.values["label"]) == ("proj", "proj")


def test_darks_and_flats_are_told_with_file_dataset_and_slice(scan, store):
    scan.records("start", START)
    for name, first in (("dark", 0), ("flat", 2), ("proj", 4)):
        scan.begin(name, first, 2)
        scan.rows(name, "orca", 2)
    scan.records("stop", {"run_start": "run", "exit_status": "success", "uid": "s"})
    assert store.values["dark_file"] == "/data/scan-0007_orca.h5::/entry/orca[0:2]"
    assert store.values["white_file"] == "/data/scan-0007_orca.h5::/entry/orca[2:4]"
    assert store.values["last_file"] == "/data/20260001/2026112108/raw/bone/scan-0007.h5"
    assert (store.values["scan_state"], store.values["label"], store.values["remaining"]) == ("idle", "", 0.0)


def test_a_scan_without_darks_leaves_those_of_the_last_alone(scan, store):
    scan.records("start", {**START, "segments": START["segments"][2:]})
    scan.begin("proj", 0, 4)
    scan.rows("proj", "orca", 4)
    scan.records("stop", {"run_start": "run", "exit_status": "success", "uid": "s"})
    assert "dark_file" not in store.values
    assert "white_file" not in store.values


def test_the_file_is_not_written_for_every_frame(scan, store, now):
    scan.records("start", START)
    scan.begin("proj", 0, 4)
    before = len(store.history)
    for row in range(1, 4):
        now[0] += 0.01
        scan.rows("proj", "orca", row)
    assert len(store.history) == before
    now[0] += 1.0
    scan.rows("proj", "orca", 4)
    assert len(store.history) == before + 1
