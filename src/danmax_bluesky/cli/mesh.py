"""`danmax mesh`: a map of diffraction."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Map diffraction over two motors, FAST and SLOW, and integrate every frame; the motors are put back.

For example, 11 rows of 21 points:

    danmax mesh tom_sam_x -1 1 20 tom_sam_y 0 1 10 0.1
"""
command = plan_command("mesh", Plans.mesh, HELP)
