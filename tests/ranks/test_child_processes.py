"""New interpreters (spawn, forkserver) work with what a notebook defines, in a cell of our kernels and in a launched function; scripts are as under python."""
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_kernel import Kernel

import lepton_bench as lb

DEFINITIONS = """
import concurrent.futures, multiprocessing, os, sys, threading
from dataclasses import dataclass
import lepton_bench as lb
__file__ = "train.ipynb"   # some people do

@dataclass
class Stat:
    loss: float
@dataclass
class Task:
    n: int
    def run(self): return Stat(self.n*SCALE)
class Trouble(Exception): pass
SCALE, lock, state = 10, threading.Lock(), None

def work(task): return task.run()
def fail(task): raise Trouble(f"on {task.n}")
def prepare(value):
    global state
    state = value
def use(x): return state + x, os.getpid() != os.environ["PARENT"]
def guarded(x):
    with lock: return x

def pools(method):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        found = list(pool.map(work, [Task(1), Task(2)]))
        error = pool.submit(fail, Task(3)).exception(60)
    assert found == [Stat(10), Stat(20)] and type(found[0]) is Stat and type(error) is Trouble, (found, error)
    os.environ["PARENT"] = str(os.getpid())
    with context.Pool(1, prepare, (5,)) as pool: assert pool.apply(use, (1,))[0] == 6
    assert state is None and SCALE == 10
    return True

def serve(tasks, results):
    while (task := tasks.get()) is not None: results.put((task, task.run()))
def forward(tasks, out):
    for _ in range(2): out.put(tasks.get())
class Serving(multiprocessing.get_context("spawn").Process):
    def __init__(self, *args):
        super().__init__()
        self.all = args
    def run(self): serve(*self.all)

def queues():
    context = multiprocessing.get_context("spawn")
    tasks, results = context.Queue(), context.Queue()
    for n in (1, 2): tasks.put(Task(n))          # before there is any worker, as in Python's documentation
    tasks.put(None)
    worker = Serving(tasks, results)
    worker.start()
    found = [results.get(timeout=60) for _ in range(2)]
    worker.join(60)
    assert found == [(Task(1), Stat(10)), (Task(2), Stat(20))] and type(found[0][0]) is Task and worker.exitcode == 0, found
    with context.Manager() as manager:
        shared, out, known = manager.Queue(), manager.Queue(), manager.dict()
        worker = context.Process(target=forward, args=(shared, out))
        worker.start()
        for n in (1, 2): shared.put(Task(n)); known[n] = Task(n)
        assert [out.get(timeout=60) for _ in range(2)] == [Task(1), Task(2)] and known[2] == Task(2)
        worker.join(60)
    return True
"""

LOADERS = """
import torch
from torch.utils.data import DataLoader, Dataset
class Numbers(Dataset):
    def __len__(self): return 4
    def __getitem__(self, i): return Stat(float(i*seen))
seen = 1
def collate(batch): return sum(x.loss for x in batch), batch
def begin(worker):
    global seen
    seen = 2
def load(context):
    loader = DataLoader(Numbers(), 2, num_workers=1, multiprocessing_context=context, collate_fn=collate, worker_init_fn=begin)
    found = list(loader)
    assert [x for x, _ in found] == [2., 10.] and type(found[0][1][1]) is Stat, found
    return True
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel(name="lepton", env={"LEPTON_BENCH_SIMULATED": "2"})
    try:
        kernel.run(DEFINITIONS + LOADERS + "\nalloc = lb.allocate(1)\ndef on_rank(f, *args): return alloc.options(output=False).launch(f, *args).result(120)")
        yield kernel
        kernel.run("alloc.release()")
    finally: kernel.close()


@pytest.mark.parametrize("where", ["{}", "on_rank(lambda: {})"], ids=["cell", "launched"])
def test_new_interpreters_have_what_the_notebook_defines(kernel, where):
    for call in ("pools('spawn')", "pools('forkserver')", "queues()", "load('spawn')"): kernel.run("assert " + where.format(call), timeout=180)


def test_forks_are_left_alone(kernel):
    "What cannot travel by value, such as a function that mentions a lock, does travel by its name."
    kernel.run("""
with multiprocessing.get_context("fork").Pool(1) as pool: assert pool.map(guarded, [Stat(1)]) == [Stat(1)] and load("fork")
with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool: assert pool.submit(work, Task(1)).result(60) == Stat(10)
def forks():
    global lock
    lock = threading.Lock()
    with multiprocessing.get_context("fork").Pool(1) as pool: return pool.map(guarded, [Stat(1)]) == [Stat(1)] and load("fork")
del lock
assert on_rank(forks)""", timeout=120)


def test_a_cell_on_ranks_has_pools_too(kernel):
    kernel.run("""%%ranks
import concurrent.futures, multiprocessing
FACTOR = 3
class Item:
    def __init__(self, x): self.x = x
def triple(item): return Item(item.x*FACTOR)
with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool: found = pool.submit(triple, Item(2)).result(60)
assert type(found) is Item and found.x == 6
""", timeout=120)


def test_a_function_whose_cell_is_run_again_reaches_a_pool_that_lives(kernel):
    kernel.run("""
pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
def again(): return 1
first = pool.submit(again).result(60)""")
    kernel.run("def again(): return 2\nassert (first, pool.submit(again).result(60)) == (1, 2); pool.shutdown()")


SCRIPT = """
import concurrent.futures, multiprocessing, sys
from dataclasses import dataclass
@dataclass
class Stat:
    loss: float
def work(stat): return Stat(stat.loss + len(sys.argv)), work.__module__
print("top level of", __name__)
if __name__ == "__main__":
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool: print(pool.submit(work, Stat(1)).result(60))
"""


def test_a_script_is_as_under_python(tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")
    path = tmp_path/"train.py"
    path.write_text(SCRIPT)
    plain = subprocess.run([sys.executable, str(path), "x"], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}).stdout
    assert "top level of __mp_main__" in plain
    monkeypatch.chdir(tmp_path)
    with lb.allocate(1) as alloc:
        for target in (Path(path), "train"):
            run = alloc.options(output=False).launch(str(target), args=["x"]).wait(60)
            assert run.status == "done" and sorted(run.logs(rank=0).splitlines()) == sorted(plain.splitlines()), run.logs()
