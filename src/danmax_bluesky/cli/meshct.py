"""`danmax meshct`: a map whose rows are measured without stopping."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Map over two motors, FAST and SLOW: FAST flies along each row, and the PandA triggers all detectors.

For example, 11 rows of 41 points, each of 10 ms:

    danmax meshct tom_sam_x -1 1 40 tom_sam_y 0 1 10 0.01
"""
command = plan_command("meshct", Plans.meshct, HELP)
