"""Validated settings: one file, environment variables and options, in rising order of precedence.

Without any of them the settings describe the simulated beamline, so `danmax demo` needs no file at all. Every field
is an environment variable, `DANMAX_DATA_ROOT` or `DANMAX_TWIN__SEED` (two underscores go down one level), and an
option of the command line, `--data-root` or `--twin.seed`.
"""

from danmax_bluesky.config.devices import (
    DetectorSettings,
    DeviceNames,
    EnvironmentSettings,
    MotorSettings,
    SnapshotSettings,
    TangoSettings,
)
from danmax_bluesky.config.recipes import (
    INSIDE,
    OF_EACH_FILE,
    RECIPE_FILES,
    RECIPE_IMAGES,
    RecipeSettings,
    SliceSettings,
    check_names,
)
from danmax_bluesky.config.remembered import beamline_folder, remember, state_folder
from danmax_bluesky.config.repeated import repeated
from danmax_bluesky.config.settings import TWIN, CatalogSettings, Settings
from danmax_bluesky.config.sources import PREFIX, changed, load_settings, setting_keys

__all__ = [
    "INSIDE",
    "OF_EACH_FILE",
    "PREFIX",
    "RECIPE_FILES",
    "RECIPE_IMAGES",
    "TWIN",
    "CatalogSettings",
    "DetectorSettings",
    "DeviceNames",
    "EnvironmentSettings",
    "MotorSettings",
    "RecipeSettings",
    "Settings",
    "SliceSettings",
    "SnapshotSettings",
    "TangoSettings",
    "beamline_folder",
    "changed",
    "check_names",
    "load_settings",
    "remember",
    "repeated",
    "setting_keys",
    "state_folder",
]
