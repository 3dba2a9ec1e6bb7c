"""Processes that serve many go on when a step for one fails: supervisor, forkserver, driver of a sweep. Faults are made for real."""
import os
import signal
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from support.headless_notebooks import write_notebook
from support.isolation import patience
from support.small_disk import fill, small_disk
from support.waiting import until

import lepton_bench as lb
from lepton_bench.api.runs import get_run
from lepton_bench.errors import BenchError, RunError
from lepton_bench.kernels.forked import ForkedProcess
from lepton_bench.processes.forkserver import exit_status, fork, forkserver_path, forkserver_runs
from lepton_bench.processes.identity import ProcessId, descendants
from lepton_bench.store.runs import log_path, runs_directory
from lepton_bench.supervisor.allocations import allocations_directory


pytestmark = pytest.mark.simulated(2)


@pytest.fixture(scope="module")
def alloc():
    os.environ["LEPTON_BENCH_SIMULATED"] = "2"
    with lb.allocate(2, name="guarded") as found: yield found
    del os.environ["LEPTON_BENCH_SIMULATED"]


def nonsense(message: dict):
    "A function that sends its agent, and so the supervisor, what makes no sense."
    def train():

        from lepton_bench.ranks.run_context import current_run
        current_run().stream.send(message)
        time.sleep(600)
    return train


@pytest.mark.parametrize("message", [{"op": "nonsense"}, {"op": "checkpoint", "step": "x", "rank": None}, {"op": "ended"}])
def test_a_message_that_makes_no_sense_fails_its_run_and_nothing_else(alloc, message):
    run = alloc.launch(nonsense(message))
    with pytest.raises(RunError, match="from the ranks failed in the supervisor"): run.result(timeout=patience(60))
    assert alloc.alive and alloc.launch(lambda: 7).result(timeout=patience(60)) == 7


def test_an_allocation_whose_file_cannot_be_written_goes_on(alloc):
    path = allocations_directory()/"guarded.json"
    aside = path.with_suffix(".kept")
    path.rename(aside)
    path.mkdir()
    try: assert alloc.launch(lambda: 8).result(timeout=patience(60)) == 8
    finally:
        path.rmdir()
        if not path.exists(): aside.rename(path)
    assert alloc.alive


def test_a_child_that_cannot_begin_ends_and_is_no_second_forkserver(alloc):
    assert forkserver_runs()
    process = fork("lepton_bench.resources.devices:gib", {}, [], env={**os.environ, "A": "x\0y"}, cwd="/")  # no environment can have that
    until(lambda: not process.alive(), "it ends")
    assert exit_status(process.pid, forkserver_path()) == 1 and forkserver_runs()


def test_the_status_of_a_killed_process_waits_for_a_busy_forkserver(alloc, tmp_path):
    "A forkserver that imports something, or is stopped, answers late; a killed process must not be called one that exited with code 0."
    server = forkserver_runs()
    (tmp_path/"sleeper.py").write_text("import time\ndef sleep(arguments, fds): time.sleep(600)\n")
    process = ForkedProcess(fork("sleeper:sleep", {}, [], cwd="/", sys_path=[str(tmp_path), *sys.path]), forkserver_path())
    owner = ProcessId.of(int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1]))
    os.kill(owner.pid, signal.SIGSTOP)
    try:
        process.kill()
        found = []
        asking = threading.Thread(target=lambda: found.append(process.wait()))
        asking.start()
        asking.join(3)
    finally: os.kill(owner.pid, signal.SIGCONT)
    asking.join(patience(30))
    assert server and found == [-signal.SIGKILL] and process.known


def test_a_runner_that_cannot_begin_fails_its_set_alone(tmp_path):
    "It is a fork of the driver, and must not go on as a second one, which would stop the other runners."
    notebook = write_notebook(tmp_path/"n.ipynb", "x = 0", "import os, time\nif not os.path.exists('go'): raise ValueError('not yet')\nif x: time.sleep(3)")
    sweep = lb.sweep(notebook, {"x": [0, 1]}, parallel=2, devices_each=0).wait(patience(120))
    assert [s.status for s in sweep.sets] == ["failed", "failed"]
    log = log_path(runs_directory()/sweep.sets[0].run, 0)
    log.unlink(missing_ok=True)
    log.mkdir()
    (tmp_path/"go").touch()
    sweep.resume().wait(patience(120))
    assert [s.status for s in sweep.sets] == ["failed", "done"], sweep.table()
    assert "1 of 2" in sweep.record.reason or "failed" in sweep.record.reason


def raising_pruner():
    class Pruner(optuna.pruners.BasePruner):
        def prune(self, study, trial): raise RuntimeError("the pruner is broken")
    return Pruner()


def study_in(path: Path, **more):
    return optuna.create_study(storage=f"sqlite:///{path}", study_name="s", **more)


def test_a_pruner_that_raises_does_not_end_the_driver(tmp_path):
    notebook = write_notebook(tmp_path/"n.ipynb", "x = 0.", "import lepton_bench as lb\nlb.record('y', x)")
    sweep = lb.sweep(notebook, optuna.create_study(pruner=raising_pruner()), search={"x": optuna.distributions.FloatDistribution(0, 1)}, trials=2, value="y",
                     devices_each=0).wait(patience(120))
    assert sweep.record.finished and sweep.status in ("done", "failed") and (sweep.status == "done" or "pruner" in sweep.record.reason)


