"""Stuck processes, dead askers, changed owners, no forkserver: what test_killed_processes.py and test_kernel_under_jupyter.py do not kill."""
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from support.waiting import until
from ranks.test_killed_processes import gone_within, leases_are_free, named, started, train_with_children, whole_family

import lepton_bench as lb
from lepton_bench.errors import AllocationTimeout
from lepton_bench.processes.identity import ProcessId, children, descendants, signal_process
from lepton_bench.resources.devices import inventory
from lepton_bench.resources.leases import holder_of, lease_directory
from lepton_bench.supervisor.allocations import allocations_directory


@pytest.fixture(autouse=True)
def simulated(monkeypatch) -> Iterator[None]:
    "Two devices, free before and after each test."
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")
    until(leases_are_free, what="free devices")
    yield
    until(leases_are_free, what="free devices")
    assert not list(lease_directory().glob("*.ticket.*")), "no ticket stays"


@pytest.fixture
def python() -> Iterator:
    "Starts programs that print; what is left of them is killed."
    started_here: list[subprocess.Popen] = []

    def start(code, **env):
        process = subprocess.Popen([sys.executable, "-uc", "import sys, time, os\nimport lepton_bench as lb\n" + code], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env={**os.environ, **env})
        started_here.append(process)
        return process
    yield start
    for process in started_here:
        process.kill()
        process.communicate()


def ready(process):
    "Reads a program's output up to the line `ready`."
    seen = []
    for line in process.stdout:
        if line.strip() == "ready": return process
        seen.append(line)
    raise AssertionError("it ended early:\n" + "".join(seen))


def kill(process):
    process.kill()
    process.wait()


# --- without a forkserver -------------------------------------------------------------------------

