"""The entry that says how the beamline was: source, monochromator, beam, detectors, and how each device was set.

It claims no definition. DanMAX's programs walk `/entry/instrument` of the master and take all of every array there, so
that group holds arrays alone, and whatever is one value, a text or a group of such stands here.
"""

from pathlib import Path

import numpy as np

from danmax_bluesky.formats.dxchange import DatasetInfo, DatasetLookup
from danmax_bluesky.formats.nexus import detector_settings, iso, quantity, relative, storable
from danmax_bluesky.formats.nxtomo import detector_geometry, source_group
from danmax_bluesky.formats.tree import Dataset, ExternalLink, Group, Node, nx
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.sardana_title import sardana_title
from danmax_bluesky.runs.segments import FrameSource, Snapshot
from danmax_bluesky.scattering.photon_energy import KEV_ANGSTROM

BEAMLINE_ENTRY = "entry_beamline"


def beamline_entry(record: RunRecord, folder: Path, look: DatasetLookup | None) -> Group:
    """The beamline as it was during a run.

    Args:
        record: the run.
        folder: where the file that holds the entry lies; links are relative to it.
        look: tells what the detectors' files hold beside their frames; None where nobody can look.
    """
    source = record.start.get("source", {})
    energy_kev = float(source.get("energy_kev", np.nan))
    fields: dict[str, Node] = {
        "name": Dataset(source.get("instrument", "DanMAX")),
        "source": source_group(record),
        "monochromator": nx(
            "NXmonochromator",
            {
                "energy": quantity(energy_kev, "keV"),
                "wavelength": quantity(KEV_ANGSTROM / energy_kev, "angstrom"),
            },
        ),
        "beam": nx("NXbeam", {"incident_energy": quantity(energy_kev, "keV")}),
        **{key: _detector(record, key, folder, look) for key in record.image_keys},
    }
    if configuration := _configuration(record):
        fields["configuration"] = nx("NXcollection", configuration)
    for last in record.snapshots[1:][-1:]:
        fields["end_positioners"] = positioners(record, last)
    return nx("NXentry", {"title": Dataset(sardana_title(record)), "instrument": nx("NXinstrument", fields)})


def positioners(record: RunRecord, snapshot: Snapshot) -> Group:
    """One reading of the motors and of everything else that is recorded once at the start and once at the end."""
    about = {key: {"long_name": text} for key, text in record.start.get("descriptions", {}).items()}
    values = {
        key: quantity(storable(value), snapshot.units.get(key, ""), **about.get(key, {}))
        for key, value in snapshot.values.items()
    }
    return nx("NXcollection", values, time=iso(snapshot.time))


def frames_source(record: RunRecord, key: str) -> FrameSource:
    """Where the frames of a detector begin."""
    return next(segment.images[key] for segment in record.segments if key in segment.images)


def _detector(record: RunRecord, key: str, folder: Path, look: DatasetLookup | None) -> Group:
    settings = detector_settings(record, key)
    fields: dict[str, Node] = {
        "local_name": Dataset(key),
        **{name: Dataset(settings[name]) for name in ("manufacturer", "model", "description") if settings.get(name)},
        "type": Dataset("pixel counting" if settings.get("kind") == "counting" else "imaging camera"),
        **detector_geometry(record, key),
    }
    source = frames_source(record, key)
    file, mask = relative(source.file, folder), f"{source.dataset.rsplit('/', 1)[0]}/pixel_mask"
    if look is not None and isinstance(look(file, mask), DatasetInfo):
        fields["pixel_mask"] = ExternalLink(file, mask)
    return nx("NXdetector", fields)


def _configuration(record: RunRecord) -> dict[str, Node]:
    """How each device was set, as its first segment found it: one group a device.

    A camera that exposes as long as its trigger's gate ignores the exposure that it is set to: `count_time` tells.
    """
    devices: dict[str, Node] = {}
    for segment in record.segments:
        for device, values in segment.configuration.items():
            if values and device not in devices:
                gated = values.get(f"{device}-trigger_mode") == "EXTERNAL_LEVEL"
                fields: dict[str, Node] = {
                    key.removeprefix(f"{device}-"): quantity(storable(value), segment.configuration_units.get(key, ""))
                    for key, value in values.items()
                    if not (gated and key == f"{device}-exposure_time")
                }
                devices[device] = nx("NXcollection", fields)
    return devices
