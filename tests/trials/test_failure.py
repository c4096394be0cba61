"""Which class an error or a dead process is of."""

import signal

import pytest

from trials.errors import ConfigError, DataError, DeviceError, MemoryShortError, ModelError
from trials.failure import FailureClass, class_of, class_of_death
from trials.protocol import Failed, Limits


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (MemoryShortError("no room"), FailureClass.MEMORY),
        *[(kind("wrong"), FailureClass.SETUP) for kind in (ConfigError, DataError, ModelError, DeviceError)],
        (OSError(28, "No space left on device"), FailureClass.ENVIRONMENT),
        (ZeroDivisionError("by nobody"), FailureClass.UNKNOWN),
        (RuntimeError("CUDA error: device-side assert triggered"), FailureClass.UNKNOWN),
    ],
)
def test_an_error_has_the_class_that_decides_what_is_done(error: Exception, wanted: FailureClass) -> None:
    assert class_of(error) is wanted
    assert Failed.of(error).failure is wanted


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_process_that_was_ended_from_outside_was_preempted(number: int) -> None:
    assert class_of_death(-number) is FailureClass.PREEMPTED


@pytest.mark.parametrize("status", [None, 0, 1, 137, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS])
def test_one_that_ended_itself_was_not(status: int | None) -> None:
    assert class_of_death(status) is FailureClass.UNKNOWN


def test_joined_limits_are_the_narrower_of_both() -> None:
    assert Limits().joined(Limits()) == Limits()
    assert Limits(512, None, checkpointing=True).joined(Limits(64, 2)) == Limits(64, 2, checkpointing=True)
    assert Limits(64).joined(Limits(512, 4)) == Limits(64, 4)