def test_without_a_forkserver_a_killed_supervisor_takes_all_with_it(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_FORKSERVER", "0")
    alloc = lb.allocate(2, name="spawned")
    run = alloc.launch(train_with_children)
    started(run)
    family = whole_family(alloc.supervisor.pid)
    assert len(family) >= 8
    signal_process(alloc.supervisor, signal.SIGKILL)
    gone_within(family, 2)
    assert run.status == "lost" and run.metrics().num_rows > 10 and not alloc.alive  # our own child, dead and not yet waited for, is gone all the same


def test_without_a_forkserver_a_run_outlives_its_kernel(python):
    owner = ready(python("a = lb.allocate(1, name='spawned')\nprint(a.launch(time.sleep, 2).id)\nprint('ready'); time.sleep(1000)",
                         LEPTON_BENCH_FORKSERVER="0", LEPTON_BENCH_ORPHAN_GRACE="0.5"))
    run = lb.get_run(until(lambda: named("spawned")["run"], "the run", 10))
    kill(owner)
    assert run.wait(30).status == "done"
    until(lambda: named("spawned") is None, "the release", 10)


# --- stuck processes ------------------------------------------------------------------------------

def test_a_stuck_rank_does_not_keep_a_run_from_being_stopped():
    with lb.allocate(2, name="frozen") as alloc:
        run = alloc.launch(time.sleep, 1000)
        until(lambda: run.status == "running")
        signal_process(ProcessId.from_dict(alloc.info["ranks"]["1"]), signal.SIGSTOP)
        assert run.stop(timeout=20).status == "stopped" and alloc.launch(len, "ab").results(60) == [2, 2]


def test_a_stuck_forkserver_without_a_supervisor_is_quarantine_not_a_free_device():
    alloc = lb.allocate(2, name="ghost")
    alloc.launch(len, "ab").wait(60)
    family, (private,) = whole_family(alloc.supervisor.pid), children(alloc.supervisor.pid)
    stuck = ProcessId.of(private)
    signal_process(stuck, signal.SIGSTOP)
    try:
        signal_process(alloc.supervisor, signal.SIGKILL)
        until(lambda: not alloc.alive, timeout=2)
        assert {holder_of(d.id).state for d in inventory()} == {"quarantined"} and "quarantined" in repr(lb.devices())
        assert lb.allocations() == []
        with pytest.raises(AllocationTimeout, match="quarantined"): lb.allocate(1, name="hopeful", timeout=.3)
    finally: signal_process(stuck, signal.SIGCONT)
    gone_within(family, 2)


def test_a_stuck_supervisor_can_be_ended():
    alloc = lb.allocate(1, name="deaf")
    run = alloc.launch(time.sleep, 1000)
    until(lambda: run.status == "running")
    family = whole_family(alloc.supervisor.pid)
    signal_process(alloc.supervisor, signal.SIGSTOP)
    try:
        assert named("deaf") and "deaf" in repr(lb.devices()), "listing asks nobody"
        alloc.release(timeout=1)
        gone_within(family, 2)
    finally: signal_process(alloc.supervisor, signal.SIGKILL)
    assert run.status == "lost"


# --- askers and owners that die -------------------------------------------------------------------

def asker_behind_a_run(python, name: str) -> tuple:  # the allocation that has everything, the process that waits
    alloc = lb.allocate(2, name="holder")
    run = alloc.launch(time.sleep, 1000)
    until(lambda: run.status == "running")
    asker = python(f"try: lb.allocate(2, name={name!r})\nexcept lb.BenchError as e: print(type(e).__name__, e)")
    until(lambda: (named(name) or {}).get("state") == "waiting", "an asker that waits", 20)
    return alloc, asker


def test_an_asker_that_dies_in_the_queue_leaves_no_ticket(python):
    alloc, asker = asker_behind_a_run(python, "impatient")
    supervisor = ProcessId.from_dict(named("impatient")["supervisor"])
    kill(asker)
    until(lambda: not supervisor.alive() and named("impatient") is None, "the end of its supervisor", 2)
    alloc.release()
    with lb.allocate(2, name="next", timeout=5) as other: assert other.launch(len, "ab").result(60) == 2


def test_a_supervisor_that_is_killed_in_the_queue_is_an_error_at_once(python):
    alloc, asker = asker_behind_a_run(python, "doomed")
    family = whole_family(named("doomed")["supervisor"]["pid"])
    signal_process(family[0], signal.SIGKILL)
    out, _ = asker.communicate(timeout=5)
    assert "AllocationError the supervisor of 'doomed' ended" in out
    until(lambda: not any(p.alive() for p in family), "the end of what it had started", 2)
    alloc.release()
    with lb.allocate(2, name="swept"): pass  # whoever comes next is not held up by the dead one's ticket, and clears it away


def test_a_line_of_runs_is_worked_off_after_the_kernel_is_killed(python):
    owner = ready(python("""
a = lb.allocate(2, name='inherited')
def train(n):
    import torch.distributed as dist
    for i in range(30):
        lb.log(step=i, n=n)
        time.sleep(.02)
        dist.barrier()
        lb.save_checkpoint({"i": i}, i)
        if n == 1 and i == 20 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and dist.get_rank() == 1: os.kill(os.getpid(), 9)
    return n
runs = [a.options(max_restarts=1, name=f"train-{n}").launch(train, n) for n in range(3)]
print('ready'); time.sleep(1000)""", LEPTON_BENCH_ORPHAN_GRACE="1"))
    until(lambda: len(named("inherited")["queue"]) == 2, "two runs in line", 10)
    runs = [lb.get_run(n) for n in (named("inherited")["run"], *named("inherited")["queue"])]
    kill(owner)
    assert [r.result(60) for r in runs] == [0, 1, 2] and [r.record.attempt for r in runs] == [0, 1, 0]
    for run in runs:
        for rank in (0, 1): assert [p["step"] for p in run.metrics().to_pylist() if p["rank"] == rank] == list(range(30))
    until(lambda: named("inherited") is None, "the release", 10)


def test_who_attached_last_is_the_owner(python):
    first = ready(python("lb.allocate(1, name='handed-on')\nprint('ready'); time.sleep(1000)", LEPTON_BENCH_ORPHAN_GRACE="0.5"))
    second = ready(python("sys.argv[0] = 'second.py'\nlb.attach('handed-on')\nprint('ready'); time.sleep(1000)"))
    kill(first)
    with pytest.raises(AllocationTimeout): lb.allocate(2, name="meanwhile", timeout=3)  # longer than the grace and a second for looking
    assert named("handed-on")["owner"]["pid"] == second.pid and named("handed-on")["label"] == "second.py"
    kill(second)
    until(lambda: named("handed-on") is None, "the release", 10)


# --- two at once ----------------------------------------------------------------------------------

def test_programs_that_race_for_the_same_devices_take_turns(python):
    "Three at once want both devices, hold them idle for a while, use them, and give them back."
    code = """
a = lb.allocate(2, name=sys.argv[1])
print("HELD", time.time(), *a.device_ids)
time.sleep(.3)
assert a.launch(len, "ab").results(60) == [2, 2]
print("FREE", time.time())
a.release()
"""
    racers = [python(code.replace("sys.argv[1]", repr(f"racer-{i}"))) for i in range(3)]
    outs = [r.communicate(timeout=60)[0] for r in racers]
    assert [r.returncode for r in racers] == [0] * 3, "\n".join(outs)
    times = sorted((float(h.split()[1]), float(f.split()[1])) for out in outs for h in out.splitlines() if h.startswith("HELD")
                   for f in out.splitlines() if f.startswith("FREE"))
    assert len(times) == 3 and all(a[1] < b[0] for a, b in zip(times, times[1:], strict=False)), times
    assert sum("held: sim-0" in out for out in outs) == 2, "the two that waited were told for whom"


def test_two_command_line_launches_at_once_take_turns(tmp_path):
    (tmp_path/"short.py").write_text("import time; time.sleep(.3); print('ran')")
    command = [os.path.join(os.path.dirname(sys.executable), "lepton-bench"), "launch", "-n", "2", str(tmp_path/"short.py")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(3)]
    outs = [p.communicate(timeout=60)[0] for p in both]
    assert [p.returncode for p in both] == [0] * 3 and all("[0-1] ran" in out for out in outs), "\n".join(outs)


# --- files that go missing ------------------------------------------------------------------------

def test_an_allocations_file_that_was_deleted_is_written_again():
    with lb.allocate(1, name="erased") as alloc:
        path = allocations_directory()/"erased.json"
        path.unlink()
        until(lambda: named("erased"), "the file", 5)
        assert lb.attach("erased").launch(len, "ab").result(60) == 2 and alloc.alive


def test_a_run_whose_folder_was_deleted_harms_nobody_else():
    with lb.allocate(1, name="unfounded") as alloc:
        def train():
            for i in range(100): lb.log(step=i, x=1.); time.sleep(.005)
        run = alloc.launch(train)
        until(lambda: run.metrics().num_rows > 10)
        shutil.rmtree(run.directory)
        with pytest.raises(lb.BenchError, match="no run.json"): run.wait(30)
        assert alloc.launch(len, "abc").result(60) == 3 and descendants(alloc.supervisor.pid)


# --- a private forkserver that imports ------------------------------------------------------------

SLOW = """
import sys, socket, os
sys.path.insert(0, {folder!r})
from lepton_bench.processes import forkserver
from lepton_bench.processes.rank_forkserver import private_body
forkserver._missing[:] = ["slow"]
forkserver.trampoline(lambda: private_body(socket.socket(fileno={fd}), os.getppid(), False))
"""


@pytest.mark.parametrize("end", ["signal", "end", "hang up"])
def test_a_forkserver_that_imports_something_attends_to_what_cannot_wait(tmp_path, end):
    from lepton_bench.processes.channel import readable, stream_pair
    (tmp_path/"slow.py").write_text(f"import time\nopen({str(tmp_path/'begun')!r}, 'w')\nend = time.monotonic() + 30\n"
                                    f"while time.monotonic() < end: pass\nopen({str(tmp_path/'done')!r}, 'w')\n")
    (tmp_path/"sleeper.py").write_text("import time\ndef body(arguments, fds): time.sleep(100)\n")
    ours, theirs = stream_pair()
    process = subprocess.Popen([sys.executable, "-c", SLOW.format(folder=str(tmp_path), fd=theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()

    def heard() -> dict:
        assert readable([ours], 10), "a word of the forkserver"
        ((header, _),) = ours.ready()
        return header
    try:
        _, extra = stream_pair()
        ours.send({"op": "start", "rank": 0, "target": "sleeper:body", "log": "/dev/null"}, fds=[extra.fileno()])
        extra.close()
        rank = ProcessId.from_dict(heard()["process"])
        until((tmp_path/"begun").exists, "the import", 15)
        begun = time.monotonic()
        if end == "signal":
            ours.send({"op": "signal", "pid": rank.pid, "signal": int(signal.SIGKILL)})
            assert heard() == {"op": "exited", "rank": 0, "pid": rank.pid, "status": -9} and time.monotonic() - begun < 5 and process.poll() is None
            ours.close()
        elif end == "end": ours.send({"op": "end"})
        else: ours.close()
        process.wait(10)
        assert not rank.alive() and time.monotonic() - begun < 10 and not (tmp_path/"done").exists()
    finally:
        process.kill(); process.wait()
