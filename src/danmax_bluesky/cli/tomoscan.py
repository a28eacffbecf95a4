"""`danmax tomoscan`: the tomography scan from a shell, in the words that Sardana's macros use."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Measure a tomography: darks, flats, NSTEPS intervals from SCAN_START to SCAN_END, as FIELDS-FLAG asks for.

n intervals give n + 1 projections. For example, 1801 projections of 10 ms over 180 degrees:

    danmax tomoscan ascanct tom_ry 0 180 1800 0.01 --sample bone
"""
command = plan_command("tomoscan", Plans.tomo_scan, HELP)
