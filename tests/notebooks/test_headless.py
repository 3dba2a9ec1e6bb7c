"""Headless notebooks: papermill's engine, what such a run leaves on disk, and how it fails."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.headless_notebooks import pictures, read_text, write_notebook
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.processes.identity import ProcessId, descendants
from lepton_bench.api.runs import get_run
from lepton_bench.store.runs import list_runs

PAPERMILL = str(Path(sys.executable).parent/"papermill")


pytestmark = pytest.mark.simulated(2)


def papermill(notebook: Path, *words: object, timeout: float = 90) -> tuple[subprocess.CompletedProcess, Path]:
    "Run the command as a person would: what it said, and the executed notebook."
    output = notebook.with_name(f"{notebook.stem}-out.ipynb")
    command = [PAPERMILL, "--engine", "lepton", "--no-progress-bar", str(notebook), str(output), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, cwd=notebook.parent), output


def start_papermill(notebook: Path) -> subprocess.Popen:
    command = [PAPERMILL, "--engine", "lepton", "--no-progress-bar", notebook.name, "out.ipynb"]
    return subprocess.Popen(command, cwd=notebook.parent, stderr=subprocess.DEVNULL)


def newest(name: str): return next(r for r in list_runs() if r.name == name and r.kind == "notebook")


def test_papermills_command(tmp_path):
    notebook = write_notebook(tmp_path/"whole.ipynb", "lr = .1\nname = 'cnn'", "import lepton_bench as lb\nprint('learning with', lr, name)",
                              "for i in range(200): lb.log(step=i, loss=1/(i + 1))\nlb.record('accuracy', .75)",
                              "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()")
    done, output = papermill(notebook, "-p", "lr", "0.5")
    assert done.returncode == 0, done.stderr
    run = get_run(newest("whole").id)
    record = run.record
    assert (record.status, record.parameters, record.steps) == ("done", {"lr": .5}, 5)
    assert record.extra["values"] == {"loss": 1/200, "accuracy": .75} and record.extra["output"] == str(output)
    assert "learning with 0.5 cnn" in run.logs()
    table = run.metrics()
    assert table.num_rows == 200 and table["step"].to_pylist() == list(range(200)), "what its kernel logs is the run's"
    assert pictures(output) == 1 and "learning with 0.5 cnn" in read_text(output)
    assert not list((run.directory/"rings").iterdir()) and not (run.directory/"kernel.json").exists()


def test_an_allocation_inside(tmp_path):
    "Its run is a child of the notebook's, plots are pictures, and what it did not give back is free when it ends."
    notebook = write_notebook(tmp_path/"inside.ipynb", """import lepton_bench as lb
def train(n):
    for i in range(n): lb.log(step=i, loss=1/(i + 1))
    lb.record("from_rank", n)
    return n
