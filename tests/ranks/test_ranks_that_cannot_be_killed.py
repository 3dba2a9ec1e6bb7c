"""Ranks that the kernel stops: one that cannot be killed, and one that the out-of-memory killer ends. For real, by control groups of version 1."""
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import RunError

GROUPS = Path("/sys/fs/cgroup")


def group(kind: str) -> Path:
    "A new control group, to be removed."
    path = GROUPS/kind/f"lepton-bench-{os.getpid()}"
    try: path.mkdir()
    except OSError as e:
        warnings.warn(f"NOT TESTED: no control group of kind {kind} can be made here ({e}); it needs root and cgroup v1", stacklevel=2)
        pytest.skip(f"NO CONTROL GROUP of kind {kind} can be made: {e}")
    return path


@pytest.fixture
def freezer() -> Iterator[Path]:
    path = group("freezer")
    yield path
    (path/"freezer.state").write_text("THAWED")
    until(lambda: not (path/"cgroup.procs").read_text(), "the group is empty", 20)
    path.rmdir()


@pytest.fixture
def small_memory() -> Iterator[Path]:
    path = group("memory")
    (path/"memory.limit_in_bytes").write_text(str(600 << 20))
    yield path
    until(lambda: not (path/"cgroup.procs").read_text(), "the group is empty", 20)
    path.rmdir()


@pytest.mark.slow
def test_a_rank_that_cannot_be_killed_keeps_its_device_and_nothing_waits_for_ever(freezer, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "3")
    alloc = lb.allocate(2, name="stuck")

    def train():
        for step in range(100_000): lb.log(step=step, loss=1.); time.sleep(.01)
    run = alloc.launch(train)
    until(lambda: run.status == "running", "running", 20)
    victim = alloc.info["ranks"]["1"]["pid"]
    (freezer/"cgroup.procs").write_text(str(victim))
    (freezer/"freezer.state").write_text("FROZEN")
    assert "rank 1\n  no answer: it is stuck in the kernel (state D" in run.stacks(timeout=1.)
    began = time.monotonic()
    assert run.stop(timeout=60).status == "stopped" and time.monotonic() - began < 30
    broken = alloc.info["broken"]
    assert f"rank 1 (process {victim}, it is stuck in the kernel" in broken and "alloc.release()" in broken
    with pytest.raises(RunError, match="cannot be killed"): alloc.launch(len, "ab").result(30)
    alloc.release(timeout=60)
    states = {row.device.id: row.holder.state if row.holder else "free" for row in lb.devices()}
    assert states == {"sim-0": "free", "sim-1": "quarantined", "sim-2": "free"}
    with lb.allocate(2, name="others") as others:
        assert set(others.device_ids) == {"sim-0", "sim-2"} and others.launch(len, "ab").results(60) == [2, 2]
    (freezer/"freezer.state").write_text("THAWED")
    until(lambda: not any(row.holder for row in lb.devices()), "the device is free when the process is gone", 20)


@pytest.mark.slow
def test_the_kernel_has_no_memory_left(small_memory, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")

    def train():
        hoard = []
        for step in range(200):
            lb.log(step=step, loss=1.)
            if os.environ["RANK"] == "1" and step > 100 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0": hoard.append(bytes(range(256)) * (40 << 12))
            time.sleep(.02)
        return "done"
    with lb.allocate(2, name="small") as alloc:
        run = alloc.options(max_restarts=1).launch(train)
        until(lambda: run.status == "running", "running", 20)
        (small_memory/"cgroup.procs").write_text(str(alloc.info["ranks"]["1"]["pid"]))
        assert run.result(60) == "done"
        reason = run.record.restarts[0]["reason"]
        assert reason.startswith("out of memory at step 1") and "rank 1 was killed by the kernel, which had no memory left" in reason
        assert "Held a moment before: rank 0 0." in reason and ", rank 1 0." in reason
