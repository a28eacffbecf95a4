"""`danmax maplist`: several maps of several samples."""

from danmax_bluesky.cli.plan_options import plan_command
from danmax_bluesky.plans.user import Plans

HELP = """Measure a map for each line of a text FILE, as `danmax meshct` does.

For example, with exposures of 10 ms where a line says nothing else:

    danmax maplist maps.txt 0.01
"""
command = plan_command("maplist", Plans.maplist, HELP)
