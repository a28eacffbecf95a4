"""What the master calls a value that has a row for each frame: the names that DanMAX's own programs look for."""

from collections.abc import Collection, Mapping

TAKEN = ("start_positioners", "end_positioners")
"""Names in `/entry/instrument` of the master that are no channels."""


def default_channels() -> dict[str, str]:
    """Recorded value -> name in the master; where two have the same name, the first that was recorded counts.

    A value is a column that the PandA captures, a counter, a motor, an entry of the snapshot that did not change, or
    `elapsed`: seconds from the start of the scan to the end of each exposure.
    """
    return {
        "albaem_ch2": "albaem-xrd_ch2",
        "beam_monitor": "albaem-xrd_ch2",
        "albaem_ch3": "albaem-xrd_ch3",
        "transmitted": "albaem-xrd_ch3",
        "pcap_ts_trig": "pcap_trigts",
        "elapsed": "pcap_trigts",
        "hdcm_energy": "hdcm_E",
        "lakeshore_tempC": "lakeshore_tempC",
        "cryo_temp": "cryo_temp",
    }


def check_channels(channels: Mapping[str, str], devices: Collection[str]) -> None:
    """Each name can stand in a file, and is not that of a detector or a motor, whose arrays stand there too.

    Args:
        channels: recorded value -> name in the master.
        devices: names of the motors and detectors.

    Raises:
        ValueError: with the entry, its name, and what is allowed.
    """
    for key, name in channels.items():
        if not name.strip() or "/" in name or name in (".", "..") or not name.isprintable():
            raise ValueError(
                f"channels.{key}: {name!r} cannot be the name of a channel; write letters, and leave '/' out, or write "
                "`false` to record the value under its own name"
            )
        if name in TAKEN or (name in devices and name != key):
            raise ValueError(
                f"channels.{key}: {name!r} is the name of a motor, a detector or a snapshot in the master; take another"
            )
