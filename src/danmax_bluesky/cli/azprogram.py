"""`danmax azprogram`: diffraction while a temperature program runs."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Expose the diffraction detector while CHANNEL, a value around the sample, follows a PROGRAM.

For example, to 40 by 60 a minute, which is held for 5 s:

    danmax azprogram furnace "40 at 60 for 5" 0.5
"""
command = plan_command("azprogram", Plans.azint_program, HELP)
