from danmax_bluesky.devices.lost import lost
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.shell.start import reason_of


def raised_from(cause, error):
    error.__cause__ = cause
    return error


def test_what_a_device_said_is_told_rather_than_what_passed_it_on():
    refusal = AcquisitionError("orca: disk full")
    assert reason_of(raised_from(refusal, RuntimeError("status failed"))) is refusal
    other = TypeError("no such thing")
    assert reason_of(raised_from(KeyError("x"), other)) is other


def test_a_lost_device_is_told_before_what_came_of_it():
    stalled, loss = AcquisitionError("orca stalled"), lost("orca", "tango://orca", None, "refused")
    assert reason_of(raised_from(raised_from(stalled, RuntimeError("failed")), loss)) is loss
    assert reason_of(raised_from(loss, RuntimeError("failed"))) is loss
