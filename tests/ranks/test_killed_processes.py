"""What is left when something of ours is killed: nothing that holds a device, and everything that was written down."""
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.waiting import until

import lepton_bench as lb
from lepton_bench.processes.identity import ProcessId, children, descendants, signal_process
from lepton_bench.resources.devices import inventory
from lepton_bench.resources.leases import holder_of
from lepton_bench.processes.forkserver import forkservers


pytestmark = pytest.mark.simulated(2)


def train_with_children():
    "Logs for ever, with a DataLoader worker and a detached subprocess on each rank."
    import subprocess

    import torch
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    loader = iter(torch.utils.data.DataLoader(list(range(10_000)), num_workers=1))
    print("CHILDREN", child.pid, *(w.pid for w in loader._workers), flush=True)
    for step, _ in enumerate(loader):
        lb.log(step=step, loss=float(step))
        time.sleep(.005)


def started(run):
    def all_log(): return all(run.metrics().column("rank").to_pylist().count(rank) > 5 for rank in (0, 1))
    until(lambda: len([x for x in run.logs().splitlines() if "CHILDREN" in x]) == 2 and all_log(), "two ranks that log", 40)


def leases_are_free(): return all(holder_of(d.id) is None for d in inventory())


def whole_family(pid):
    return [p for p in (ProcessId.of(pid), *map(ProcessId.of, descendants(pid))) if p.start_time >= 0]


def gone_within(family, seconds):
    until(leases_are_free, "free leases", seconds)
    until(lambda: not any(p.alive() for p in family), f"the end of {family}", seconds)


def test_killing_the_supervisor_ends_all_and_keeps_every_point():
    alloc = lb.allocate(2, name="beheaded")
    run = alloc.launch(train_with_children)
    started(run)
    family = whole_family(alloc.supervisor.pid)
    assert len(family) >= 8  # supervisor, private forkserver, two ranks, each with a worker and a subprocess
    assert signal_process(alloc.supervisor, signal.SIGKILL)
    gone_within(family, 5)
    assert run.status == "lost" and not alloc.alive and lb.allocations() == []
    rows = run.metrics().to_pylist()
    for rank in (0, 1):
        steps = [p["step"] for p in rows if p["rank"] == rank]
        assert len(steps) >= 5 and steps == list(range(len(steps)))
    with lb.allocate(2, name="beheaded") as again: assert again.launch(len, "ab").results(60) == [2, 2]


def test_killing_the_private_forkserver_ends_the_allocation_with_a_reason():
    alloc = lb.allocate(2, name="orphaned")
    run = alloc.launch(train_with_children)
    started(run)
    family = whole_family(alloc.supervisor.pid)
    (private,) = children(alloc.supervisor.pid)
    assert signal_process(ProcessId.of(private), signal.SIGKILL)
    gone_within(family, 5)
    assert run.wait(10).status == "failed" and "forkserver" in run.record.reason
    steps = [p["step"] for p in run.metrics().to_pylist() if p["rank"] == 1]
    assert steps == list(range(len(steps))) and steps


def test_killing_a_rank_frees_nothing_and_leaves_nobody():
    with lb.allocate(2, name="wounded") as alloc:
        run = alloc.launch(train_with_children)
        started(run)
        ranks = [ProcessId.from_dict(r) for r in alloc.info["ranks"].values()]
        theirs = [ProcessId.of(p) for r in ranks for p in descendants(r.pid)]
        signal_process(ranks[1], signal.SIGKILL)
        assert run.wait(20).status == "failed" and "signal 9" in run.record.reason and run.record.error["rank"] == 1
        until(lambda: not any(p.alive() for p in theirs), "the end of the children", 2)
        assert all(holder_of(d).allocation == "wounded" for d in alloc.device_ids)
        assert alloc.launch(len, "ab").results(60) == [2, 2]


def test_an_idle_rank_that_dies_is_replaced():
    with lb.allocate(2, name="idle-death") as alloc:
        alloc.launch(len, "a").wait(60)
        before = alloc.info["ranks"]
        signal_process(ProcessId.from_dict(before["0"]), signal.SIGKILL)
        until(lambda: not ProcessId.from_dict(before["1"]).alive(), "the other rank's replacement", 10)
        assert alloc.launch(len, "abc").results(60) == [3, 3]


def test_killing_the_shared_forkserver_hurts_nobody():
    with lb.allocate(1, name="independent") as alloc:
        run = alloc.launch(lambda: time.sleep(1) or "done")
        for _, process in forkservers(): signal_process(process, signal.SIGKILL)
        assert run.result(60) == "done"
        with lb.allocate(1, name="newcomer") as other: assert other.launch(len, "abcd").result(60) == 4


def test_a_deleted_socket_is_bound_again():
    with lb.allocate(1, name="unplugged") as alloc:
        os.unlink(alloc.info["socket"])
        until(lambda: os.path.exists(alloc.info["socket"]), "the socket", 5)
        assert alloc.launch(len, "ab").result(60) == 2
        out = subprocess.run([sys.executable, "-c", "import lepton_bench as lb; print(lb.attach('unplugged').launch(len, 'abc').result(60))"],
                             capture_output=True, text=True, timeout=60)
        assert out.stdout.strip() == "3", out


