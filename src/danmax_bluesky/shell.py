"""A session at a prompt: what stands in its namespace, and what it says of itself."""

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp

from danmax_bluesky.plans.user import plan_names
from danmax_bluesky.session import Session


def namespace(session: Session) -> dict[str, Any]:
    """Names at the prompt: session, RE, every plan, every device, and bluesky's own plans as bp and bps."""
    plans = {name: getattr(session.plans, name) for name in plan_names()}
    return {"session": session, "RE": session.RE, "bp": bp, "bps": bps, **plans, **session.beamline.devices}


def banner(session: Session) -> str:
    """What is connected, where files go, and how to begin."""
    settings = session.settings
    devices = session.beamline.devices
    return "\n".join(
        [
            f"DanMAX, {'the simulated beamline' if session.beamline.twin else 'beamline'}",
            f"  proposal {settings.proposal}, visit {settings.visit}; files go to {session.paths.visit.raw}",
            f"  devices  {', '.join(devices)}",
            f"  plans    {', '.join(plan_names())}",
            '  begin    RE(tomo_scan("ascanct", "tom_ry", 0, 180, 360, 0.01, npt_fields=10, sample="bone"))',
            "           RE(azint_count(10, 0.5))",
            "  help     tomo_scan?",
        ]
    )
