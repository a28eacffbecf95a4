"""Which scans the page offers, and by which names."""

from pathlib import Path

from danmax_bluesky.live.scans import FolderScans, labels_of, scan_named


def _journal(folder: Path, number: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scan-{number:04d}_documents.jsonl"
    path.write_text("")
    return path


def test_the_same_number_in_the_same_folder_of_two_visits_has_two_names(tmp_path):
    first, second = (_journal(tmp_path / "p" / visit / "raw" / "day1", 1) for visit in ("v1", "v2"))
    other = _journal(tmp_path / "p" / "v2" / "raw" / "day2", 2)
    assert labels_of([first, second, other]) == {
        "scan-0001, v1/raw/day1": first,
        "scan-0001, v2/raw/day1": second,
        "scan-0002, day2": other,
    }


def test_every_scan_of_a_folder_with_several_visits_can_be_chosen(tmp_path):
    journals = {_journal(tmp_path / "p" / visit / "raw" / "day1", 1) for visit in ("v1", "v2")}
    scans = FolderScans(tmp_path)
    labels = labels_of(scans.all_journals())
    assert set(labels.values()) == journals
    assert {scan_named(scans.all_journals(), label) for label in labels} == journals


def test_a_scan_is_meant_by_its_number_its_name_or_its_label_and_by_nothing_else(tmp_path):
    latest, earlier = _journal(tmp_path / "day1", 12), _journal(tmp_path / "day1", 2)
    journals = [latest, earlier]
    for wanted in ("12", "0012", "scan-0012", "scan-0012, day1"):
        assert scan_named(journals, wanted) == latest
    for wanted in ("1", str(latest), "scan-12", "/etc/passwd", "²", "9" * 5000, ""):
        assert scan_named(journals, wanted) is None
