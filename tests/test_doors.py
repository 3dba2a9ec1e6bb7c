"""Closed doors: what comes in that is none of ours is refused, and harms nobody."""
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent/"faults"/"fuzz_channel.py"


@pytest.mark.slow
def test_malformed_messages_for_a_supervisor_and_a_forkserver() -> None:
    done = subprocess.run([sys.executable, str(FUZZ), "4000", "1"], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
