"""Values around the sample as they were noted, in `sample/environment` of a master: an NXsensor with an NXlog each.

What stands at each frame is interpolated from these: see `runs.environment`.
"""

import numpy as np

from danmax_bluesky.formats.nexus import iso, quantity
from danmax_bluesky.formats.tree import Dataset, Group, Node, nx
from danmax_bluesky.runs.environment import environment_of, environment_stream, samples
from danmax_bluesky.runs.record import RunRecord


def environment_group(record: RunRecord) -> dict[str, Node]:
    """The group `environment`, {} for a run without values around its sample.

    Args:
        record: the run.
    """
    sensors = {name: _sensor(record, name) for name in environment_of(record.start)}
    return {"environment": nx("NXenvironment", sensors)} if sensors else {}


def _sensor(record: RunRecord, name: str) -> Group:
    settings = environment_of(record.start)[name]
    about: dict[str, Node] = {
        key: Dataset(str(text))
        for key, text in (
            ("name", name),
            ("short_name", settings.get("description")),
            ("attached_to", settings.get("address")),
        )
        if text
    }
    stream = environment_stream(record, name)
    if stream is None:
        return nx("NXsensor", about)
    times, values = samples(stream, name)
    units = stream.units.get(name) or str(settings.get("units", ""))
    known = values[np.isfinite(values)]
    log: dict[str, Node] = {
        "time": quantity(times - times[0], "s", start=iso(float(times[0]))),
        "value": quantity(values, units),
    }
    if len(known):
        log["minimum_value"] = quantity(float(known.min()), units)
        log["maximum_value"] = quantity(float(known.max()), units)
    return nx("NXsensor", {**about, "value_log": nx("NXlog", log)})
