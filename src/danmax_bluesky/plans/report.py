"""What a scan is going to do, for the person who asked for it."""

from collections.abc import Collection

from danmax_bluesky.tomography.phases import Phase
from danmax_bluesky.tomography.preflight import Preflight
from danmax_bluesky.tomography.scan import FIELDS, TomoScan

_MARK = {"error": "ERROR", "warning": "warning", "note": "note"}


def scan_report(scan: TomoScan, judged: Preflight, given: Collection[str], *, full: bool) -> str:
    """What was asked for, what is taken from the configurator, the phases, and the findings of the preflight.

    Args:
        scan: every parameter.
        judged: what the preflight says.
        given: names of the parameters that were named in the call.
        full: with the phases, and with every parameter.
    """
    lines = []
    usual = TomoScan(scan_type="timescan", nsteps=0, exp_time=1.0).model_dump(mode="json")
    taken = {
        name: value
        for name, value in scan.model_dump(mode="json").items()
        if name not in given
        and name not in FIELDS
        and name != "fields_flag"
        and value not in (None, "", [])
        and (full or value != usual[name])
    }
    options = ", ".join(name for name in FIELDS if getattr(scan, name)) or "none"
    digits = "" if options == ", ".join(FIELDS) else f" ({', '.join(FIELDS)})"
    lines.append(f"fields_flag {scan.fields_flag}{digits}: {options}")
    if taken:
        lines.append("from the configurator: " + ", ".join(f"{name} {value}" for name, value in taken.items()))
    if full and judged.phases:
        lines.append(f"{'phase':<12} {'frames':>7} {'exposure/s':>11} {'period/s':>9}  motion")
        lines += [_phase(phase) for phase in judged.phases]
    lines += [f"{_MARK[finding.severity]}: {finding.text}" for finding in judged.findings]
    if judged.phases:
        frames = sum(phase.num for phase in judged.phases)
        size = judged.frame_bytes / 1e9
        lines.append(f"{frames} frames at each detector, {size:.3g} GB uncompressed, about {judged.predicted_s:.0f} s")
    if full:
        lines.append("dry run: nothing was moved")
    return "\n".join(lines)


def _phase(phase: Phase) -> str:
    text = f"{phase.name:<12} {phase.num:>7} {phase.exposure_s:>11.6g} {phase.period_s:>9.6g}  {phase.motion}"
    if phase.motion in ("sweep", "list", "free") and phase.angles_deg:
        text += f" {phase.angles_deg[0]:g} to {phase.angles_deg[-1]:g} deg at {abs(phase.speed_deg_s):.4g} deg/s"
    elif phase.motion == "step":
        shown = ", ".join(f"{angle:g}" for angle in phase.angles_deg[:6])
        text += f" to {shown}{', ...' if phase.num > 6 else ''} deg"
    return text
