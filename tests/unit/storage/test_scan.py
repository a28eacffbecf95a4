"""What belongs to a measured scan beside its frames."""

import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage import scan as module
from danmax_bluesky.storage.reading import open_scan


@pytest.fixture
def names(run, monkeypatch):
    """Makes files of patterns by name; `Scan.patterns` then answers with the name of the file that it took."""
    scan = open_scan(run.folder)
    folder = run.folder.parents[1] / "process" / "azint" / run.folder.name
    monkeypatch.setattr(module, "read_patterns", lambda path, layout: path.name)

    def make(*made):
        monkeypatch.setattr(module.Scan, "pattern_files", lambda _: [folder / name for name in sorted(made)])
        return scan

    return make


@pytest.mark.parametrize("detector", ["", "orca"])
def test_the_recipe_azint_is_the_one_that_stands_in_no_name(names, detector):
    scan = names("scan-0001_orca_fine_integrated.h5", "scan-0001_orca_integrated.h5")
    assert scan.patterns(detector, "azint") == "scan-0001_orca_integrated.h5"
    assert scan.patterns(detector, "fine") == "scan-0001_orca_fine_integrated.h5"
    assert scan.patterns("", "azint") == "scan-0001_orca_integrated.h5"


def test_patterns_of_azint_that_are_not_there_are_told_with_those_that_are(names):
    scan = names("scan-0001_orca_fine_integrated.h5")
    with pytest.raises(StorageError, match=r"no integrated patterns of azint; with patterns: scan-0001_orca_fine_int"):
        scan.patterns(recipe="azint")
