"""A new version of ophyd-async that changes what it does not show fails here, and says what has to be changed."""

import inspect
import re

from ophyd_async.core import SoftSignalBackend, StandardDetector, soft_signal_rw
from ophyd_async.epics.core import _p4p as transport

from danmax_bluesky.devices import pva, segments
from danmax_bluesky.devices.internals import backend_of, connector_of


async def test_a_signal_has_the_connector_and_the_backend_that_it_was_made_with():
    signal = soft_signal_rw(int, 3)
    await signal.connect()
    assert isinstance(backend_of(signal), SoftSignalBackend)
    assert await backend_of(signal).get_value() == 3
    assert connector_of(signal).backend is backend_of(signal)


async def test_the_context_of_pvaccess_is_the_one_that_was_begun_until_it_is_forgotten():
    pva.forget()
    pva._begin()
    assert transport.context() is transport._context
    pva.forget()
    assert transport._context is None


def test_a_detector_in_segments_uses_nothing_that_its_base_class_hides():
    hidden = {*dir(StandardDetector), *vars(StandardDetector())}
    assert set(re.findall(r"self\.(_\w+)", inspect.getsource(segments))) & hidden == set()
