"""`danmax spiral`: a map of points around a centre."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Stop at the points of a spiral over two motors, from its centre outwards, and integrate.

For example, 2 mm by 1 mm around (0, 0), a point for each 0.1 mm by 0.1 mm:

    danmax spiral tom_sam_x 0 2 tom_sam_y 0 1 0.1 0.05
"""
command = plan_command("spiral", Plans.spiral, HELP)
