"""A virtual PandA: it executes what its registers say, and knows nothing of who wrote them.

Two sequencers and two position compares drive the lines a to f; a line is high while any of them wants it high.
PCOMP1 drives line a, PCOMP2 line b. PCAP captures one row for every interval in which any line is high, at its end:
the encoders, the time, and PCAP.BITS0: the lines (a is 1, b is 2, ... f is 32), whether the fast shutter is
open (64), and whether there is beam (128).

Wires of the sequencers: POSA is the encoder that the register `posa` names, POSB the vertical translation. BITA is the
ACTIVE of the other sequencer, BITB the fast shutter (1 open), BITC the beam (1 there).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.axis import Publish, nobody
from danmax_bluesky.twin.capture import CaptureFile, capture, dataset_names
from danmax_bluesky.twin.clock import SECOND, Clock
from danmax_bluesky.twin.compare import Compare, CompareRun
from danmax_bluesky.twin.encoder import Encoder
from danmax_bluesky.twin.gates import Gates, GateTracker, line_mask, merged
from danmax_bluesky.twin.history import Steps
from danmax_bluesky.twin.sequencer import (
    LINES,
    Inputs,
    SequencerRun,
    Transitions,
    no_transitions,
    read_table,
)

FLUSH_NS = SECOND // 10
SEQUENCERS = ("seq1", "seq2")
COMPARES = ("pcomp1", "pcomp2")


Levels = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Times, and numbers of the rows captured -> whether the shutter is open, whether there is beam; 0 or 1 each."""


