"""Allocations as people end them, simulated devices, full disks, and messages that could cross a network."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.small_disk import fill, small_disk

import lepton_bench as lb
from lepton_bench.errors import DeviceError, LaunchError


@pytest.fixture
def simulated(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "4")


def test_simulated_devices_say_so_and_carry_ranks(simulated):
    assert repr(lb.devices()).lower().count("simulated") >= 4
    with lb.allocate(4, name="sims") as alloc:
        assert {d.partition("-")[0] for d in alloc.device_ids} == {"sim"}
        def total():
            import torch
            import torch.distributed as dist
            t = torch.ones(1); dist.all_reduce(t)
            return t.item(), torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES")
        assert alloc.launch(total).results(60) == [(4., 1, "")] * 4
        assert "sims" in repr(lb.devices())
    assert lb.allocations() == [] and "sims" not in repr(lb.devices())


def test_leaving_a_with_block_waits_for_its_runs(simulated):
    with lb.allocate(1, name="patient") as alloc:
        first, second = (alloc.launch(lambda: time.sleep(.5)) for _ in range(2))
    assert (first.status, second.status) == ("done", "done") and not alloc.alive


def test_leaving_a_with_block_by_an_exception_stops_them(simulated):
    with pytest.raises(KeyError):
        with lb.allocate(1, name="hasty") as alloc:
            run = alloc.launch(lambda: time.sleep(1000))
            raise KeyError("the cell failed")
    assert run.status == "stopped" and not alloc.alive
    alloc.release()  # again: no harm


def test_messages_between_supervisor_and_agent_could_cross_a_network(place, tmp_path):
    "Every header survives JSON unchanged, in both directions, through a whole run with a checkpoint, a failure and a script."
    (tmp_path/"script.py").write_text("print('script')")
    code = f"""
import json, os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import lepton_bench as lb
with lb.allocate(2, name="wire") as a:
    def train():
        lb.log(step=1, loss=.5); lb.progress(1, 2); lb.save_checkpoint({{"a": 1}}, 1)
        time.sleep(2.5)  # the system is looked at once a second
        return 5
    assert a.launch(train).results(60) == [5, 5]
    assert a.launch(lambda: 1/0).wait(60).status == "failed"
    script = a.launch({str(tmp_path/'script.py')!r}).wait(60)
    assert script.status == "done", str(script.record) + script.logs()
log = open({str(tmp_path/'wire.log')!r}).read().split()
print(sorted(set(log)))
"""
    (tmp_path/"sitecustomize.py").write_text(f"""
import json
def install():
    from lepton_bench.agents import agent
    receive, init = agent.Agent.receive, agent.Agent.__init__
    def note(direction, header):
        assert json.loads(json.dumps(header)) == header, (direction, header)
        with open({str(tmp_path/'wire.log')!r}, "a") as f: f.write(direction + ":" + header["op"] + "\\n")
    def noting_receive(self, header, payload=b""):
        note("down", header); return receive(self, header, payload)
    def noting_init(self, forkserver, leases, emit, *rest):
        def told(header, payload): note("up", header); emit(header, payload)
        init(self, forkserver, leases, told, *rest)
    agent.Agent.receive, agent.Agent.__init__ = noting_receive, noting_init
import sys, threading
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "lepton_bench.supervisor.program":
            sys.meta_path.remove(self); install()
        return None
sys.meta_path.insert(0, Finder())
""")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "LEPTON_BENCH_SIMULATED": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = set(eval(done.stdout.splitlines()[-1]))
    assert {"down:start", "down:run", "down:drain", "down:stored", "down:saved", "down:kill", "down:end",
            "up:ready", "up:ended", "up:exited", "up:points", "up:system", "up:checkpoint", "up:drained", "up:progress"} <= seen


@pytest.fixture
def cramped(tmp_path, monkeypatch):
    "A home on a disk of 6 MB."
    with small_disk(tmp_path/"disk", 6_000_000) as home:
        monkeypatch.setenv("LEPTON_BENCH_HOME", str(home))
        yield home


def test_a_full_disk_is_a_warning_for_print_and_metrics(cramped, simulated):
    "A disk that fills up during a run: training goes on to its end, points stay readable, the next launch says what is wrong."
    home, alloc = cramped, lb.allocate(1, name="cramped")
    try:
        def train(path):
            for i in range(200): lb.log(step=i, loss=float(i))
            filler = open(path, "wb")
            try:
                while True: filler.write(bytes(65536)); filler.flush()
            except OSError: pass
            for i in range(200, 400):
                print("x" * 1000)
                lb.log(step=i, loss=float(i))
            return "trained to the end"
        run = alloc.launch(train, str(home/"filler"))
        with pytest.raises(TimeoutError): run.wait(timeout=4)  # it has ended, but that cannot be written down
        (home/"filler").unlink()
        run.wait(20).wait(60)
        assert run.status == "done" and run.metrics().num_rows == 400, run
    finally:
        (home/"filler").unlink(missing_ok=True)
        alloc.release()


def test_a_launch_on_a_full_disk_says_so(cramped, simulated):
    alloc = lb.allocate(1, name="full")
    try:
        ballast = fill(cramped)
        with pytest.raises((LaunchError, lb.BenchError), match="(?i)no space"): alloc.launch(len, "abc").result(30)
        ballast.unlink()
        assert alloc.launch(len, "abc").result(30) == 3, "when there is room again, it works again"
    finally:
        ballast.unlink(missing_ok=True)
        alloc.release()


@pytest.mark.alone
def test_devices_answer_quickly():
    "Sooner than three interpreters start that do nothing."
    def median(action):
        times = []
        for _ in range(11):
            start = time.perf_counter(); action(); times.append(time.perf_counter() - start)
        return sorted(times)[5]
    lb.devices()
    assert median(lb.devices) < 3*median(lambda: subprocess.run([sys.executable, "-c", ""], check=True))


def test_importing_is_light():
    code = "import sys, lepton_bench\nassert not {'torch', 'ray', 'pyarrow'} & sys.modules.keys()\nprint(lepton_bench.__all__)"
    assert "allocate" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_too_many_simulated_devices_lists_what_exists(simulated):
    with pytest.raises(DeviceError, match="sim-0"): lb.allocate(5, name="greedy")


def test_json_of_devices_is_json(simulated):
    assert len(json.loads(json.dumps(lb.devices().to_dicts()))) == 4
