from __future__ import annotations

import signal
import threading

import pytest

from base_fast.runs import interruptible, to_be_left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number, capfd):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), interruptible() as interruption:  # noqa: PT012
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    # After SIGTERM there may be no time to finish a step.
    told = "Stopping after this step" if number == signal.SIGINT else "Stopping as soon as possible"
    assert told in capfd.readouterr().err


def test_a_request_to_an_inner_loop_reaches_the_outer_one():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as outer:
        with interruptible() as inner:
            signal.raise_signal(signal.SIGINT)
            assert inner.requested
        assert outer.requested
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    with interruptible() as fresh:
        assert not fresh.requested


@pytest.mark.parametrize(("number", "left"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_a_long_step_is_left_when_there_is_no_time_for_it(number, left):
    assert not to_be_left()
    with interruptible():
        signal.raise_signal(number)
        assert to_be_left() is left
    assert not to_be_left()


def test_other_threads_change_nothing():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with interruptible() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_a_handler_that_python_did_not_install_becomes_the_default(monkeypatch):
    real = signal.signal
    before = real(signal.SIGTERM, signal.SIG_DFL)
    try:
        monkeypatch.setattr(signal, "signal", lambda number, handler: (real(number, handler), None)[1])
        with interruptible():
            pass
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        real(signal.SIGTERM, before)
        real(signal.SIGINT, signal.default_int_handler)
