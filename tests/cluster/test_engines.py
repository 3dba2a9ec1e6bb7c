"""What every engine does alike. A new engine passes these tests unchanged: add its name to ENGINES."""
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.isolation import patience

import lepton_bench as lb
from lepton_bench.engines.base import Capabilities, await_end, engine_names, get_engine, require
from lepton_bench.errors import AllocationError, BenchError, RunError
from lepton_bench.api.runs import get_run
from lepton_bench.supervisor.allocations import allocations_directory, list_allocations

ENGINES = ["local", "debug", "slurm"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "slurm":
        request.getfixturevalue("slurm")
        monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "1")  # its nodes' GPUs are files that nothing drives
    yield request.param
    for found in list_allocations(): lb.attach(found["name"]).release()
    threads = [t for t in threading.enumerate() if t.name.startswith("supervisor ")]
    for thread in threads: thread.join(patience(20))
    assert not [t for t in threads if t.is_alive()] and not list_allocations()


def test_it_has_the_six_calls_and_says_what_it_can_do(engine: str) -> None:
    found = get_engine(engine)
    for call in ("inventory", "submit", "poll", "signal", "logs", "reattach"): assert callable(getattr(found, call))
    assert found.name == engine in engine_names() and isinstance(found.capabilities, Capabilities) and found.capabilities.gang
    for device in found.inventory(): assert device.id and device.kind in ("cuda", "cpu", "simulated")
    with pytest.raises(BenchError, match="cannot fraction"): require(found, fraction=True)


def test_ranks_know_their_place_and_give_their_values_back(engine: str) -> None:
    def place(base: int) -> tuple:
        import torch
        import torch.distributed as dist
        total = torch.tensor([float(dist.get_rank() + base)])
        dist.all_reduce(total)
        return dist.get_rank(), dist.get_world_size(), int(os.environ["RANK"]), os.getpid(), total.item()
    with lb.allocate(2, engine=engine) as alloc:
        first = alloc.launch(place, 1).results(timeout=patience(60))
        again = alloc.launch(place, 2).results(timeout=patience(60))
        assert [f[:3] for f in first] == [(0, 2, 0), (1, 2, 1)] and [f[4] for f in first] == [3., 3.] and [f[4] for f in again] == [5., 5.]
        assert [f[3] for f in first] == [f[3] for f in again], "the ranks stay warm"
        assert os.getpid() not in [f[3] for f in first]


def test_metrics_logs_and_checkpoints_arrive(engine: str) -> None:
    def train() -> int:
        import lepton_bench as lb
        for step in range(50): lb.log(step=step, loss=1 / (step + 1))
        lb.save_checkpoint({"step": 49}, 49)
        print("the end of", os.environ["RANK"])
        return 49
    with lb.allocate(2, engine=engine) as alloc:
        run = alloc.launch(train)
        assert run.result(timeout=patience(60)) == 49
    table = run.metrics().to_pydict()
    assert sorted(zip(table["rank"], table["step"])) == [(rank, step) for rank in range(2) for step in range(50)]
    assert [f"the end of {rank}" in run.logs(rank=rank) for rank in range(2)] == [True, True]
    assert run.record.engine == engine and run.record.status == "done" and (run.directory/"checkpoints"/"step-49").is_dir()


def test_a_failure_names_its_rank_and_leaves_the_allocation_usable(engine: str) -> None:
    def fail() -> None:
        if os.environ["RANK"] == "1": raise ValueError("no such luck")
        time.sleep(60)
    with lb.allocate(2, engine=engine) as alloc:
        with pytest.raises(RunError, match="rank 1 raised ValueError: no such luck"): alloc.launch(fail).result(timeout=patience(30))
        assert alloc.launch(lambda: os.environ["RANK"]).results(timeout=patience(60)) == ["0", "1"]


def test_a_killed_rank_and_the_next_attempt(engine: str) -> None:
    def train() -> int:
        import torch.distributed

        import lepton_bench as lb
        start = (lb.load_checkpoint() or {"step": 0})["step"]
        for step in range(start, 20):
            lb.log(step=step, value=step)
            if step == 10: lb.save_checkpoint({"step": 10}, 10)
            if step == 15 and start == 0:
                torch.distributed.barrier()  # rank 0 has heard that the checkpoint counts
                if os.environ["RANK"] == "1": os.kill(os.getpid(), signal.SIGKILL)
        return start
    with lb.allocate(2, engine=engine) as alloc:
        run = alloc.options(max_restarts=1).launch(train)
        assert run.results(timeout=patience(60)) == [10, 10] and run.record.attempt == 1
    steps = run.metrics().to_pydict()
    assert [s for s, r in zip(steps["step"], steps["rank"]) if r == 0] == list(range(20))


def test_a_script_sees_what_torchrun_would_have_set(engine: str, tmp_path: Path) -> None:
    script = tmp_path/"train.py"
    script.write_text("import os, sys, torch.distributed as dist\ndist.init_process_group('gloo')\n"
                      "print(sys.argv[1], dist.get_world_size(), os.environ['LOCAL_RANK'], __name__)\n")
    with lb.allocate(2, engine=engine) as alloc:
        run = alloc.launch(str(script), args=["here"])
        assert run.wait(timeout=patience(60)).status == "done", run.logs()
    assert [run.logs(rank=rank).strip() for rank in range(2)] == ["here 2 0 __main__", "here 2 1 __main__"]


def test_stop_restart_and_what_others_see(engine: str) -> None:
    def forever() -> None:
        import lepton_bench as lb
        lb.log(step=0, begun=1)
        while True: time.sleep(.01)
    with lb.allocate(2, engine=engine) as alloc:
        run = alloc.launch(forever)
        end = time.monotonic() + patience(30)
        while not (run.metrics().num_rows and run.status == "running") and time.monotonic() < end: time.sleep(.01)  # its record follows a moment later
        found = [a for a in lb.allocations() if a["name"] == alloc.name][0]
        assert found["engine"] == engine and found["state"] == "running" and len(alloc.info["ranks"]) == 2
        assert get_run(run.id).status == "running" and [a.name for a in [lb.attach(alloc.name)]] == [alloc.name]
        assert run.stop().status == "stopped"
        before = alloc.launch(os.getpid).results(timeout=patience(60))
        alloc.restart()
        assert not set(before) & set(alloc.launch(os.getpid).results(timeout=patience(60)))


def test_a_handle_is_polled_signalled_and_found_again(engine: str) -> None:
    where = get_engine(engine)
    alloc = lb.allocate(1, engine=engine)
    handle = where.reattach([a for a in list_allocations() if a["name"] == alloc.name][0])
    assert where.poll([handle, handle]) == ["running", "running"] and isinstance(where.logs(handle), str)
    assert await_end(where, handle, patience(20)) and where.poll([handle]) == ["gone"] and where.signal(handle, signal.SIGTERM) is False
    assert not alloc.alive and not (allocations_directory()/f"{alloc.name}.json").exists()
    with pytest.raises(AllocationError, match="gone"): alloc.launch(os.getpid)


def test_what_can_never_be_granted_is_refused_at_once(engine: str) -> None:
    with pytest.raises(BenchError, match="999"): lb.allocate(999, engine=engine)
    with pytest.raises(AllocationError, match="min_ranks=3 makes no sense"): lb.allocate(2, engine=engine, min_ranks=3)
    assert not list_allocations()


def test_an_unknown_engine_is_named_with_those_that_are_there() -> None:
    with pytest.raises(BenchError, match="there is no engine 'cloud'. Installed engines: debug, local, slurm"): lb.allocate(1, engine="cloud")
