"""`danmax azcount`: n exposures of the diffraction detector, integrated."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Expose the diffraction detector NUM times for EXP_TIME seconds, and integrate every frame.

For example, ten exposures of half a second:

    danmax azcount 10 0.5 --sample CeO2
"""
command = plan_command("azcount", Plans.azint_count, HELP)
