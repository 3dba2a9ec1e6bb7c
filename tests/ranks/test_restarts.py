"""Nothing lost: ranks that die, runs that are resumed, checkpoints, hangs, memory that is full."""
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.processes.identity import ProcessId, signal_process
from lepton_bench.api.runs import get_run
from lepton_bench.store.checkpoints import checksum, list_checkpoints, read_checkpoint, read_manifest
from lepton_bench.store.runs import result_path


pytestmark = pytest.mark.simulated(8)


@pytest.fixture(scope="module")
def alloc() -> Iterator:
    os.environ["LEPTON_BENCH_SIMULATED"] = "8"
    with lb.allocate(2, name="nothing-lost") as found: yield found
    del os.environ["LEPTON_BENCH_SIMULATED"]


@pytest.fixture(autouse=True)
def idle(alloc) -> Iterator[None]:
    until(lambda: alloc.info["state"] == "idle", "idle", 40)
    yield


def steps_of(run, rank: int) -> list[int]: return sorted(p["step"] for p in run.metrics().to_pylist() if p["rank"] == rank)


# --- a rank that dies -----------------------------------------------------------------------------

def fragile(how: str, trace: str):
    "Ten steps; at the fifth of the first attempt rank 1 comes to an end."
    import torch.distributed as dist
    state = lb.load_checkpoint() or {"step": 0}
    for step in range(state["step"], 10):
        lb.log(step=step, loss=float(step))
        dist.barrier()
        if step == 5 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and dist.get_rank() == 1:
            if how == "killed": os.kill(os.getpid(), 9)
            if how == "crashed": os.kill(os.getpid(), 11)
            if how == "exited": os._exit(3)
            if how == "out of memory": raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            raise ValueError("no such optimiser")
        lb.save_checkpoint({"step": step + 1}, step + 1)
        open(trace, "a").write(f"{dist.get_rank()} {step}\n")
    return state["step"]


@pytest.mark.parametrize("how", ["killed", "crashed", "exited", "out of memory"])
def test_a_rank_that_dies_is_replaced(alloc, how, tmp_path):
    run = alloc.options(max_restarts=1).launch(fragile, how, str(tmp_path/"trace"))
    assert run.result(60) == 5, "the second attempt began at the last complete checkpoint"
    record = run.record
    assert record.attempt == 1 and len(record.restarts) == 1 and "rank 1" in record.restarts[0]["reason"] and record.restarts[0]["time"] > record.created
    assert steps_of(run, 0) == steps_of(run, 1) == list(range(10))


def test_an_exception_ends_the_run_unless_another_try_is_asked_for(alloc, tmp_path):
    run = alloc.options(max_restarts=3).launch(fragile, "raised", str(tmp_path/"trace")).wait(60)
    assert run.status == "failed" and run.record.attempt == 0
    run = alloc.options(max_restarts=3, retry_exceptions=True).launch(fragile, "raised", str(tmp_path/"trace"))
    assert run.result(60) == 5 and run.record.attempt == 1


def test_out_of_memory_is_named_with_what_ranks_held(alloc):
    def train():
        for step in range(100_000):
            lb.log(step=step, loss=0.)
            time.sleep(.02)
            if step > 120: raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1.00 GiB")
    reason = alloc.launch(train).wait(60).record.reason
    assert reason.startswith("out of memory at step 1") and "rank 0 0." in reason and "rank 1 0." in reason and "GiB" in reason


def test_a_save_that_only_rank_0_makes_leaves_its_rank_usable(alloc):
    def alone():
        import torch.distributed as dist
        if dist.get_rank() == 0: lb.save_checkpoint({"step": 1}, 1, timeout=.3)
        return os.getpid()
    run = alloc.launch(alone)
    assert run.results(60) == alloc.launch(os.getpid).results(60), "the answer that nobody waited for has done no harm"
    assert [c.name for c in list_checkpoints(run.directory)] == ["step-1"]


# --- resume ---------------------------------------------------------------------------------------

class Samples(torch.utils.data.Dataset):
    def __len__(self): return 101
    def __getitem__(self, i): return i, torch.sin(torch.arange(4.) * i)


