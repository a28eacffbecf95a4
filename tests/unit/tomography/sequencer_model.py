"""A PandA's sequencer and an accelerating rotation, solved exactly: an independent reading of the rows."""

from dataclasses import dataclass


@dataclass
class Rotation:
    """Rests at `start`, accelerates for `ramp_s`, then turns at `speed` (degrees a second) for ever."""

    start: float
    speed: float
    ramp_s: float

    def at(self, time_s):
        if time_s <= 0:
            return self.start
        if time_s < self.ramp_s:
            return self.start + self.speed * time_s**2 / (2 * self.ramp_s)
        return self.start + self.speed * (time_s - self.ramp_s / 2)

    def when(self, angle):
        """The time at which it passes this angle, which must lie ahead."""
        way = (angle - self.start) / self.speed
        if way < self.ramp_s / 2:
            return (2 * self.ramp_s * max(way, 0.0)) ** 0.5
        return way + self.ramp_s / 2


def exposures(rows, rotation, counts_per_deg, offset_deg, bits):
    """Start time and end time (seconds) of every gate, started when the rotation is kicked off."""
    lap, half = 2**bits, 2 ** (bits - 1)
    now, gates = 0.0, []

    def unwrapped(time_s):
        return (rotation.at(time_s) - offset_deg) * counts_per_deg

    def first_time(row, start):
        position, here = row.position_counts, unwrapped(start)
        lap_start = (here + half) // lap * lap
        shown = here - lap_start
        rising = rotation.speed * counts_per_deg > 0
        if row.trigger == "immediate":
            return start
        wants_high = row.trigger == "position_ge"
        if (shown >= position - 1e-6) if wants_high else (shown <= position + 1e-6):
            return start
        if rising:
            target = lap_start + position if wants_high else lap_start + half
        else:
            target = lap_start + position if not wants_high else lap_start - half
        return max(start, rotation.when(target / counts_per_deg + offset_deg))

    for row in rows:
        for _ in range(row.repeats):
            now = first_time(row, now)
            if row.gate:
                gates.append((now, now + row.high_us * 1e-6))
            now += (row.high_us + row.low_us) * 1e-6
    return gates
