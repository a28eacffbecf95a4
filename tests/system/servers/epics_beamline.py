"""A beamline whose devices are all in EPICS: motor records, an areaDetector camera, a shutter, a PandA, over PVAccess.

Behind them stands the twin's world. The process variables are those that ophyd-async's own devices ask for. Every
pixel of a frame tells what was in the beam while its gate was open: DARK with the shutter closed, FLAT without the
sample, and else 1000 + 100 for each degree of the angle at mid exposure.
"""

import asyncio
import functools
import json
import signal
import sys
import threading
import time
from enum import Enum

import h5py
from ophyd_async.core import Signal, walk_devices
from ophyd_async.epics.adcore import ADBaseIO, NDFileHDF5IO
from ophyd_async.epics.core import epics_signal_r, epics_signal_rw, epics_signal_rw_rbv
from ophyd_async.epics.motor import Motor
from p4p.nt import NTEnum, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from danmax_bluesky.config import load_settings
from danmax_bluesky.twin.servers.hub import Hub
from danmax_bluesky.twin.servers.panda_server import PandaServer

DARK, FLAT, IN_THE_BEAM_MM = 10, 50_000, 5.0
PREFIX, CAMERA, PANDA_PREFIX = "SIM:", "orca", "SIM-PANDA:"
COLUMNS = ("angle_deg", "open", "x_mm", "lost")
SCALARS = {bool: "?", int: "i", float: "d", str: "s"}
MODES = {"Internal": "INTERNAL", "External": "EXTERNAL_EDGE", "Bulb": "EXTERNAL_LEVEL"}


class FileWriter:
    """Writes a frame for each gate, where the HDF5 plugin of areaDetector has them."""

    def __init__(self, name, config, on_event):
        self.shape, self.tell, self.file = (config["height"], config["width"]), on_event, None

    def start(self):
        self.tell({"event": "ready"})

    def arm(self, path, num):
        self.file = h5py.File(path, "w", libver="latest")
        self.frames = self.file.create_dataset(
            "/entry/data/data", (0, *self.shape), "uint16", maxshape=(None, *self.shape), chunks=(1, *self.shape)
        )
        self.file.swmr_mode = True
        self.triggered = 0
        self.tell({"event": "armed"})

    def expose(self, gates):
        for angle, is_open, x_mm, lost in zip(*(gates[key] for key in COLUMNS), strict=True):
            seen = FLAT if abs(x_mm) > IN_THE_BEAM_MM else round(1000 + 100 * angle)
            if not lost:
                self.frames.resize(len(self.frames) + 1, axis=0)
                self.frames[-1] = seen if is_open else DARK
            self.triggered += 1
        self.frames.flush()
        self.tell({"event": "frames", "written": len(self.frames), "triggered": self.triggered})

    def disarm(self):
        written = len(self.frames)
        self.file.close()
        self.tell({"event": "disarmed", "written": written})

    def close(self):
        if self.file:
            self.file.close()


class Records:
    """Process variables for the signals of ophyd-async's devices; what is put shows in the readback too."""

    def __init__(self):
        self.served, self.kinds, self.now, self.readbacks = {}, {}, {}, {}
        self.puts = {}  # process variable -> what a put does, and when it is complete if not at once
        self.news = threading.Condition()

    def add(self, device, choices=None, units="", **first):
        for path, child in {"": device, **walk_devices(device)}.items():
            if isinstance(child, Signal):
                backend = child._connector.backend
                is_enum = choices or issubclass(backend.datatype, Enum)
                words = choices or [word.value for word in backend.datatype] if is_enum else []
                now = first.get(path, words[0] if words else backend.datatype())
                for pv in {backend.read_pv, backend.write_pv} - {""}:
                    scalar = {} if words else {"valtype": SCALARS[backend.datatype], "display": True}
                    self.kinds[pv] = (NTScalar(**scalar) if scalar else NTEnum(), words, units)
                    self.served[pv] = SharedPV(initial=self.wrap(pv, now))
                    self.served[pv].put(functools.partial(self.put, pv))
                self.readbacks[backend.write_pv] = backend.read_pv

    def wrap(self, pv, value):
        self.now[pv] = value
        kind, words, units = self.kinds[pv]
        plain = {"index": words.index(value), "choices": words} if words else value
        wrapped = kind.wrap(plain, timestamp=time.time())
        if units and isinstance(value, float):
            wrapped["display.units"] = units
        return wrapped

    def put(self, pv, _shared, operation):
        raw, (_, words, _) = operation.value(), self.kinds[pv]
        value = words[raw["value.index"]] if words else raw["value"]
        work, is_over = self.puts.get(pv, (lambda _value: None, None))
        for shown in {pv, self.readbacks.get(pv) or pv}:
            self.post(shown, value)
        work(value)
        if is_over is None:
            operation.done()
        else:
            threading.Thread(target=self.answer, args=(is_over, operation), daemon=True).start()

    def answer(self, is_over, operation):
        """Tell the client that its put is complete once that is so: a motor rests, a camera has its frames."""
        with self.news:
            self.news.wait_for(is_over)
        operation.done()

    def post(self, pv, value):
        self.served[pv].post(self.wrap(pv, value))
        with self.news:
            self.news.notify_all()