def test_a_storage_that_is_taken_away_ends_the_sweep_with_the_reason(tmp_path):
    "Deleted while a set runs; what the set has recorded is kept."
    storage = tmp_path/"study.db"
    notebook = write_notebook(tmp_path/"n.ipynb", "x = 0.", f"""import lepton_bench as lb, os
lb.record('y', x)
os.path.exists({str(storage)!r}) and os.unlink({str(storage)!r})""")
    sweep = lb.sweep(notebook, study_in(storage), search={"x": optuna.distributions.FloatDistribution(0, 1)}, trials=3, value="y", devices_each=0)
    sweep.wait(patience(120))
    assert sweep.status == "failed" and any(word in sweep.record.reason for word in ("storage", "study", "Error", "table")), sweep.record.reason
    assert [s.values.get("y") is not None for s in sweep.sets][:1] == [True]


def test_a_locked_storage_is_waited_for_or_named(tmp_path):
    import sqlite3
    storage = tmp_path/"study.db"
    study = study_in(storage)
    notebook = write_notebook(tmp_path/"n.ipynb", "x = 0.", "import lepton_bench as lb\nlb.record('y', x)")
    lock = sqlite3.connect(storage, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        try: sweep = lb.sweep(notebook, study, search={"x": optuna.distributions.FloatDistribution(0, 1)}, trials=1, value="y", devices_each=0)
        except BenchError as e:
            assert "locked" in str(e)
            return
        sweep.wait(patience(150))
        assert sweep.status == "failed" and "locked" in sweep.record.reason
    finally: lock.close()
    assert get_run(sweep.id).resume


def test_strange_file_names(tmp_path):
    "A name that is no UTF-8 is a path as any other, in a sweep and in a launch."
    name = os.fsdecode(b"caf\xe9.ipynb")
    notebook = write_notebook(tmp_path/name, "x = 0", "import lepton_bench as lb\nlb.record('y', x)")
    sweep = lb.sweep(notebook, {"x": [1]}, devices_each=0).wait(patience(120))
    assert sweep.status == "done" and sweep.sets[0].values == {"y": 1} and sweep.table()
    assert lb.runs(1)[0].record.name


def test_exceptions_whose_text_is_no_utf8(alloc, tmp_path):
    "In a function, a script, a notebook on ranks and a set of a sweep: the run fails with a reason that can be read, the next one works."
    def train(): raise ValueError("caf\udce9")
    (tmp_path/"train.py").write_text("raise ValueError('caf\\udce9')")
    notebook = write_notebook(tmp_path/"n.ipynb", "x = 0", "raise ValueError('caf\\udce9')")
    for target in (train, str(tmp_path/"train.py"), str(notebook)):
        run = alloc.launch(target).wait(patience(60))
        assert run.status == "failed" and "caf" in run.record.reason and "caf" in run.logs() + run.record.reason, run
        with pytest.raises(RunError, match="caf"): run.result()
    sweep = lb.sweep(notebook, {"x": [1]}, devices_each=0).wait(patience(60))
    assert sweep.status == "failed" and "caf" in sweep.sets[0].reason and sweep.table()
    assert alloc.launch(lambda: 9).result(timeout=patience(60)) == 9


def test_environment_values_that_are_no_utf8(alloc, tmp_path, monkeypatch):
    "A variable with a byte that is no UTF-8 reaches ranks and sets as it is."
    monkeypatch.setenv("ODD", os.fsdecode(b"caf\xe9"))
    assert alloc.launch(lambda: os.environb[b"ODD"]).result(timeout=patience(60)) == b"caf\xe9"
    notebook = write_notebook(tmp_path/"n.ipynb", "x = 0", "import os, lepton_bench as lb\nlb.record('odd', os.environb[b'ODD'].hex())")
    sweep = lb.sweep(notebook, {"x": [1]}, devices_each=0).wait(patience(60))
    assert sweep.status == "done" and sweep.sets[0].values == {"odd": b"caf\xe9".hex()}, sweep.table()


def test_a_full_disk_during_a_sweep(tmp_path, monkeypatch):
    "Where the runs lie there is no room for a while: the driver lives, and the sweep goes on when there is room, or ends with the reason and can be resumed."
    with small_disk(tmp_path/"disk", 8 << 20) as disk:
        monkeypatch.setenv("LEPTON_BENCH_HOME", str(disk/"home"))
        notebook = write_notebook(tmp_path/"n.ipynb", "x = 0", f"""import os, time, lepton_bench as lb
begun, go = {str(tmp_path/"begun")!r}, {str(tmp_path/"go")!r}
if x == 0 and not os.path.exists(go):
    with open(begun + ".new", "w") as f: f.write(str(os.getpid()))
    os.rename(begun + ".new", begun)
    while not os.path.exists(go): time.sleep(.02)
lb.record('y', x)""")
        sweep = lb.sweep(notebook, {"x": [0, 1, 2]}, parallel=1, devices_each=0)
        until((tmp_path/"begun").exists, "the first set", 60)
        kernel, driver = ProcessId.of(int((tmp_path/"begun").read_text())), ProcessId.from_dict(sweep.record.supervisor)
        ballast = fill(disk)
        (tmp_path/"go").touch()
        until(lambda: not kernel.alive() and not [p for p in descendants(driver.pid) if p != driver.pid], "the first set's end, and that none begins", 60)
        assert driver.alive()
        ballast.unlink()
        sweep.wait(patience(150))
        assert sweep.record.finished and sweep.status in ("done", "failed"), sweep
        if sweep.status == "failed":
            assert "space" in sweep.record.reason + "".join(s.reason for s in sweep.sets)
            assert sweep.resume().wait(patience(150)).status == "done"
        assert [s.status for s in sweep.sets] == ["done"]*3
