"""A session on the simulated beamline: `ipython --profile-dir profiles/profile_danmax_sim`."""

from IPython import get_ipython

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session
from danmax_bluesky.shell import install

session = make_session(load_settings(options={"beamline": "twin"}))
install(get_ipython(), session)
