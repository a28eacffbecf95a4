"""A session at the beamline: `ipython --profile-dir profiles/profile_danmax`; DANMAX_SETTINGS names the addresses."""

from IPython import get_ipython

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session
from danmax_bluesky.shell import install

session = make_session(load_settings(options={"beamline": "danmax"}))
install(get_ipython(), session)
