"""Sessions on the twin."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import Session, make_session

SMALL = {
    "twin.clock": "fast",
    "detectors.orca.width": 96,
    "detectors.orca.height": 32,
    "detectors.orca.stall_s": 1.0,
    "detectors.pilatus.width": 487,
    "detectors.pilatus.height": 407,
    "detectors.pilatus.stall_s": 1.0,
    "formats.integrate": False,
    "formats.reconstruct": False,
    "catalog.kind": "off",
    "sample": "bone",
    "motors.tom_ry.velocity": 720,
    "motors.tom_sam_x.velocity": 400,
    "motors.tom_sam_x.max_velocity": 400,
    "motors.tom_sam_x.acceleration_time": 0.02,
}

CAMPAIGNS = ("test_faults", "test_tomo_killed", "test_network_faults")
_verdicts: dict[tuple[str, str], list[str]] = {}
_seconds: dict[tuple[str, str], float] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A campaign tries every fault in every phase, also those that the other runs try."""
    if config.getoption("-m") == "campaign":
        for item in items:
            if item.path.stem in CAMPAIGNS:
                item.add_marker("campaign")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Remember how each fault in each phase ended."""
    report = (yield).get_result()
    if item.path.stem in CAMPAIGNS and item.get_closest_marker("campaign") and (report.when == "call" or report.failed):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        phase = str(parameters.get("phase", ""))
        fault = item.name.split("[")[0].removeprefix("test_")
        fault += "".join(f" {parameters[name]}" for name in ("victim", "what") if name in parameters)
        _verdicts.setdefault((fault, phase), []).append(report.outcome)
        for name, value in item.user_properties:
            if name == "seconds":
                _seconds[fault, phase] = max(value, _seconds.get((fault, phase), 0.0))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of a campaign: fault by phase."""
    if not _verdicts:
        return
    phases = list(dict.fromkeys(phase for _, phase in _verdicts))
    terminalreporter.section("fault campaign")
    faults = list(dict.fromkeys(fault for fault, _ in _verdicts))
    wide = max(map(len, faults))
    terminalreporter.write_line(" ".join(["fault".ljust(wide), *(phase.rjust(10) for phase in phases)]))
    for fault in faults:
        cells = [
            _verdict(_verdicts.get((fault, phase), []), _seconds.get((fault, phase))).rjust(10) for phase in phases
        ]
        terminalreporter.write_line(" ".join([fault.ljust(wide), *cells]))


def _verdict(outcomes: list[str], seconds: float | None) -> str:
    if not outcomes:
        return ""
    if set(outcomes) == {"skipped"}:
        return "-"
    passed = outcomes.count("passed")
    told = f"ok {passed}" if seconds is None else f"ok {seconds:.1f} s"
    return told if passed == len(outcomes) else f"FAILED {len(outcomes) - passed}/{len(outcomes)}"


MakeSession = Callable[..., Session]


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[MakeSession]:
    """Makes sessions with small detectors on the fast twin; they are closed when the test ends."""
    with ExitStack() as open_ones:
        yield lambda root=None, **options: _session(open_ones, root or tmp_path / "data", options)


@pytest.fixture(scope="module")
def session_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSession]:
    """Makes sessions that all tests of a module share; they are closed when its last test ends."""
    with ExitStack() as open_ones:
        yield lambda **options: _session(open_ones, tmp_path_factory.mktemp("visit"), options)


def _session(open_ones: ExitStack, root: Path, options: dict[str, Any]) -> Session:
    dotted = {key.replace("__", "."): value for key, value in options.items()}
    settings = load_settings(options={**SMALL, "data_root": str(root), **dotted})
    return open_ones.enter_context(make_session(settings))
