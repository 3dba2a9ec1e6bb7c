"""Processors, memory and devices of ranks: on real ranks, through a killed supervisor, a restart and a full disk. Only the GPU is simulated."""
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.small_disk import fill, small_disk
from support.waiting import until

import lepton_bench as lb
from lepton_bench.resources import devices
from lepton_bench.metrics.storage import MetricsWriter, read_metrics, read_system


@pytest.fixture(scope="module")
def alloc() -> Iterator:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "2")
        found = lb.allocate(2, name="system")
        yield found
        found.release()


def values(table, name: str, rank: int) -> list[float]:
    return [p["value"] for p in table.to_pylist() if p["name"] == name and p["rank"] == rank]


def until_told(path: Path):
    "In a rank: wait until the test has made a file, bounded."
    import time
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end: time.sleep(.01)


def test_each_rank_and_its_workers_are_sampled_once_a_second(alloc, tmp_path):
    def train(path):
        import multiprocessing
        import time

        import torch.distributed as dist

        def spin():
            while not path.exists(): pass
        lb.log(loss=1.)
        if dist.get_rank() == 1:
            worker = multiprocessing.get_context("fork").Process(target=spin)
            worker.start()
            worker.join()
        while not path.exists(): time.sleep(.01)
    run = alloc.launch(train, tmp_path/"enough")
    until(lambda: len(values(run.system(), "cpu_percent", 1)) >= 3, "three samples", 30)
    live = lb.get_run(run.id).record.extra["system"]
    (tmp_path/"enough").touch()
    run.wait(30)
    table = run.system()
    assert max(values(table, "cpu_percent", 1)) > 3*max(values(table, "cpu_percent", 0)) and max(values(table, "cpu_percent", 1)) > 20
    assert min(values(table, "memory_gib", 0)) > .05 and live["1"]["memory_gib"] > .05
    steps = sorted({p["step"] for p in table.to_pylist()})
    assert steps == list(range(steps[0], steps[0] + len(steps))) and steps[0] in (1, 2), "seconds since the run began"
    assert set(run.metrics()["name"].to_pylist()) == {"loss"}, "the person's metrics stay his own"
    figure = run.plot(system=True)
    assert sorted(a.get_title(loc="left") for a in figure.axes if a.axison) == ["cpu_percent", "memory_gib"]
    assert len(figure.axes[0].lines) == 2 and figure.axes[0].get_xlabel() == "time (s)"
    assert len(run.plot(["memory_gib"], system=True).axes) == 1


def test_a_short_run_has_none_and_says_so(alloc):
    run = alloc.launch(len, "abc").wait(30)
    assert run.system().num_rows == 0 and not list((run.directory/"metrics").glob("*.system.arrow"))
    assert "no system metrics" in run.plot(system=True).axes[0].texts[0].get_text()


def test_every_attempt_is_kept(alloc, tmp_path):
    def train(path):
        if not (path/"first").exists():
            until_told(path/"enough")
            (path/"first").touch()
            raise ValueError("once")
        until_told(path/"more")
    run = alloc.options(max_restarts=1, retry_exceptions=True).launch(train, tmp_path)
    until(lambda: run.system().num_rows, "samples of the first attempt", 30)
    (tmp_path/"enough").touch()
    until(lambda: (run.directory/"metrics"/"1.system.arrow").exists() and read_system(run.directory).num_rows > 4, "samples of the second", 30)
    (tmp_path/"more").touch()
    run.wait(30)
    cpu = [p["step"] for p in run.system().to_pylist() if p["name"] == "cpu_percent" and p["rank"] == 0]
    assert run.status == "done" and cpu == sorted(cpu) and len(cpu) >= 2, "seconds go on from one attempt to the next"


def test_a_killed_supervisor_loses_the_last_second_at_most(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "3")
        doomed = lb.allocate(1, name="doomed")
        run = doomed.launch(until_told, tmp_path/"never")
        until(lambda: len(values(run.system(), "cpu_percent", 0)) >= 2, "two samples", 30)
        before = run.system().num_rows
        os.kill(doomed.supervisor.pid, signal.SIGKILL)
        until(lambda: not doomed.alive)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert run.system().num_rows >= before and run.status == "lost"
        until(lambda: "doomed" not in [a["name"] for a in lb.allocations()])


def test_a_full_disk_keeps_samples_in_memory(tmp_path):
    with small_disk(tmp_path/"run", 1 << 18) as disk:
        writer = MetricsWriter(disk/"metrics"/"0.system.arrow")
        assert writer.write_points([(1, 1., 0, "cpu_percent", 50.)])
        ballast = fill(disk)
        stored = [writer.write_points([(i, float(i), 0, "cpu_percent", 50.)]) for i in range(2, 40)]
        assert not stored[-1] and "No space left" in str(writer.problem)
        ballast.unlink()
        assert writer.close() and read_system(disk)["step"].to_pylist() == list(range(1, 40))
        assert read_metrics(disk).num_rows == 0


class Silent(Exception): "What NVML raises."


def test_a_simulated_gpu_tells_its_use_memory_and_power(monkeypatch):
    asked = []
    fake = SimpleNamespace(
        NVMLError=Silent, nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid) or uuid,
        nvmlDeviceGetUtilizationRates=lambda h: SimpleNamespace(gpu=87), nvmlDeviceGetMemoryInfo=lambda h: SimpleNamespace(used=3 << 30),
        nvmlDeviceGetPowerUsage=lambda h: 301_500)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    devices._nvml_handle.cache_clear()
    try:
        for _ in range(2):
            assert devices.gpu_readings("gpu-1a2b") == {"device_percent": 87., "device_memory_gib": 3., "device_watts": 301.5}
        assert asked == ["GPU-1a2b"], "the card is looked for once"
        def lost(handle): raise Silent
        fake.nvmlDeviceGetPowerUsage = lost
        assert set(devices.gpu_readings("gpu-1a2b")) == {"device_percent", "device_memory_gib"}, "an unanswered question is left out"
    finally: devices._nvml_handle.cache_clear()
