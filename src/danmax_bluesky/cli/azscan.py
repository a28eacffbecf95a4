"""`danmax azscan`: diffraction at positions of a motor."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Expose the diffraction detector at INTERVALS + 1 positions of MOTOR, and integrate every frame.

For example, 21 positions:

    danmax azscan tom_sam_x -1 1 20 0.1 --sample CeO2
"""
command = plan_command("azscan", Plans.azint_scan, HELP)
