"""What the queue server's worker begins with: `start-re-manager --startup-dir profiles/queue --keep-re`."""

from danmax_bluesky.session import make_session
from danmax_bluesky.shell.queue import queue_namespace

session = make_session()
globals().update(queue_namespace(session))