class Beamline:
    """The records of the beamline, and the world behind them.

    Args:
        settings: of the world.
    """

    def __init__(self, settings):
        self.hub = Hub(settings, FileWriter)
        self.hub.start()
        self.records = Records()
        self.pvs = {}  # (device, register) of the world -> how it is shown
        for name, motor in settings.motors.items():
            self.add_motor(name, motor)
        self.add_camera(settings.detectors[CAMERA])
        self.add_singles(settings)
        self.hub.listen(self.show)
        self.panda = PandaServer(self.hub, PANDA_PREFIX)
        conf = {"EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1", "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1"}
        conf |= {
            "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_PVAS_SERVER_PORT": "0",
            "EPICS_PVAS_BROADCAST_PORT": "0",
        }
        self.server = Server(providers=[self.records.served], conf=conf, useenv=False)

    @property
    def addresses(self):
        return f"127.0.0.1:{self.server.conf()['EPICS_PVAS_SERVER_PORT']} {self.panda.address}"

    def close(self):
        self.server.stop()
        self.panda.close()
        self.hub.close()

    def show(self, device, register, value):
        for pv, shown in self.pvs.get((device, register), ()):
            self.records.post(pv, shown(value))

    def add_motor(self, name, motor):
        pv = f"{PREFIX}{name.upper()}"
        first = {"user_readback": motor.position, "user_setpoint": motor.position, "velocity": motor.velocity}
        first |= {
            "max_velocity": motor.max_velocity,
            "acceleration_time": motor.acceleration_time,
            "motor_done_move": 1,
        }
        first |= {"low_limit_travel": motor.low_limit, "high_limit_travel": motor.high_limit, "motor_egu": motor.units}
        self.records.add(Motor(f"pva://{pv}"), units=motor.units, **first)

        def rests():
            return not self.hub.get(name, "moving")

        def put(register):
            return lambda value: self.hub.put(name, register, value)

        self.records.puts[f"{pv}.VAL"] = (put("setpoint"), rests)
        self.records.puts[f"{pv}.VELO"] = (put("velocity"), None)
        self.records.puts[f"{pv}.ACCL"] = (put("acceleration_time"), None)
        self.records.puts[f"{pv}.STOP"] = (lambda _value: self.hub.order(name, "stop"), None)
        self.pvs[name, "readback"] = [(f"{pv}.RBV", float)]
        self.pvs[name, "moving"] = [(f"{pv}.DMOV", lambda moving: int(not moving))]

    def add_camera(self, detector):
        pv, records, hub = f"{PREFIX}CAM:", self.records, self.hub
        size = {"array_size_x": detector.width, "array_size_y": detector.height, "data_type": "UInt16"}
        records.add(ADBaseIO(f"pva://{pv}cam1:"), color_mode="Mono", detector_state="Idle", **size)
        records.add(epics_signal_r(float, f"pva://{pv}cam1:TemperatureActual"), units="degC")
        records.post(f"{pv}cam1:TemperatureActual", -20.5)
        records.add(NDFileHDF5IO(f"pva://{pv}HDF1:"), file_path_exists=True)
        records.add(epics_signal_rw_rbv(str, f"pva://{pv}cam1:TriggerMode"), choices=list(MODES))
        self.wanted = 0

        def capture(on):
            if on:
                path = f"{records.now[f'{pv}HDF1:FilePath']}{records.now[f'{pv}HDF1:FileName']}.h5"
                records.post(f"{pv}HDF1:FullFileName_RBV", path)
                hub.put(CAMERA, "file_path", path)
                self.wanted = 0
            else:
                hub.order(CAMERA, "disarm")

        def acquire(on):
            if on:
                self.wanted += hub.get(CAMERA, "num_frames")
                hub.order(CAMERA, "arm")

        def is_over():
            return not records.now[f"{pv}cam1:Acquire"]

        def triggered(count):
            if 0 < self.wanted <= count:
                records.post(f"{pv}cam1:Acquire", False)
            return not 0 < self.wanted <= count

        puts = {"TriggerMode": lambda mode: hub.put(CAMERA, "trigger_mode", MODES[mode])}
        puts |= {"NumImages": lambda num: hub.put(CAMERA, "num_frames", num)}
        puts |= {"AcquireTime": lambda time_s: hub.put(CAMERA, "exposure_time", time_s)}
        puts |= {"AcquirePeriod": lambda time_s: hub.put(CAMERA, "frame_period", time_s)}
        records.puts |= {f"{pv}cam1:{name}": (put, None) for name, put in puts.items()}
        records.puts[f"{pv}cam1:Acquire"] = (acquire, is_over)
        records.puts[f"{pv}HDF1:Capture"] = (capture, None)
        self.pvs[CAMERA, "frames_written"] = [(f"{pv}HDF1:NumCaptured_RBV", int)]
        self.pvs[CAMERA, "frames_triggered"] = [(f"{pv}cam1:Acquire_RBV", triggered)]

    def add_singles(self, settings):
        records, hub = self.records, self.hub
        words = ["closed", "open"]
        shutter = epics_signal_rw_rbv(str, f"pva://{PREFIX}SHUTTER")
        records.add(shutter, choices=words)
        records.puts[f"{PREFIX}SHUTTER"] = (lambda word: hub.put("fast_shutter", "setpoint", word), None)
        records.add(epics_signal_r(float, f"pva://{PREFIX}RING"))
        records.add(epics_signal_rw(int, f"pva://{PREFIX}LOSE"))

        async def lose_in_world(number):
            hub.world.faults.clear()
            if number:
                hub.world.faults.lose_frames(CAMERA, number)

        def lose(number):
            asyncio.run_coroutine_threadsafe(lose_in_world(number), hub._loop).result(10)

        records.puts[f"{PREFIX}LOSE"] = (lose, None)
        self.pvs["fast_shutter", "state"] = [(f"{PREFIX}SHUTTER_RBV", str)]
        self.pvs["ring_current", "current"] = [(f"{PREFIX}RING", float)]
        records.post(f"{PREFIX}RING", settings.source.ring_current_ma)


if __name__ == "__main__":
    beamline = Beamline(load_settings(options=json.loads(sys.argv[1])))
    sys.stdout.write("READY " + json.dumps({"servers": beamline.addresses}) + "\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    beamline.close()
