"""Where the children of our devices are in Tango, with the names that DanMAX's devices have.

Settings may name every child otherwise: `attributes` of a motor or a detector.
"""

import numpy as np

from danmax_bluesky.devices.tango.backend import Attribute, Command, Fixed, Property, Verbs
from danmax_bluesky.devices.tango.connector import Table

UNLIMITED = float(np.finfo(np.float64).max)

MOTOR: Table = {
    "readback": Attribute("Position"),
    "setpoint": Attribute("Position"),
    "velocity": Attribute("Velocity"),
    "max_velocity": Property("Velocity", "max_value", UNLIMITED),
    "acceleration_time": Attribute("Acceleration"),
    "low_limit": Property("Position", "min_value", -UNLIMITED),
    "high_limit": Property("Position", "max_value", UNLIMITED),
    "moving": Attribute("State", true=("MOVING",)),
    "stop_motion": Command(("Stop",)),
}
"""A motor of Sardana's Pool, which is what an IcePAP axis is at DanMAX; Acceleration is a time."""

_SHUTTER_STATE = Attribute("State", words={"open": "OPEN", "closed": "CLOSE"})
SHUTTER: Table = {
    "state": _SHUTTER_STATE,
    "setpoint": Verbs({"open": "Open", "closed": "Close"}, _SHUTTER_STATE),
}

RING_CURRENT: Table = {"current": Attribute("Current")}

CAMERA: Table = {
    "exposure_time": Attribute("ExposureTime"),
    "frame_period": Attribute("FramePeriod"),
    "readout_time": Attribute("ReadoutTime"),
    "trigger_mode": Attribute("TriggerMode"),
    "num_frames": Attribute("nTriggers"),
    "file_path": Attribute("DestinationFilename"),
    "label": Attribute("Label"),
    "armed": Attribute("State", true=("RUNNING",)),
    "frames_written": Attribute("FramesWritten"),
    "frames_triggered": Attribute("FramesTriggered"),
    "width": Attribute("Width"),
    "height": Attribute("Height"),
    "dtype": Attribute("PixelType"),
    "arm": Command(("Arm",)),
    "disarm": Command(("Stop",)),
}

LIMA: Table = {
    "exposure_time": Attribute("acq_expo_time"),
    "frame_period": Fixed(0.0),
    "readout_time": Attribute("latency_time"),
    "trigger_mode": Attribute(
        "acq_trigger_mode",
        words={
            "INTERNAL": "INTERNAL_TRIGGER",
            "EXTERNAL_EDGE": "EXTERNAL_TRIGGER_MULTI",
            "EXTERNAL_LEVEL": "EXTERNAL_GATE",
        },
    ),
    "num_frames": Attribute("acq_nb_frames"),
    "file_path": Attribute("saving_prefix"),
    "label": Fixed(""),
    "armed": Attribute("acq_status", true=("Running",)),
    "frames_written": Attribute("last_image_saved", offset=-1.0),
    "frames_triggered": Attribute("last_image_ready", offset=-1.0),
    "width": Attribute("image_width"),
    "height": Attribute("image_height"),
    "dtype": Fixed("uint16"),
    "arm": Command(("prepareAcq", "startAcq")),
    "disarm": Command(("stopAcq",)),
}
"""A detector behind LIMA's generic interface; its file has to be laid out as `devices.camera` wants it."""
