"""Where the children of our devices are in Tango, with the names that DanMAX's devices have.

Settings may name every child otherwise: `attributes` of a motor or a detector.
"""

from danmax_bluesky.config import MotorSettings
from danmax_bluesky.devices.tango.backend import Attribute, AttributeLimit, Command, CommandsByValue, Constant, FilePath
from danmax_bluesky.devices.tango.connector import Table


def motor(settings: MotorSettings) -> Table:
    """A motor of Sardana's Pool, which is what an IcePAP axis is at DanMAX; Acceleration is a time.

    Limits and units are the controller's; where it tells none, those of the settings hold.
    """
    units, speed = settings.units, f"{settings.units}/s"
    return {
        "readback": Attribute("Position", units=units),
        "setpoint": Attribute("Position", units=units),
        "velocity": Attribute("Velocity", units=speed),
        "max_velocity": AttributeLimit("Velocity", "max_value", settings.max_velocity, speed),
        "acceleration_time": Attribute("Acceleration", units="s"),
        "low_limit": AttributeLimit("Position", "min_value", settings.low_limit, units),
        "high_limit": AttributeLimit("Position", "max_value", settings.high_limit, units),
        "moving": Attribute("State", true=("MOVING",)),
        "stop_motion": Command(("Stop",)),
    }


_SHUTTER_STATE = Attribute("State", words={"open": "OPEN", "closed": "CLOSE"})
SHUTTER: Table = {
    "state": _SHUTTER_STATE,
    "setpoint": CommandsByValue({"open": "Open", "closed": "Close"}, _SHUTTER_STATE),
}

RING_CURRENT: Table = {"current": Attribute("Current", units="mA")}

BEAM_MONITOR: Table = {"intensity": Attribute("Value")}

CAMERA: Table = {
    "exposure_time": Attribute("ExposureTime", units="s"),
    "frame_period": Attribute("FramePeriod", units="s"),
    "readout_time": Attribute("ReadoutTime", units="s"),
    "trigger_mode": Attribute("TriggerMode"),
    "num_frames": Attribute("nTriggers"),
    "file_path": Attribute("DestinationFilename"),
    "label": Attribute("Label"),
    "dark_file": Attribute("DarkFile"),
    "white_file": Attribute("WhiteFile"),
    "armed": Attribute("State", true=("RUNNING",)),
    "problem": Attribute("Problem"),
    "frames_written": Attribute("FramesWritten"),
    "frames_triggered": Attribute("FramesTriggered"),
    "width": Attribute("Width"),
    "height": Attribute("Height"),
    "dtype": Attribute("PixelType"),
    "arm": Command(("Arm",), lasting=True),
    "disarm": Command(("Stop",), lasting=True),
}

LIMA: Table = {
    "exposure_time": Attribute("acq_expo_time", units="s"),
    "frame_period": Constant(0.0),
    "readout_time": Attribute("latency_time", units="s"),
    "trigger_mode": Attribute(
        "acq_trigger_mode",
        words={
            "INTERNAL": "INTERNAL_TRIGGER",
            "EXTERNAL_EDGE": "EXTERNAL_TRIGGER_MULTI",
            "EXTERNAL_LEVEL": "EXTERNAL_GATE",
        },
    ),
    "num_frames": Attribute("acq_nb_frames"),
    "file_path": FilePath("saving_directory", "saving_prefix", "saving_suffix"),
    "label": Constant(""),
    "dark_file": Constant(""),
    "white_file": Constant(""),
    "armed": Attribute("acq_status", true=("Running",)),
    "problem": Constant(""),
    "frames_written": Attribute("last_image_saved", offset=-1.0),
    "frames_triggered": Attribute("last_image_ready", offset=-1.0),
    "width": Attribute("image_width"),
    "height": Attribute("image_height"),
    "dtype": Constant("uint16"),
    "arm": Command(("prepareAcq", "startAcq"), lasting=True),
    "disarm": Command(("stopAcq",), lasting=True),
}
"""A detector behind LIMA's generic interface, one HDF5 file an arming: saving_mode AUTO_FRAME, saving_format HDF5BS,
an empty saving_index_format. The setting `dataset` of the detector tells where in it the frames are."""
