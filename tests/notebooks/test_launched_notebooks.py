"""A notebook on an allocation: executed by a forked process, which ends with its rank, and whose end the rank notices."""
import os
import signal
from pathlib import Path

import pytest
from support.headless_notebooks import read_text, write_notebook
from support.waiting import until

import lepton_bench as lb
from lepton_bench.processes.identity import ProcessId
from lepton_bench.errors import RunStopped
from lepton_bench.processes.forkserver import forkservers, shutdown_forkservers

WAITS = """import os, time
open('pids', 'w').write(f"{os.getpid()} {os.environ['JPY_PARENT_PID']}")
print('begun', flush=True)
while not os.path.exists('go'): time.sleep(.02)"""


@pytest.fixture(scope="module")
def alloc():
    os.environ["LEPTON_BENCH_SIMULATED"] = "2"
    with lb.allocate(2, name="notebooks") as found: yield found
    until(lambda: all(d.holder is None for d in lb.devices()), "free devices", 10)
    del os.environ["LEPTON_BENCH_SIMULATED"]


@pytest.fixture
def begun(alloc, tmp_path):
    "A launched notebook that waits for a file, the process of its kernel, and the one that executes it."
    run = alloc.launch(write_notebook(tmp_path/"waits.ipynb", "x = 0", WAITS), x=1)
    until(lambda: (tmp_path/"pids").exists() and len((tmp_path/"pids").read_text().split()) == 2, "the first cell", 60)
    return run, *(ProcessId.of(int(word)) for word in (tmp_path/"pids").read_text().split())


def parent(pid: int) -> int: return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_no_rank_executes_it(alloc, begun, tmp_path):
    run, kernel, executor = begun
    (tmp_path/"go").touch()
    from_kernels = parent(executor.pid)
    assert run.wait(60).status == "done" and "begun" in run.logs() and run.record.extra["progress"]["0"] == [3, 3]
    assert from_kernels not in alloc.launch(os.getppid).results(30), "a rank would first have to import papermill and all that"
    until(lambda: not executor.alive() and not kernel.alive(), "their end", 10)


def test_a_killed_executor_fails_the_run_at_once(alloc, begun):
    run, kernel, executor = begun
    os.kill(executor.pid, signal.SIGKILL)
    assert run.wait(30).status == "failed" and "was killed" in run.record.reason
    until(lambda: not kernel.alive(), "the kernel's end", 10)
    assert alloc.launch(lambda: 3).results(30) == [3, 3], "the allocation goes on"


def test_a_stop_reaches_the_kernel(alloc, begun):
    run, kernel, executor = begun
    assert run.stop().status == "stopped"
    with pytest.raises(RunStopped): run.result()
    until(lambda: not executor.alive() and not kernel.alive(), "their end", 10)


def test_fresh_ranks_leave_no_notebook_behind(alloc, begun):
    run, kernel, executor = begun
    run.stop(kill=True)
    alloc.restart()
    until(lambda: not executor.alive() and not kernel.alive(), "their end", 10)
    assert alloc.launch(lambda: 3).results(30) == [3, 3]


def test_a_rank_starts_no_forkserver_that_would_end_with_it(alloc, tmp_path):
    "As on a cluster's node, where there is none: each launch would wait for another one."
    shutdown_forkservers()
    run = alloc.launch(write_notebook(tmp_path/"n.ipynb", "x = 0", "import lepton_bench as lb; lb.record('x', x)"), x=3)
    assert run.result(90) == {"x": 3} and forkservers() == []


def test_the_same_results_without_a_forkserver(tmp_path, new_place, monkeypatch):
    for name, value in {**new_place.variables(), "LEPTON_BENCH_FORKSERVER": "0", "LEPTON_BENCH_SIMULATED": "1"}.items(): monkeypatch.setenv(name, value)
    notebook = write_notebook(tmp_path/"n.ipynb", "x = 0", "import lepton_bench as lb; print('x is', x); lb.record('x', x)")
    with lb.allocate(1) as alloc:
        run = alloc.launch(notebook, x=5)
        assert run.result(90) == {"x": 5} and "x is 5" in read_text(Path(run.record.extra["output"]))
