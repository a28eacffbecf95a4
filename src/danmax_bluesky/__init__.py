"""Tomography and diffraction at DanMAX, MAX IV: plans, devices and callbacks for Bluesky.

The names below are the public face: they stay what they are from one version to the next, as
`docs/reference/public-names.md` says. Each is imported when it is first used, so that `import danmax_bluesky` and
`danmax --help` answer at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danmax_bluesky.config import RecipeSettings as Recipe
    from danmax_bluesky.config import Settings, load_settings
    from danmax_bluesky.errors import DanmaxError
    from danmax_bluesky.pipelines.catalog.client import find_runs, list_runs
    from danmax_bluesky.pipelines.catalog.session_catalog import open_catalog
    from danmax_bluesky.pipelines.export import export_text
    from danmax_bluesky.pipelines.scan_integration import integrate_scan as integrate
    from danmax_bluesky.pipelines.slice_process import reconstruct
    from danmax_bluesky.plans.in_situ import beside_program
    from danmax_bluesky.plans.stubs import arm, close_shutter, open_shutter
    from danmax_bluesky.plans.tomography import darks, flats, orthogonal_return, projections
    from danmax_bluesky.plans.user import Plans
    from danmax_bluesky.scattering.peaks import expected_lines_deg, peak_position_errors
    from danmax_bluesky.session import Session, make_session
    from danmax_bluesky.storage.patterns import read_patterns
    from danmax_bluesky.storage.reading import Scan, open_scan
    from danmax_bluesky.tomography.scan import TomoScan

__all__ = [
    "DanmaxError",
    "Plans",
    "Recipe",
    "Scan",
    "Session",
    "Settings",
    "TomoScan",
    "arm",
    "beside_program",
    "close_shutter",
    "darks",
    "expected_lines_deg",
    "export_text",
    "find_runs",
    "flats",
    "integrate",
    "list_runs",
    "load_settings",
    "make_session",
    "open_catalog",
    "open_scan",
    "open_shutter",
    "orthogonal_return",
    "peak_position_errors",
    "projections",
    "read_patterns",
    "reconstruct",
]

_HOMES = {
    "DanmaxError": "errors",
    "Plans": "plans.user",
    "Recipe": "config:RecipeSettings",
    "Scan": "storage.reading",
    "Session": "session",
    "Settings": "config",
    "TomoScan": "tomography.scan",
    "arm": "plans.stubs",
    "beside_program": "plans.in_situ",
    "close_shutter": "plans.stubs",
    "darks": "plans.tomography",
    "expected_lines_deg": "scattering.peaks",
    "export_text": "pipelines.export",
    "find_runs": "pipelines.catalog.client",
    "flats": "plans.tomography",
    "integrate": "pipelines.scan_integration:integrate_scan",
    "list_runs": "pipelines.catalog.client",
    "load_settings": "config",
    "make_session": "session",
    "open_catalog": "pipelines.catalog.session_catalog",
    "open_scan": "storage.reading",
    "open_shutter": "plans.stubs",
    "orthogonal_return": "plans.tomography",
    "peak_position_errors": "scattering.peaks",
    "projections": "plans.tomography",
    "read_patterns": "storage.patterns",
    "reconstruct": "pipelines.slice_process",
}
"""Public name -> the module where it lives, and, after a colon, what it is called there if not the same."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, called = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), called or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion at a prompt."""
    return sorted(__all__)
