"""Twenty faults on a real training and a real sweep (make chaos: 500); and the harness itself, on code that was broken on purpose."""
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).with_name("chaos.py")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_faults() -> None:
    done = subprocess.run([sys.executable, str(CHAOS), "20", "1"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    print(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_it_sees_that_one_lease_was_dropped() -> None:
    code = f"import sys; sys.path.insert(0, {str(CHAOS.parent)!r}); import chaos; chaos.main(1, 1, broken=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110)
    assert done.returncode != 0 and "the leases are held as they should be" in done.stderr, done.stdout[-2000:] + done.stderr[-4000:]
