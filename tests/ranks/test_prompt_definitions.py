"""What is defined at the prompt of IPython in a terminal, and what a kernel defined that is gone."""
import os
import subprocess
import sys
from pathlib import Path

from support.live_kernel import Kernel

SESSION = """import lepton_bench as lb
from dataclasses import dataclass
@dataclass
class Stat:
    loss: float
    class Inner: pass

def exchange(stat):
    import pickle, torch.distributed as dist
    everybody = [None]*dist.get_world_size()
    dist.all_gather_object(everybody, Stat(stat.loss + dist.get_rank()))
    assert type(pickle.loads(pickle.dumps(Stat.Inner()))) is Stat.Inner
    return everybody

alloc = lb.allocate(2)
found = alloc.launch(exchange, Stat(1.)).results(60)
print("FOUND", found, type(found[0][0]) is Stat, found[0] == found[1] == [Stat(1.), Stat(2.)])
alloc.release()
"""


def test_an_ipython_in_a_terminal():
    command = [str(Path(sys.executable).with_name("ipython")), "--simple-prompt", "--no-banner", "--no-confirm-exit", "--HistoryManager.enabled=False"]
    done = subprocess.run(command, input=SESSION, env={**os.environ, "LEPTON_BENCH_SIMULATED": "2"}, text=True, capture_output=True, timeout=120)
    assert "FOUND [[Stat(loss=1.0), Stat(loss=2.0)], [Stat(loss=1.0), Stat(loss=2.0)]] True True" in done.stdout, done.stdout + done.stderr


DEFINES = """
import lepton_bench as lb
from dataclasses import dataclass
@dataclass
class State:
    step: int
def train(until):
    state = lb.load_checkpoint()
    if state is None:
        lb.save_checkpoint({"state": State(7)}, 7)
        raise RuntimeError("once")
    return type(state["state"]) is State, state["state"].step, until
alloc = lb.allocate(1, name="kept")
run = alloc.options(output=False, max_restarts=0).launch(train, 9).wait(60)
"""


def test_a_checkpoint_is_loaded_where_the_defining_kernel_is_gone(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "1")
    first = Kernel()
    try:
        first.run(DEFINES)
        id = first.value("run.id")
        assert first.value("run.status") == "failed" and first.value("lb.load_checkpoint()") is None, "outside of a run there is none"
        first.run("alloc.release()")
    finally: first.close()
    second = Kernel()
    try:
        second.run("import lepton_bench as lb\nalloc = lb.allocate(1)")
        assert second.value(f"list(lb.get_run({id!r}).resume(alloc).result(60))") == [True, 7, 9]
        second.run("alloc.release()")
    finally: second.close()
