"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).parent.parent
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of a server of another program may fail once: the server may be late. No other test is run again."""
    for item in items:
        if item.get_closest_marker("real_server"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def _settings_from_the_test_alone(monkeypatch):
    """A developer's own settings must not decide how a test ends."""
    for variable in [name for name in os.environ if name.startswith("DANMAX_") and name != "DANMAX_TEST_DATA"]:
        monkeypatch.delenv(variable)


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of real measurements: DANMAX_TEST_DATA, else ../shared/data; without it the test is skipped."""
    folder = Path(os.environ.get("DANMAX_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "tomography").is_dir():
        pytest.skip(f"no recorded measurements in {folder}; name their folder in DANMAX_TEST_DATA")
    return folder
