import os
import signal

import pytest

from fairseq.training.interrupts import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_asks_and_the_second_one_acts(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested and stop.exit_code == 128 + number
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_handlers_are_restored_without_a_signal():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before and stop.exit_code == 0


def test_after_a_signal_the_end_of_a_worker_raises_nothing():
    def as_pytorch_does(number, frame):
        raise RuntimeError("DataLoader worker is killed by signal: Terminated")

    before = signal.signal(signal.SIGCHLD, as_pytorch_does)
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGCHLD)
        os.kill(os.getpid(), signal.SIGCHLD)  # one that ends late
    finally:
        signal.signal(signal.SIGCHLD, before)