def training(folder: str, pause: float, epochs: int = 3, kill_at: int = -1):
    "A real model with dropout; every rank writes down which samples it has seen in steps that count."
    import random

    import torch.distributed as dist
    torch.manual_seed(7); random.seed(dist.get_rank())
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(.3), torch.nn.Linear(8, 1))
    optimiser = torch.optim.Adam(model.parameters(), lr=.01)
    loader, step, seen = lb.DataLoader(Samples(), batch_size=5, shuffle=True, seed=3, num_workers=1), 0, []
    if state := lb.load_checkpoint():
        model.load_state_dict(state["model"]); optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    for epoch in loader.epochs(epochs):
        for ids, x in loader:
            loss = model(x).square().mean() + random.random() * 1e-3
            optimiser.zero_grad(); loss.backward()
            for p in model.parameters(): dist.all_reduce(p.grad)
            optimiser.step()
            lb.log(step=step, loss=loss.detach())
            seen += [(step, epoch, int(i)) for i in ids]
            step += 1
            if step % 4 == 0:
                everybody = [None] * dist.get_world_size()
                dist.all_gather_object(everybody, seen)
                if dist.get_rank() == 0: (Path(folder)/f"seen-{step}").write_text(repr(sum(everybody, [])))
                seen = []
                lb.save_checkpoint({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, step)
            if step == kill_at and not int(os.environ["TORCHELASTIC_RESTART_COUNT"]): os.kill(os.getpid(), 9)
            time.sleep(pause)
    everybody = [None] * dist.get_world_size()
    dist.all_gather_object(everybody, seen)
    (Path(folder)/"seen-end").write_text(repr(sum(everybody, [])))
    return {k: v.clone() for k, v in model.state_dict().items()}


def seen_in(folder: Path) -> list[tuple[int, int, int]]:
    return sorted(x for path in folder.glob("seen-*") for x in eval(path.read_text()))


def test_an_interrupted_run_sees_the_same_samples_and_ends_with_the_same_weights(alloc, tmp_path):
    for name in ("whole", "broken"): (tmp_path/name).mkdir()
    whole = alloc.launch(training, str(tmp_path/"whole"), 0.).result(90)
    run = alloc.options(max_restarts=1).launch(training, str(tmp_path/"broken"), 0., kill_at=18)
    broken = run.result(90)
    assert run.record.attempt == 1
    assert seen_in(tmp_path/"whole") == seen_in(tmp_path/"broken")
    for epoch in range(3): assert sorted(i for _, e, i in seen_in(tmp_path/"broken") if e == epoch) == list(range(101))
    for name, value in whole.items(): assert torch.equal(value, broken[name]), name


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_run_whose_supervisor_was_killed_goes_on_in_an_allocation_of_another_size(ranks, tmp_path):
    first = lb.allocate(2, name="first-half")
    run = first.launch(training, str(tmp_path), .05)
    until(lambda: list_checkpoints(run.directory), "a checkpoint", 40)
    assert signal_process(first.supervisor, signal.SIGKILL)
    until(lambda: run.status == "lost", "lost", 10)
    with lb.allocate(ranks, name="second-half") as second:
        again = get_run(run.id).resume(second)
        assert again.id == run.id and len(again.results(90)) == ranks
        record = again.record
        assert record.status == "done" and record.attempt == 1 and record.world_size == ranks and record.allocation == "second-half" and record.checkpoint > 4
        with pytest.raises(BenchError, match="nothing to resume"): again.resume(second)
    for epoch in range(3): assert sorted(i for _, e, i in seen_in(tmp_path) if e == epoch) == list(range(101)), "every sample once per epoch"
    for rank in range(max(2, ranks)):
        steps = steps_of(run, rank)
        assert steps == sorted(set(steps)), "no step twice"
    assert steps_of(run, 0) == list(range(max(steps_of(run, 0)) + 1)), "no step is missing"


def test_a_script_goes_on_too_and_what_cannot_go_on_says_why(alloc, tmp_path):
    script = tmp_path/"train.py"
    script.write_text("import lepton_bench as lb, os, sys\nstate = lb.load_checkpoint()\nprint('from', state, sys.argv[1:])\n"
                      "lb.save_checkpoint({'step': 3}, 3)\nif state is None and os.environ['RANK'] == '0': sys.exit(4)\n")  # on rank 0 it is stored by then
    run = alloc.launch(str(script), args=["--lr", "0.1"]).wait(60)
    assert run.status == "failed"
    assert run.resume(alloc).wait(60).status == "done" and "from {'step': 3} ['--lr', '0.1']" in run.logs(rank=0)
    going = alloc.launch(time.sleep, 30)
    with pytest.raises(BenchError, match="goes on by itself"): going.resume(alloc)
    going.stop()
    (going.directory/"source"/"launch.json").unlink()
    with pytest.raises(BenchError, match="launch.json is missing"): going.resume(alloc)


def test_two_who_resume_at_once(alloc):
    run = alloc.launch(time.sleep, 30)
    run.stop()
    with lb.allocate(2, name="another") as other:
        run.resume(alloc)
        with pytest.raises(BenchError, match="goes on|resumed already|is waiting|is running"): get_run(run.id).resume(other)
        until(lambda: run.status == "running", "running", 20)
        run.stop()
        get_run(run.id).resume(other)
        until(lambda: run.status == "running", "running again", 20)
        get_run(run.id).stop()
    assert get_run(run.id).record.attempt == 2


# --- checkpoints ----------------------------------------------------------------------------------

def test_saving_in_the_background_holds_the_state_still(alloc):
    def train():
        weight = torch.zeros(1000, 1000)
        for step in range(1, 6):
            weight += 1
            lb.save_checkpoint({"weight": weight, "step": step}, step, wait=False)
            weight.add_(100).sub_(100)  # what comes meanwhile
        return float(weight[0, 0])
    run = alloc.launch(train)
    assert run.result(60) == 5
    assert [p.name for p in list_checkpoints(run.directory)] == [f"step-{i}" for i in range(1, 6)]
    for path in list_checkpoints(run.directory):
        state = torch.load(path/"state.pt")
        assert bool((state["weight"] == state["step"]).all())


def test_what_goes_wrong_in_the_background_ends_the_run(alloc):
    def train():
        lb.save_checkpoint({"x": (i for i in range(3))} if os.environ["RANK"] == "0" else {}, 1, wait=False)
        time.sleep(.2)
    run = alloc.launch(train).wait(60)
    assert run.status == "failed" and "generator" in run.record.reason


def test_the_last_and_the_best_are_kept(alloc):
    def train():
        for step, score in enumerate([.1, .9, .2, .8, .3, .4]): lb.save_checkpoint({"step": step}, step, keep_last=2, keep_best=1, score=score)
    run = alloc.launch(train)
    run.result(60)
    assert [p.name for p in list_checkpoints(run.directory)] == ["step-1", "step-4", "step-5"]


def test_the_newest_is_damaged(alloc):
    def train():
        state = lb.load_checkpoint()
        if state is None:
            for step in (1, 2): lb.save_checkpoint({"step": step}, step)
            if os.environ["RANK"] == "0": raise RuntimeError("enough")
            time.sleep(60)  # on rank 0 both are stored by then
        return state["step"]
    run = alloc.launch(train).wait(60)
    newest = list_checkpoints(run.directory)[-1]/"state.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert run.resume(alloc).result(60) == 1
    assert "is damaged" in run.logs(rank=0) and "Going on from step-1" in run.logs(rank=0)


def sharded(wait: bool):
    "A weight in shards, and whole tensors where nobody says how they are divided."
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor
    mesh = init_device_mesh("cpu", (int(os.environ["WORLD_SIZE"]),))
    state = {"weight": distribute_tensor(torch.zeros(12, 2), mesh, [Shard(0)]), "step": 0}
    if lb.load_checkpoint(into=state) is not None: return state["step"], state["weight"].full_tensor(), lb.load_checkpoint()["weight"]
    state = {"weight": distribute_tensor(torch.arange(24.).reshape(12, 2), mesh, [Shard(0)]), "step": 5}
    lb.save_checkpoint(state, 5, wait=wait)
    if not wait: state["weight"].mul_(0)
    if wait: raise RuntimeError("enough")


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_state_in_shards_is_read_on_another_number_of_ranks(alloc, ranks):
    run = alloc.launch(sharded, True).wait(60)
    assert "enough" in run.record.reason, run.record.reason
    with lb.allocate(ranks, name="reader") as reader:
        for step, whole, alone in run.resume(reader).results(60):
            assert step == 5 and torch.equal(whole, torch.arange(24.).reshape(12, 2)) and torch.equal(alone, whole)


def test_shards_in_the_background(alloc):
    run = alloc.launch(sharded, False).wait(60)
    assert run.status == "done", run.record.reason

    def read(path):
        from lepton_bench.store.sharded_checkpoints import read_shards
        return read_shards(path)["weight"]
    for found in alloc.launch(read, list_checkpoints(run.directory)[-1]).results(60): assert torch.equal(found, torch.arange(24.).reshape(12, 2))


# --- hangs ----------------------------------------------------------------------------------------

def hang(step: int):
    "Rank 1 sleeps where rank 0 waits for it."
    import torch.distributed as dist
    lb.log(step=step, loss=1.)
    if dist.get_rank() == 1: oversleep()
    dist.barrier()


def oversleep(): time.sleep(1000)


def test_the_odd_one_out_is_named(alloc):
    run = alloc.launch(hang, 3)
    until(lambda: run.status == "running" and run.metrics().num_rows == 2, "running", 20)
    until(lambda: "in barrier" in run.stacks(), "rank 0 waits", 20)
    found = run.stacks()
    assert found.odd == [1] and found.startswith("the others wait for rank 1") and "in oversleep" in found and len(found.groups) == 2
    os.kill(ProcessId.from_dict(alloc.info["ranks"]["0"]).pid, signal.SIGSTOP)
    found = run.stacks(timeout=1.)
    assert "rank 0\n  no answer: it is stopped (SIGSTOP)" in found
    run.stop(kill=True)
    with pytest.raises(BenchError, match="stand nowhere"): run.stacks()


def test_a_stalled_run_says_so_and_where_it_stands(alloc):
    def pauses():
        import torch.distributed as dist
        lb.log(step=1, loss=1.)
        if dist.get_rank() == 1: time.sleep(5)
        dist.barrier()
        lb.log(step=2, loss=1.)
        time.sleep(3)
    run = alloc.options(stall_after=1.).launch(pauses)
    until(lambda: run.status == "stalled", "stalled", 20)
    stall = run.record.extra["stall"]
    assert stall["odd"] == [1] and "in pauses" in stall["stacks"] and abs(time.time() - stall["since"]) < 10
    assert "stalled: no step and no output for" in run.logs(rank=0) and "stalled" in repr(run)
    until(lambda: run.status == "running", "it goes on", 20)
    assert "goes on, after" in run.logs(rank=0)
    assert run.wait(30).status == "done"


# --- from the shell, and from somebody else --------------------------------------------------------

def shell(*words: str) -> str:
    done = subprocess.run([str(Path(sys.executable).parent/"lepton-bench"), *words], capture_output=True, text=True, timeout=90)
    return done.stdout + done.stderr


def test_the_shell_resumes_and_looks_at_stacks(alloc, tmp_path):
    script = tmp_path/"train.py"
    script.write_text("import lepton_bench as lb, os, time\nprint('ranks', os.environ['WORLD_SIZE'])\nif lb.load_checkpoint() is None:\n"
                      "    lb.save_checkpoint({'step': 1}, 1)\n    time.sleep(100)\nprint('went on')\n")
    run = alloc.launch(str(script))
    until(lambda: run.record.checkpoint == 1, "a checkpoint", 20)
    assert "train.py" in shell("stacks", run.id)
    assert "goes on by itself" in shell("resume", run.id)
    run.stop()
    said = shell("resume", run.id, "-n", "1")
    assert "ranks 1" in said and "went on" in said and run.record.status == "done" and run.record.world_size == 1
    assert "nothing to resume" in shell("resume", run.id) and "stand nowhere" in shell("stacks", run.id)
    until(lambda: all(a["name"] == "nothing-lost" for a in lb.allocations()), "what was taken for it is given back", 20)


class Bomb:
    "Writes a file when it is unpickled."
    def __init__(self, path: str): self.path = path
    def __reduce__(self): return open, (self.path, "w")


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: nothing can be given to another user here")
def test_what_somebody_else_has_written_is_not_executed(alloc, tmp_path):
    run = alloc.launch(lambda: lb.save_checkpoint({"step": 1}, 1)).wait(60)
    assert run.status == "done"
    trap = tmp_path/"sprung"
    until((run.directory/"source"/"payload.pkl").exists, what="what was launched, which is stored when there is time")
    for path in (result_path(run.directory, 0), run.directory/"source"/"payload.pkl"): path.write_bytes(pickle.dumps(Bomb(str(trap))))
    state = list_checkpoints(run.directory)[0]/"state.pt"
    torch.save({"step": Bomb(str(trap))}, state)
    manifest = read_manifest(state.parent)
    manifest["files"]["state.pt"] = checksum(state)
    (state.parent/"manifest.json").write_text(json.dumps(manifest))
    for path in (run.directory, *run.directory.rglob("*")): os.chown(path, 54321, 54321)
    record = json.loads((run.directory/"run.json").read_text())
    (run.directory/"run.json").write_text(json.dumps({**record, "status": "failed"}))
    found = get_run(run.id)
    assert found.metrics().num_rows == 0 and run.id in {r.id for r in lb.runs()}
    with pytest.raises(BenchError, match="belongs to another user"): found.resume(alloc)
    with pytest.raises(BenchError, match="cannot be loaded"): read_checkpoint(state.parent)
    (run.directory/"run.json").write_text(json.dumps({**record, "status": "done"}))
    with pytest.raises(BenchError, match="belongs to another user"): found.result()
    assert not trap.exists()