class VirtualPanda:
    """The PandA of the twin.

    Args:
        clock: of the twin.
        axes: position bus -> name of the axis whose encoder it carries.
        encoders: position bus -> encoder; the first is that of the rotation, which the position compares follow.
        posb: position bus that is wired to POSB, or "".
        wires: "BITB", "BITC" -> what is wired to it.
    """

    def __init__(
        self,
        clock: Clock,
        axes: Mapping[str, str],
        encoders: Mapping[str, Encoder],
        posb: str,
        wires: Mapping[str, Steps],
    ) -> None:
        self._clock = clock
        self._encoders = dict(encoders)
        self._captured = {axes[bus]: encoder for bus, encoder in encoders.items()}
        self._posb = posb
        self._wires = wires
        self._active = {name: Steps(0) for name in SEQUENCERS}
        first = next(iter(encoders))
        self.registers: dict[str, Any] = {f"{name}.posa": first for name in SEQUENCERS} | {
            "data.hdf_directory": "",
            "data.hdf_file_name": "",
            "data.create_directory": 0,
        }
        self.publish: Publish = nobody
        self.on_gates: Callable[[Mapping[str, Gates]], None] = lambda _gates: None
        self.on_start: Callable[[], None] = lambda: None
        self.inputs: Levels = lambda times, _rows: (np.ones(len(times), int), np.ones(len(times), int))
        self._runs: dict[str, SequencerRun | CompareRun] = {}
        self._outputs = dict.fromkeys((*SEQUENCERS, *COMPARES), 0)
        self._lines = {line: GateTracker(line_mask(line)) for line in LINES}
        self._any = GateTracker(line_mask())
        self._armed_ns: int | None = None
        self._file: CaptureFile | None = None
        self._rows: list[Mapping[str, np.ndarray]] = []
        self._flushed_ns = 0

    @property
    def datasets(self) -> list[str]:
        """Names of what is captured."""
        return dataset_names(list(self._captured))

    @property
    def busy(self) -> bool:
        """True while a block is enabled and not done."""
        return bool(self._runs)

    @property
    def waiting(self) -> bool:
        """True while every enabled block waits for its trigger."""
        return all(run.waiting for run in self._runs.values())

    def put(self, register: str, value: Any) -> None:
        """Write a register, named as "seq1.enable", "pcomp2.start", "pcap.arm" or "data.capture"."""
        self._clock.touch()
        value = getattr(value, "value", value)
        before, self.registers[register] = self.registers.get(register), value
        block, _, name = register.partition(".")
        if name == "enable":
            if value == "ONE" and before != "ONE":
                self._enable(block)
            elif value != "ONE":
                self._disable(block)
        elif register == "pcap.arm":
            self._arm(bool(value))
        elif register == "data.hdf_directory":
            self._check_directory(Path(value))
        elif register == "data.capture":
            self._capture(bool(value))

    def advance(self, now_ns: int) -> None:
        """Do everything up to `now_ns`."""
        sources = [self._advance(block, now_ns) for block in self._outputs]
        self._drive(sources)
        finished = [name for name, run in self._runs.items() if run.finished]
        # whoever sees that a block is done finds everything that it captured
        if self._rows and (finished or now_ns - self._flushed_ns >= FLUSH_NS):
            self._flush(now_ns)
        for block in finished:
            self._end(block, now_ns)

    def close(self) -> None:
        """Stop everything, and close the file."""
        self._runs.clear()
        self._capture(False)

    def _enable(self, block: str) -> None:
        now = self._clock.now_ns()
        self.advance(now)
        value = self.registers.get
        if block in SEQUENCERS:
            columns = value(f"{block}.table")
            if columns is None or not len(columns["repeats"]):
                raise DeviceError(f"panda: {block} has no table to execute; write one before it is enabled")
            prescale = float(value(f"{block}.prescale", 1.0))
            rows = read_table(columns, prescale, value(f"{block}.prescale_units", "us"))
            self._runs[block] = SequencerRun(rows, int(value(f"{block}.repeats", 1)), now)
            self._active[block].set(now, 1)
        else:
            settings = Compare(
                *(int(value(f"{block}.{name}", 0)) for name in ("start", "step", "width", "pulses")),
                direction=value(f"{block}.dir", "Positive"),
            )
            self._runs[block] = CompareRun(settings, 1 << COMPARES.index(block), now)
        self.publish(f"{block}.active", True)
        self.on_start()

    def _disable(self, block: str) -> None:
        if block not in self._runs:
            return
        now = self._clock.now_ns()
        self.advance(now)
        if block in self._runs:
            low = (np.array([now], np.int64), np.zeros(1, np.uint8))
            self._drive([low if name == block else no_transitions() for name in self._outputs])
            self._flush(now)
            self._end(block, now)

    def _end(self, block: str, now_ns: int) -> None:
        del self._runs[block]
        if block in SEQUENCERS and self._active[block].latest:
            self._active[block].set(now_ns, 0)
        self.publish(f"{block}.active", False)

    def _advance(self, block: str, now_ns: int) -> Transitions:
        run = self._runs.get(block)
        if run is None:
            return no_transitions()
        if isinstance(run, CompareRun):
            return run.advance(now_ns, next(iter(self._encoders.values())))
        transitions = run.advance(now_ns, self._inputs(block))
        if run.finished:
            self._active[block].set(run.end_ns, 0)
        return transitions

    def _inputs(self, block: str) -> Inputs:
        other = self._active[SEQUENCERS[1 - SEQUENCERS.index(block)]]
        wires = {"BITA": other, **self._wires}

        def bits(bit: str, value: int, begin_ns: int, end_ns: int) -> int | None:
            wire = wires.get(bit)
            if wire is None:
                return begin_ns if value == 0 and begin_ns <= end_ns else None
            return wire.next_time(value, begin_ns, end_ns)

        buses = {"POSA": self.registers[f"{block}.posa"], "POSB": self._posb}
        return Inputs({name: self._encoders[bus] for name, bus in buses.items() if bus in self._encoders}, bits)

    def _drive(self, sources: list[Transitions]) -> None:
        lines = merged(sources, list(self._outputs.values()))
        for block, (times, bits) in zip(self._outputs, sources, strict=True):
            if len(times):
                self._outputs[block] = int(bits[-1])
        if not len(lines[0]):
            return
        captured = self._any.feed(lines)
        if len(captured) and self._armed_ns is not None and self._file is not None:
            first = self._file.rows + sum(len(rows["pcap_bits0"]) for rows in self._rows)
            middle = captured.start_ns + (captured.end_ns - captured.start_ns) // 2
            levels = self.inputs(middle, np.arange(first, first + len(captured)))
            self._rows.append(capture(self._captured, captured, self._armed_ns, *levels))
        self.on_gates({line: gates for line, tracker in self._lines.items() if len(gates := tracker.feed(lines))})

    def _arm(self, armed: bool) -> None:
        now = self._clock.now_ns()
        self.advance(now)
        if armed and self._armed_ns is None:
            self._armed_ns = now
        elif not armed:
            self._armed_ns = None
        self.publish("pcap.active", armed)

    def _check_directory(self, directory: Path) -> None:
        if self.registers["data.create_directory"]:
            directory.mkdir(parents=True, exist_ok=True)
        self.publish("data.directory_exists", directory.is_dir())

    def _capture(self, on: bool) -> None:
        if self._file is not None:
            self._flush(self._clock.now_ns())
            self._file.close()
            self._file = None
        self._rows.clear()
        if on:
            folder, name = self.registers["data.hdf_directory"], self.registers["data.hdf_file_name"]
            self._file = CaptureFile(Path(folder) / name, self.datasets)
            self.publish("data.num_captured", 0)

    def _flush(self, now_ns: int) -> None:
        self._flushed_ns = now_ns
        if not self._rows or self._file is None:
            return
        rows, self._rows = self._rows, []
        self._file.append({name: np.concatenate([part[name] for part in rows]) for name in self.datasets})
        self.publish("data.num_captured", self._file.rows)
