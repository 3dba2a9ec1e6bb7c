"""How a forked process ended is told by its forkserver, which may be busy when it is asked: late is not never, and never is not 0."""
import os
import signal
from contextlib import contextmanager

import pytest
from support.waiting import until

from lepton_bench.kernels.forked import ForkedProcess
from lepton_bench.processes.forkserver import fork, forkserver_path, forkservers


def wait_for_signal(arguments: dict, fds: list[int]) -> None:
    "What the forked process runs."
    signal.sigwait([signal.SIGUSR1])


@pytest.fixture
def forked():
    process = ForkedProcess(fork("test_exit_status:wait_for_signal", {}, timeout=120), forkserver_path(), ["waiting"])
    yield process
    process.kill()
    process.wait(60)


@contextmanager
def busy_forkserver():
    "The forkserver answers nobody, as while it imports on a host that is full."
    pid = next(process.pid for path, process in forkservers() if path == forkserver_path())
    os.kill(pid, signal.SIGSTOP)
    try: yield
    finally: os.kill(pid, signal.SIGCONT)


def test_a_busy_forkserver_delays_the_status_and_does_not_change_it(forked):
    with busy_forkserver():
        os.kill(forked.pid, signal.SIGKILL)
        until(lambda: forked._ended(0), "the process has ended", 20)
        assert forked.poll() is None, "no answer is not the answer 0"
    assert until(forked.poll, "the forkserver answers", 20) == -signal.SIGKILL
    assert forked.known and forked.wait(1) == -signal.SIGKILL


def test_a_status_that_nobody_knows_is_called_unknown(forked):
    unknown = ForkedProcess(forked.process, forkserver_path().with_name("no-forkserver"))
    os.kill(forked.pid, signal.SIGKILL)
    assert (unknown.wait(20), unknown.known) == (0, False), "0, as with Popen, and said to be a guess"
    assert (forked.wait(20), forked.known) == (-signal.SIGKILL, True)
