"""What the tests of devices, leases and queue share: a lease folder that two users can use, and children that hold things in it."""
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OTHER_UID = 54321  # any number will do: a user needs no name to hold a device
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: a second user cannot be tried here, only root may become one")

# Everything is imported before the child becomes the other user, who may not be able to read our files.
_PREAMBLE = """
import json, os, signal, subprocess, sys, time
import lepton_bench.resources.queue as queue, lepton_bench.resources.leases as leases, lepton_bench.resources.devices as devices
from lepton_bench.resources.leases import Holder, adopt, holder_of, try_lease
from lepton_bench.resources.queue import Request, Waiter, WaitState, waiting
def say(value): print(json.dumps(value), flush=True)
def stay(): sys.stdin.read()
"""


class Child:
    "A Python process that runs `code`; it says things line by line, and ends at the latest when its stdin is closed."
    def __init__(self, code: str, uid: int | None = None, **popen: Any):
        become = f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n" if uid is not None else ""
        self.process = subprocess.Popen([sys.executable, "-c", _PREAMBLE + become + textwrap.dedent(code)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, **popen)

    def hear(self) -> Any:
        import json
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        assert line, f"the child ended with {self.process.wait()}"
        return json.loads(line)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        if self.process.stdin and not self.process.stdin.closed: self.process.stdin.close()
        try: return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def __enter__(self) -> "Child": return self
    def __exit__(self, *_: object) -> None:
        self.end()
        self.process.stdout.close()  # type: ignore[union-attr]


def ask(code: str, uid: int | None = None) -> Any:
    "What a child says, once."
    with Child(code, uid) as child: return child.hear()


def until(condition: Callable[[], Any], timeout: float = 2.) -> float:
    "Waits for a condition; the seconds it took. AssertionError if it takes too long."
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout, f"not so within {timeout} s"
        time.sleep(.002)
    return time.monotonic() - start


def shared_folder(root: Path) -> Path:
    "A lease folder for all users, as /run/lock is."
    root.chmod(0o755)
    folder = root/"leases"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder
