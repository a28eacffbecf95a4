"""`danmax listscan`: diffraction at the positions of a text file."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Stop at the positions of a text FILE, in the order of its lines, and integrate.

For example, with a file whose first line names motors:

    danmax listscan positions.txt 0.1
"""
command = plan_command("listscan", Plans.listscan, HELP)