alloc = lb.allocate(2, name="inside")
run = alloc.launch(train, 50)
print("result", run.result())""", "run.plot()", parameters=False)
    done, output = papermill(notebook, "--kernel", "lepton")
    assert done.returncode == 0, done.stderr
    record = newest("inside")
    child = next(r for r in list_runs() if r.name == "train")
    assert child.parent == record.id and record.extra["values"] == {"from_rank": 50}
    assert pictures(output) == 1 and "result 50" in read_text(output)
    until(lambda: "inside" not in {a["name"] for a in lb.allocations()}, what="the allocation's end")


@pytest.mark.parametrize("code, kind, words", [
    ("raise ValueError('bad batch')", "ValueError", "bad batch"),
    ("import os; os.kill(os.getpid(), 9)", "DeadKernelError", "killed by signal 9"),
    ("exit()", "KernelExit", "ended its own kernel"),
])
def test_a_failing_cell(tmp_path, code, kind, words):
    notebook = write_notebook(tmp_path/"failing.ipynb", "print('before')", code, "print('never')", parameters=False)
    done, output = papermill(notebook)
    record, text = newest("failing"), read_text(output)
    assert done.returncode != 0 and words in done.stderr
    assert record.status == "failed" and record.error["type"] == kind and words in record.reason
    assert text.startswith("<span") and "An Exception was encountered" in text.splitlines()[0], "the error is on top"
    assert words in text and "before" in text and text.count("never") == 1


def test_sys_exit_ends_well(tmp_path):
    done, _ = papermill(write_notebook(tmp_path/"early.ipynb", "import sys; sys.exit(0)", "raise ValueError", parameters=False))
    assert done.returncode == 0 and newest("early").status == "done"


def test_limits_of_time(tmp_path):
    notebook = write_notebook(tmp_path/"long.ipynb", "print('begun', flush=True)", "import time; time.sleep(1000)", parameters=False)
    start = time.monotonic()
    done, output = papermill(notebook, "--execution-timeout", 1)
    assert done.returncode != 0 and time.monotonic() - start < 30
    assert "longer than 1 s" in newest("long").reason and "TimeoutError" in read_text(output)


def test_a_papermill_that_is_killed_takes_its_kernel_along(tmp_path):
    notebook = write_notebook(tmp_path/"killed.ipynb", "import os, time",
                              "open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'kernel'); time.sleep(1000)", parameters=False)
    process = start_papermill(notebook)
    until((tmp_path/"kernel").exists, "the kernel", 60)
    kernel = ProcessId.of(int((tmp_path/"kernel").read_text()))
    process.kill(); process.wait()
    until(lambda: not kernel.alive(), "the kernel's end", 5)
    assert newest("killed").status == "lost"
    until(lambda: all(d.holder is None for d in lb.devices()), "a free device", 5)


def test_stopping_one(tmp_path):
    notebook = write_notebook(tmp_path/"stopped.ipynb", "open('begun', 'w'); import time; time.sleep(1000)", parameters=False)
    process = start_papermill(notebook)
    until((tmp_path/"begun").exists, "the first cell", 60)
    assert get_run(newest("stopped").id).stop().status == "stopped"
    assert process.wait(20) != 0
    until(lambda: not descendants(process.pid), timeout=5)


def test_what_cannot_be_run(tmp_path):
    done, _ = papermill(write_notebook(tmp_path/"foreign.ipynb", "1", parameters=False, kernel="julia-1.9"))
    assert done.returncode != 0 and "there is no kernel 'julia-1.9' here" in done.stderr and "python3" in done.stderr
    assert newest("foreign").status == "failed"
    done, _ = papermill(write_notebook(tmp_path/"greedy.ipynb", "1", parameters=False), "--kernel", "lepton-9")
    assert done.returncode != 0 and "9 devices" in newest("greedy").reason


# --- on an allocation ------------------------------------------------------------------------------

def test_a_notebook_is_a_launch_target(tmp_path):
    notebook = write_notebook(tmp_path/"launched.ipynb", "lr = .1", """import lepton_bench as lb
alloc = lb.allocate(2)
print("ranks", alloc.launch(lambda: 7).results())
lb.record("lr", lr); lb.record("name", "n")""")
    with lb.allocate(2, name="outer") as alloc:
        with pytest.raises(BenchError, match="near: lr"): alloc.launch(notebook, lrr=.5)
        run = alloc.launch(notebook, lr=.5)
        assert run.result(60) == {"lr": .5, "name": "n"}
        record = run.record
        assert (record.kind, record.parameters, record.status, record.extra["values"]["lr"]) == ("notebook", {"lr": .5}, "done", .5)
        assert "ranks [7, 7]" in read_text(Path(record.extra["output"])) and "ranks [7, 7]" in run.logs()
        assert next(r for r in list_runs() if r.name == "<lambda>").parent == run.id
        failing = alloc.launch(write_notebook(tmp_path/"bad.ipynb", "raise KeyError('no such column')", parameters=False)).wait(60)
        assert failing.status == "failed" and "no such column" in failing.record.reason
        slow = alloc.launch(write_notebook(tmp_path/"slow.ipynb", "open('begun', 'w'); import time; time.sleep(1000)", parameters=False))
        until((tmp_path/"begun").exists, "the first cell", 60)
        assert slow.stop().status == "stopped"
        assert alloc.launch(lambda: 3).results(30) == [3, 3], "the allocation goes on"
    assert all(d.holder is None for d in lb.devices())


def test_record_outside_a_run_says_so_once(capfd):
    lb.record("x", 1); lb.record("y", 2)
    assert capfd.readouterr().err.count("does nothing") <= 1
    with pytest.raises(BenchError, match="cannot be recorded"): lb.record("x", [1])


def test_the_run_of_a_killed_kernel_is_bound_to_it(tmp_path):
    "A run in progress goes on without an interactive kernel, but not without a headless notebook: nobody would come back for it."
    notebook = write_notebook(tmp_path/"bound.ipynb", """import lepton_bench as lb, os, signal, time
def train():
    open("begun", "w")
    time.sleep(1000)
lb.allocate(1, name="bound").launch(train)
while not os.path.exists("begun"): time.sleep(.01)
os.kill(os.getpid(), signal.SIGKILL)""", parameters=False)
    done, _ = papermill(notebook, "--kernel", "lepton")
    assert done.returncode != 0
    until(lambda: "bound" not in {a["name"] for a in lb.allocations()}, "the end of its allocation", 15)
    until(lambda: all(d.holder is None for d in lb.devices()), "free devices", 5)
    assert os.path.exists(tmp_path/"begun") and signal.SIGKILL == 9
