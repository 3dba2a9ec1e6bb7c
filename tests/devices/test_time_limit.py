"""`time=`: devices that are given back at the latest after so many seconds, and the short requests that may therefore go first."""
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.waiting import until

import lepton_bench as lb
from lepton_bench.api.allocate import take_once
from lepton_bench.resources.leases import holder_of
from lepton_bench.supervisor.allocations import list_allocations

BENCH = Path(sys.executable).with_name("lepton-bench")


@pytest.fixture(autouse=True)
def four_devices(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "4")
    yield
    for found in lb.allocations():
        if found["state"] != "waiting": lb.attach(found["name"]).release()


def long_run(path: str) -> None:
    try:
        while True: time.sleep(.02)
    except KeyboardInterrupt:
        open(path, "w").write("saved")
        raise


def deaf_run() -> None:
    while True:
        try: time.sleep(60)
        except KeyboardInterrupt: pass


def test_a_run_is_stopped_in_time_for_the_devices_to_be_back(tmp_path):
    began = time.time()
    alloc = lb.allocate(2, time=6)
    holder = holder_of(alloc.device_ids[0])
    assert began + 6 <= holder.ends <= time.time() + 6 and alloc.info["ends"] == pytest.approx(holder.ends, abs=1)
    assert ", until " in repr(alloc) and ", until " in repr(lb.allocations()) and lb.allocate(2, time=6) is alloc
    run, waiting = alloc.launch(long_run, str(tmp_path/"saved")), alloc.launch(long_run, str(tmp_path/"never"))
    until(lambda: "given back in" in repr(alloc), "a warning before the end", 6)
    run.wait()
    until(lambda: not alloc.alive, "the release", 10)
    assert time.time() < holder.ends and not holder_of(alloc.device_ids[0])
    assert run.status == "stopped" and (tmp_path/"saved").exists() and "time=6" in run.record.reason and "time=6" in str(lb.runs())
    assert any("given back in" in text for text in run.record.extra.get("warnings", [])), run.record.extra
    assert waiting.status == "stopped" and not (tmp_path/"never").exists() and "time=6" in waiting.record.reason


def test_a_run_that_does_not_listen_is_killed_in_time():
    alloc = lb.allocate(1, time=3)
    ends = holder_of(alloc.device_ids[0]).ends
    run = alloc.launch(deaf_run)
    until(lambda: not alloc.alive, "the release", 10)
    assert time.time() < ends + .5 and run.status == "stopped" and "time=3" in run.record.reason


def test_an_idle_one_is_given_back_too():
    alloc = lb.allocate(1, time=1)
    until(lambda: not alloc.alive, "the release", 5)
    assert not holder_of("sim-0")


def test_a_short_request_goes_past_one_that_waits_and_a_long_one_does_not():
    code = "import lepton_bench as lb, sys, time; a = lb.allocate({}); print('granted', flush=True); sys.stdin.read(); a.release()"
    def ask(*arguments: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", code.format(", ".join(arguments))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    def granted(process: subprocess.Popen) -> bool: return "granted\n" in iter(process.stdout.readline, "")
    def waits(name: str) -> bool: return any(a["name"] == name and a["state"] == "waiting" for a in list_allocations())
    first = take_once(3, options={"time": 600})
    asked = []
    try:
        asked.append(ask("4", "name='head'"))
        until(lambda: waits("head"), "the head in line", 30)
        asked.append(ask("1", "name='silent'"))
        asked.append(ask("1", "name='long'", "time=9000"))
        until(lambda: waits("silent") and waits("long"), "two more in line", 30)
        asked.append(short := ask("1", "name='short'", "time=60"))
        assert granted(short)
        assert waits("head") and waits("silent") and waits("long")
        first.release()
        short.stdin.close()
        assert granted(asked[0])  # the head has not been put off
        for process in asked[:3]: process.stdin.close()
        for process in asked[1:3]: assert granted(process)
    finally:
        for process in asked:
            if not process.stdin.closed: process.stdin.close()
            process.stdout.read()
            process.wait(30)
            process.stdout.close()


@pytest.mark.parametrize("wrong", ["x", "1:00:00", 0, -3, float("nan"), True, [1]])
def test_a_time_that_is_no_number_of_seconds(wrong):
    with pytest.raises(lb.BenchError, match="not a number of seconds above 0"): lb.allocate(1, time=wrong)
    assert lb.allocations() == []


def test_on_the_shell(tmp_path):
    (tmp_path/"slow.py").write_text("import time\ntime.sleep(600)")
    done = subprocess.run([BENCH, "launch", "--time", "3", tmp_path/"slow.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and "time=3" in done.stderr, done
    done = subprocess.run([BENCH, "launch", "--time", "soon", tmp_path/"slow.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "not a number of seconds" in done.stderr


def saving_run(total: int) -> None:
    done = (lb.load_checkpoint() or {"step": 0})["step"]
    for step in range(done, total):
        lb.log(step=step, one=1)
        lb.save_checkpoint({"step": step + 1}, step + 1)
        time.sleep(.02)  # the work


def test_a_run_that_has_stepped_aside_comes_back_with_the_rest_of_its_time():
    alloc = lb.allocate(3, name="patient", time=600)
    run = alloc.options(preemptible=True).launch(saving_run, 60)
    until(lambda: run.record.checkpoint, "a checkpoint", 30)
    with lb.allocate(2, preempt=True, name="urgent"): until(lambda: run.status == "waiting", "it has made room", 30)
    assert run.wait(60).status == "done" and run.record.attempt == 1
    info = lb.attach("patient").info
    assert 500 < info["time"] < 600 and info["ends"] <= time.time() + info["time"]
