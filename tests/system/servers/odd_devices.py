# ruff: noqa: N802, T201  Tango's names begin with capitals, and the test listens to what is printed
"""Tango devices that differ from the usual ones: other names, other words, other units, no events."""

import sys
import threading
import time

import tango
from tango import AttrWriteType, DevState
from tango.server import Device, attribute, command

from danmax_bluesky.devices.tango import serving

POLLED_EVERY_MS = 30000


class QuietMotor(Device):
    """Sends no events, tells no limits, and has names of its own; position in steps of a micrometre."""

    def init_device(self):
        super().init_device()
        self.steps = self.target = 0
        self.speed = 4000
        self.moves = threading.Event()
        self.set_state(DevState.ON)

    @attribute(dtype=int, access=AttrWriteType.READ_WRITE, min_value=-20000, max_value=20000)
    def Steps(self):
        return self.steps

    def write_Steps(self, value):
        self.target = value
        self.set_state(DevState.MOVING)
        threading.Thread(target=self.travel, daemon=True).start()

    def travel(self):
        with tango.EnsureOmniThread():
            while self.steps != self.target and self.get_state() == DevState.MOVING:
                time.sleep(0.01)
                step = min(self.speed // 100, abs(self.target - self.steps))
                self.steps += step if self.target > self.steps else -step
            self.set_state(DevState.ON)

    @attribute(dtype=float, access=AttrWriteType.READ_WRITE)
    def Speed(self):
        return float(self.speed)

    def write_Speed(self, value):
        self.speed = int(value)

    @attribute(dtype=float, access=AttrWriteType.READ_WRITE)
    def Ramp(self):
        return 0.1

    def write_Ramp(self, value):
        pass

    @command
    def Halt(self):
        self.set_state(DevState.ON)

    @attribute(dtype=float)
    def Slow(self):
        time.sleep(1.5)
        return 1.0


class Valve(Device):
    """A shutter whose state is an enumeration that is written; once hushed it loses its events."""

    def init_device(self):
        super().init_device()
        self.place = 0
        self.hushed = False
        self.set_change_event("Place", True, False)

    @attribute(dtype="DevEnum", enum_labels=["IN", "OUT"], access=AttrWriteType.READ_WRITE)
    def Place(self):
        return self.place

    def write_Place(self, value):
        self.place = value
        if not self.hushed:
            self.push_change_event("Place", value)

    @command(dtype_in=bool)
    def Hush(self, hushed):
        self.hushed = hushed


class Oven(Device):
    """A temperature that its controller measures twice a second only, and a setpoint within limits."""

    def init_device(self):
        super().init_device()
        self.goal, self.value, self.measured = 25.0, 25.0, 0.0

    @attribute(dtype=float, unit="degC")
    def Temperature(self):
        if time.time() - self.measured > 0.5:
            self.value, self.measured = self.goal, time.time()
        return self.value, self.measured, tango.AttrQuality.ATTR_VALID

    @attribute(dtype=float, access=AttrWriteType.READ_WRITE, min_value=0, max_value=500)
    def Setpoint(self):
        return self.goal

    def write_Setpoint(self, value):
        self.goal = value


class LimaDetector(Device):
    """The generic interface of LIMA, as far as a detector of ours uses it; its server polls the counts now and then."""

    def init_device(self):
        super().init_device()
        self.values = {
            "acq_expo_time": 1.0,
            "latency_time": 0.002,
            "acq_trigger_mode": "INTERNAL_TRIGGER",
            "acq_nb_frames": 1,
            "saving_directory": "",
            "saving_prefix": "",
            "saving_suffix": "",
        }
        self.done = -1
        self.linger = 0.0
        self.status = "Ready"

    def initialize_dynamic_attributes(self):
        kinds = {"acq_expo_time": float, "latency_time": float, "acq_nb_frames": int}
        for name in self.values:
            self.add_attribute(
                attribute(
                    name=name,
                    dtype=kinds.get(name, str),
                    access=AttrWriteType.READ_WRITE,
                    fget=self.read_any,
                    fset=self.write_any,
                )
            )

    def read_any(self, attr):
        return self.values[attr.get_name()]

    def write_any(self, attr):
        self.values[attr.get_name()] = attr.get_write_value()

    @attribute(dtype=int)
    def image_width(self):
        return 96

    @attribute(dtype=int)
    def image_height(self):
        return 32

    @attribute(dtype=str)
    def acq_status(self):
        return self.status

    @attribute(dtype=int, polling_period=POLLED_EVERY_MS)
    def last_image_saved(self):
        return self.done

    @attribute(dtype=int, polling_period=POLLED_EVERY_MS)
    def last_image_ready(self):
        return self.done

    @command
    def prepareAcq(self):
        time.sleep(self.linger)
        self.status = "Configuring"
        self.done = -1

    @command
    def startAcq(self):
        if self.status != "Configuring":
            raise RuntimeError("prepareAcq comes first")
        self.status = "Running"

    @command
    def stopAcq(self):
        self.status = "Ready"

    @command(dtype_in=float)
    def Linger(self, seconds):
        self.linger = seconds

    @command(dtype_in=int)
    def Pretend(self, frames):
        self.done = frames - 1


if __name__ == "__main__":
    serving.serve(
        "Odd",
        {"odd/test/motor": QuietMotor, "odd/test/valve": Valve, "odd/test/lima": LimaDetector, "odd/test/oven": Oven},
        port=int(sys.argv[1]) if len(sys.argv) > 1 else None,
        when_ready=lambda addresses: print(serving.announce(addresses), flush=True),
    )