def test_sigterm_releases_cleanly():
    alloc = lb.allocate(2, name="asked")
    run = alloc.launch(train_with_children)
    started(run)
    family = whole_family(alloc.supervisor.pid)
    signal_process(alloc.supervisor, signal.SIGTERM)
    gone_within(family, 10)
    assert run.status == "stopped"


OWNER = """
import sys, time
import lepton_bench as lb
a = lb.allocate(1, name=sys.argv[1])
if "run" in sys.argv: a.launch(time.sleep, 3)
print("ready", flush=True)
time.sleep(1000)
"""


def owner(*args, **env):
    process = subprocess.Popen([sys.executable, "-c", OWNER, *args], stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
    for line in process.stdout:
        if line.strip() == "ready": return process
    raise AssertionError("the owner did not start")


def named(name): return next((a for a in lb.allocations() if a["name"] == name), None)


def test_an_idle_allocation_of_a_dead_kernel_is_given_back():
    process = owner("deserted", LEPTON_BENCH_ORPHAN_GRACE="1")
    process.kill(); process.wait()
    assert named("deserted")
    until(lambda: named("deserted") is None, "the release", 10)
    until(leases_are_free, timeout=2)


def test_a_run_outlives_its_kernel_and_then_the_allocation_goes():
    process = owner("faithful", "run", LEPTON_BENCH_ORPHAN_GRACE="0.5")
    process.kill(); process.wait()
    run = lb.get_run(until(lambda: named("faithful")["run"], "the run", 5))
    assert run.wait(30).status == "done"
    until(lambda: named("faithful") is None, "the release", 10)


def test_an_idle_allocation_of_a_living_kernel_is_warned_of_then_given_back():
    process = owner("lazy", LEPTON_BENCH_IDLE_WARNING="0.5", LEPTON_BENCH_IDLE_RELEASE="4")
    try:
        warning = until(lambda: (named("lazy") or {}).get("warning"), "the warning", 10)
        assert "idle" in warning and "idle_release" in warning
        until(lambda: named("lazy") is None, "the release", 15)
    finally: process.kill(); process.wait()


def test_a_second_process_waits_and_gets_it():
    alloc = lb.allocate(2, name="first")  # idle, but somebody else's: the other process has to wait for it
    code = "import lepton_bench as lb\na = lb.allocate(1, name='second')\nprint(a.launch(len, 'ab').result(60)); a.release()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    until(lambda: (named("second") or {}).get("state") == "waiting", "a second one that waits", 20)
    alloc.release()
    out, _ = process.communicate(timeout=60)
    assert out.strip().splitlines()[-1] == "2" and "first" in out, "it said who held the devices"


def test_without_a_forkserver_the_results_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_FORKSERVER", "0")
    (tmp_path/"script.py").write_text("import os, sys\nprint(sys.argv[1:], os.environ['WORLD_SIZE'])\nsys.exit(5)")
    with lb.allocate(2, name="spawned") as alloc:
        def total():
            import torch
            import torch.distributed as dist
            t = torch.ones(1); dist.all_reduce(t)
            lb.log(step=0, total=t.sum())
            return t.item()
        run = alloc.launch(total)
        assert run.results(90) == [2., 2.] and run.metrics().num_rows == 2
        script = alloc.launch(str(tmp_path/"script.py"), args=["x"]).wait(90)
        assert script.status == "failed" and script.record.error["code"] == 5 and script.logs().startswith("[0-1] ['x'] 2")
        family = whole_family(alloc.supervisor.pid)
    gone_within(family, 5)


def test_a_checkpoint_of_rank_0_alone_when_another_rank_fails():
    "It waits for the others' word; then the answer finds nobody, and the supervisor goes on."
    def train():
        import os
        if os.environ["RANK"] == "0": lb.save_checkpoint({"step": 1}, 1)
        time.sleep(.5)
        raise ValueError("rank 1 never saves")
    with lb.allocate(2, name="alone") as alloc:
        run = alloc.launch(train).wait(60)
        assert run.status == "failed" and "never saves" in run.record.reason and alloc.alive
        assert alloc.launch(len, "ab").result(60) == 2


ORPHANS = """
import subprocess, sys
from lepton_bench.processes.identity import end_children, set_subreaper
set_subreaper()
parent = "import subprocess, threading, time; [threading.Thread(target=time.sleep, args=(100,)).start() for _ in range(40)]; " \\
         "subprocess.Popen(['sleep', '1000.25'], start_new_session=True); print(flush=True); time.sleep(100)"
for _ in range(15):
    child = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    child.stdout.readline()
    child.kill()
    assert end_children()
"""


def test_orphans_of_a_killed_process_with_threads_end_too():
    "Its first thread may be a zombie while the others still own its children."
    code = subprocess.run([sys.executable, "-c", ORPHANS], env={**os.environ, "ORPHANS_OF": str(os.getpid())}, timeout=60).returncode
    mark = f"ORPHANS_OF={os.getpid()}".encode()

    def left() -> list[int]:
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{name}/environ").read_bytes(): found.append(int(name))
        return found
    orphans = left()
    for pid in orphans: os.kill(pid, signal.SIGKILL)
    assert code == 0 and not orphans
