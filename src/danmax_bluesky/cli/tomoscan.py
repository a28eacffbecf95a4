"""`danmax tomoscan`: the tomography scan from a shell, in the words that Sardana's macros use."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Measure a tomography: darks, flats, NSTEPS intervals from SCAN_START to SCAN_END, and what FIELDS-FLAG asks for.

    n intervals give n + 1 projections. For example, 1801 projections of 10 ms over 180 degrees:

        danmax tomoscan ascanct tom_ry 0 180 1800 0.01 --npt-fields 20 --posflat out --sample bone
    """
    run_and_report(settings(), lambda session: session.plans.tomo_scan(**given, command=command_line()))


command = plan_command("tomoscan", Plans.tomo_scan, measure)
