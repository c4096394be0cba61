import threading

import pytest

from sweep.afterwards import Afterwards


def test_things_are_done_in_their_order_and_nobody_waits() -> None:
    afterwards, done, held = Afterwards(), list[int](), threading.Event()

    def first() -> None:
        held.wait(10)
        done.append(1)

    afterwards.do(first)
    afterwards.do(lambda: done.append(2))
    assert done == []
    held.set()
    afterwards.finish()
    assert done == [1, 2]


def test_a_failure_is_raised_once_and_nothing_is_done_after_it() -> None:
    def fail() -> None:
        raise OSError("no space left")

    def go_on() -> None:
        while True:
            afterwards.do(lambda: done.append(1))

    afterwards, done = Afterwards(), list[int]()
    afterwards.do(fail)
    with pytest.raises(OSError, match="no space"):
        go_on()
    with pytest.raises(OSError, match="no space"):
        afterwards.finish()
    assert done == []
    afterwards.finish()
