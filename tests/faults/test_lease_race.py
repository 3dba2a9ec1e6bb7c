"""Leases under stress: 64 processes of two users and 8 simulated devices, kill -9 and SIGSTOP at random. 60 s with LEPTON_BENCH_LONG=1, else 8 s.

The stress itself is `faults/leases.py`, the judge `faults/witness.py`. That the judge can say no is tested too: five ways of breaking the workbench.
"""
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

SECONDS = 60 if os.environ.get("LEPTON_BENCH_LONG") == "1" else 8
pytestmark = [pytest.mark.alone, pytest.mark.slow]


def stress(*options: object) -> tuple[int, dict]:
    "The exit status, and what was said."
    command = [sys.executable, Path(__file__).with_name("leases.py"), *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=150)
    assert done.stdout.startswith("{"), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_never_twice_in_order_and_every_crash_recovered():
    if os.getuid(): warnings.warn("NOT ROOT: the stress runs with one user only, its half under a second uid is skipped", stacklevel=1)
    status, said = stress("--seconds", SECONDS, "--processes", 64, "--seed", 1)
    print(json.dumps(said))
    assert (status, said["violations"]) == (0, 0), said["first"]
    assert said["heavy"] == [] and len(said["by device"]) == 8 and said["grants"] > 4*SECONDS
    _, waiting, holding = said["kills while idle, waiting, holding"]
    assert waiting > SECONDS and holding > SECONDS/2 and said["stops"] > SECONDS/2
    assert len(said["by user"]) == said["users"] == (2 if os.getuid() == 0 else 1)
    if os.getuid() == 0: assert min(said["by user"].values()) > .3*max(said["by user"].values())


@pytest.mark.parametrize("how, noticed", [
    ("lock", "at once"), ("ledger", "two decide at once"), ("order", "before his turn"), ("reserve", "before his turn"), ("leak", "not free after")])
def test_what_is_broken_on_purpose_is_noticed(how, noticed):
    status, said = stress("--seconds", 2, "--processes", 12, "--seed", 3, "--bound", .5, "--break", how)
    assert status == 1 and said["violations"] and any(noticed in line for line in said["first"]), said
