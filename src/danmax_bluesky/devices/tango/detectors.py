"""The detectors that are controlled over Tango: DanMAX's own interface, and LIMA's."""

from ophyd_async.core import PathProvider

from danmax_bluesky.config import DetectorSettings, Settings
from danmax_bluesky.devices.camera import Camera
from danmax_bluesky.devices.tango import tables
from danmax_bluesky.devices.tango.connector import Table, make_connector


def danmax(name: str, detector: DetectorSettings, settings: Settings, path_provider: PathProvider) -> Camera:
    """A detector whose Tango device has the names of DanMAX."""
    return _camera(name, detector, settings, path_provider, tables.CAMERA)


def lima(name: str, detector: DetectorSettings, settings: Settings, path_provider: PathProvider) -> Camera:
    """A detector behind LIMA's generic interface; it begins a new file with each arming."""
    return _camera(name, detector, settings, path_provider, tables.LIMA, rearms=False)


def _camera(
    name: str,
    detector: DetectorSettings,
    settings: Settings,
    path_provider: PathProvider,
    table: Table,
    rearms: bool = True,
) -> Camera:
    return Camera(
        path_provider,
        name,
        make_connector(name, detector.address, table, detector.attributes, settings.tango),
        level_trigger=detector.level_trigger,
        dataset=detector.dataset,
        rearms=rearms,
    )
