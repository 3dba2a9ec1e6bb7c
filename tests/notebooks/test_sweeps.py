"""Sweeps: grids, going on, faults, limits, the shell, Optuna."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.headless_notebooks import read_text, write_notebook
from support.waiting import until
from house.test_cli import BENCH, bench

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.headless.driver import take_lock
from lepton_bench.headless.plan import expand
from lepton_bench.processes.identity import ProcessId, signal_process
from lepton_bench.api.runs import get_run
from lepton_bench.client.run import RunTimeout
from lepton_bench.store.runs import GOING, list_runs, read_run, runs_directory

CELLS = ("lr = .1\nwidth = 32", "import lepton_bench as lb", "print('lr', lr)\nlb.record('accuracy', 1 - lr*width/100)")


@pytest.fixture(autouse=True)
def simulated(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "3")
    yield
    for record in list_runs(100):  # a test that has failed must not keep the others' devices
        if record.kind == "sweep" and record.status in GOING: signal_process(ProcessId.from_dict(record.supervisor), signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def nothing_left():
    yield
    until(lambda: all(d.holder is None for d in lb.devices()), "free devices after all sweeps", 10)


def runner(sweep, index: int) -> ProcessId: return ProcessId.from_dict(read_run(runs_directory()/sweep.sets[index].run).supervisor)
def status(sweep) -> list[str]: return [s.status for s in sweep.sets]


def test_a_grid_and_going_on(tmp_path):
    notebook = write_notebook(tmp_path/"train.ipynb", *CELLS)
    sweep = lb.sweep(notebook, {"lr": [.1, .2], "width": [8, 16]})
    assert sweep.wait(90).status == "done" and status(sweep) == ["done"]*4
    assert [(s.parameters["lr"], s.parameters["width"], round(s.values["accuracy"], 3)) for s in sweep.sets] == [
        (.1, 8, .992), (.1, 16, .984), (.2, 8, .984), (.2, 16, .968)]
    assert sweep.best("accuracy").index == 0 and "accuracy" in repr(sweep.table()) and len(sweep.plot().axes) == 2
    for s in sweep.sets:
        record = read_run(runs_directory()/s.run)
        assert record.parent == sweep.id and len(record.devices) == 1 and record.extra["set"] == s.index
        assert f"lr {s.parameters['lr']}" in read_text(tmp_path/"train-sweep"/s.output)
    assert "accuracy 0.992" in sweep.logs() and type(get_run(sweep.id)) is type(sweep)
    before = {s.run: (runs_directory()/s.run/"run.json").stat().st_mtime_ns for s in sweep.sets}
    again = lb.sweep(notebook, {"lr": [.1, .2], "width": [8, 16, 24]}).wait(90)
    assert again.id == sweep.id and status(again) == ["done"]*6
    assert all((runs_directory()/run/"run.json").stat().st_mtime_ns == changed for run, changed in before.items()), "nothing was done again"


def test_failures_do_not_stop_the_others_and_are_tried_again(tmp_path):
    notebook = write_notebook(tmp_path/"flaky.ipynb", "x = 0", """import lepton_bench as lb
from pathlib import Path
tries = Path(f"tries-{x}"); tries.touch(); tries.write_text(tries.read_text() + "*")
if x == 1: raise ValueError("always")
if x == 2 and len(tries.read_text()) < 3: raise RuntimeError("not yet")
lb.record("tries", len(tries.read_text()))""")
    sweep = lb.sweep(notebook, {"x": [0, 1, 2, 3]}, retries=2).wait(120)
    assert status(sweep) == ["done", "failed", "done", "done"] and sweep.status == "failed"
    assert [s.attempts for s in sweep.sets] == [1, 3, 3, 1] and sweep.sets[2].values == {"tries": 3}
    assert "1 of 4 sets failed: x=1: cell In[3] raised ValueError: always" in sweep.record.reason
    kept = read_text(tmp_path/"flaky-sweep"/sweep.sets[1].output)
    assert kept.startswith("<span") and "ValueError always" in kept
    child = read_run(runs_directory()/sweep.sets[2].run)
    assert child.attempt == 2 and [r["reason"] for r in child.restarts] == ["cell In[3] raised RuntimeError: not yet"]*2
    more = lb.sweep(notebook, {"x": [0, 1, 2, 3]}).wait(90)
    assert len((tmp_path/"tries-0").read_text()) == 1 and len((tmp_path/"tries-1").read_text()) == 4 and status(more)[1] == "failed"


def test_a_changed_notebook_is_asked_about(tmp_path):
    notebook = write_notebook(tmp_path/"changing.ipynb", *CELLS)
    lb.sweep(notebook, [{"lr": .1}]).wait(60)
    write_notebook(notebook, *CELLS[:2], "lb.record('accuracy', 0)")
    with pytest.raises(BenchError, match='changed="keep"'): lb.sweep(notebook, [{"lr": .1}])
    assert lb.sweep(notebook, [{"lr": .1}], changed="keep").wait(60).sets[0].values == {"accuracy": 1 - .1*32/100}
    assert lb.sweep(notebook, [{"lr": .1}], changed="again").wait(60).sets[0].values == {"accuracy": 0}


def test_no_more_at_once_than_devices_each_on_its_own(tmp_path):
    notebook = write_notebook(tmp_path/"busy.ipynb", "x = 0", """import lepton_bench as lb, os, time
from pathlib import Path
mine = os.environ["LEPTON_BENCH_HELD"].partition("=")[0]
Path(f"{mine}-{x}").touch()
end = time.monotonic() + .6
while time.monotonic() < end: pass
lb.record("device", mine)""")
    sweep = lb.sweep(notebook, {"x": list(range(6))})
    most = 0
    while not sweep.record.finished:
        most = max(most, sum(s == "running" for s in status(sweep)))
        held = [d.holder for d in lb.devices() if d.holder]
        assert len({(h.label, h.process.pid) for h in held}) == len(held)
        time.sleep(.02)
    assert status(sweep) == ["done"]*6 and 1 <= most <= 3
    assert len({s.values["device"] for s in sweep.sets}) > 1
    spans = sorted((s.values["device"], read_run(runs_directory()/s.run).started, s.ended) for s in sweep.sets)
    assert all(b[1] >= a[2] - .05 for a, b in zip(spans, spans[1:]) if a[0] == b[0]), "two sets were on one device"


def test_a_running_sweep_is_joined(tmp_path):
    notebook = write_notebook(tmp_path/"slow.ipynb", "x = 0", "import time; open(f'begun-{x}', 'w'); time.sleep(1000)")
    sweep = lb.sweep(notebook, {"x": [1, 2, 3, 4]}, parallel=2)
    until((tmp_path/"begun-1").exists, timeout=60)
    assert lb.sweep(notebook, {"x": [1, 2]}).id == sweep.id
    with pytest.raises(BenchError, match="goes on with other sets"): lb.sweep(notebook, {"x": [9]})
    assert sweep.stop().status == "stopped" and set(status(sweep)) == {"stopped", "waiting"}
    assert sweep.record.reason == "stopped after 0 of 4 sets"


def test_kill_of_kernel_runner_and_driver(tmp_path):
    "A killed kernel or runner fails its set, a killed driver everything that ran; the next start does only what is missing."
    notebook = write_notebook(tmp_path/"mortal.ipynb", "x = 0", """import lepton_bench as lb, os, time
from pathlib import Path
Path(f"pid-{x}.new").write_text(str(os.getpid())); os.rename(f"pid-{x}.new", f"pid-{x}")
while x and not Path("go").exists(): time.sleep(.01)
lb.record("x", x)""")
    sweep = lb.sweep(notebook, {"x": [0, 1, 2, 3]}, parallel=3, retries=1)
    until((tmp_path/"pid-2").exists, timeout=60)
    kernels = {x: ProcessId.of(int((tmp_path/f"pid-{x}").read_text())) for x in (1, 2) if until((tmp_path/f"pid-{x}").exists, timeout=60)}
    os.kill(kernels[1].pid, signal.SIGKILL)
    restarts = until(lambda: read_run(runs_directory()/sweep.sets[1].run).restarts, "the set of the killed kernel is tried again", 30)
    assert "killed by signal 9" in restarts[0]["reason"]
    os.kill(runner(sweep, 2).pid, signal.SIGKILL)
    until(lambda: not kernels[2].alive(), "the kernel of the killed runner ends", 5)
    until(lambda: (tmp_path/"pid-3").exists() and sum(s.status == "running" for s in sweep.sets) == 3, "three sets run again", 60)
    done = sweep.sets[0]
    assert done.status == "done"
    driver, runners = ProcessId.from_dict(sweep.record.supervisor), [runner(sweep, s.index) for s in sweep.sets if s.status == "running"]
    running = [ProcessId.of(int((tmp_path/f"pid-{x}").read_text())) for x in (1, 2, 3)]
    os.kill(driver.pid, signal.SIGKILL)
    until(lambda: not any(p.alive() for p in (*runners, *running)), "everything of the killed driver ends", 5)
    assert sweep.status == "lost"
    until(lambda: all(d.holder is None for d in lb.devices()), "free devices", 5)
    (tmp_path/"go").touch()
    again = lb.sweep(notebook, {"x": [0, 1, 2, 3]}).wait(90)
    assert again.id == sweep.id and status(again) == ["done"]*4 and [s.values["x"] for s in again.sets] == [0, 1, 2, 3]
    assert (again.sets[0].ended, again.sets[0].run) == (done.ended, done.run), "nothing done was done again"
    for s in again.sets:
        assert not list(Path(os.environ["LEPTON_BENCH_SOCKETS"]).glob(f"k-{s.run}-*")) and not (runs_directory()/s.run/"kernel.json").exists()


def test_ctrl_c_on_the_shell(tmp_path):
    write_notebook(tmp_path/"slow.ipynb", "x = 0", "import time\nif x: open(f'begun-{x}', 'w'); time.sleep(1000)")
    process = subprocess.Popen([BENCH, "sweep", "slow.ipynb", "-p", "x=0,1,2"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until((tmp_path/"begun-1").exists, timeout=60)
    until(lambda: any(r.kind == "notebook" and r.cwd == str(tmp_path) and r.status == "done" for r in list_runs(10)), "the first set's end", 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "stopping" in err
    assert "x=0: done" in out and ("stopped" in out or "waiting" in out)
    assert bench("sweep", "slow.ipynb", "-p", "x=0", "--json", cwd=tmp_path).returncode == 0, "what was done counts"


def test_the_shell(tmp_path):
    write_notebook(tmp_path/"train.ipynb", *CELLS)
    done = bench("sweep", "train.ipynb", "-p", "lr=0.1,0.01", "-p", "width=32", "-o", "out", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(r["parameters"], r["status"]) for r in rows] == [({"lr": .1, "width": 32}, "done"), ({"lr": .01, "width": 32}, "done")]
    assert sorted(p.name for p in (tmp_path/"out").glob("*.ipynb")) == sorted(r["output"] for r in rows)


@pytest.mark.parametrize("words, said", [
    (["train.ipynb", "-p", "lrr=1"], "there is no parameter 'lrr' (near: lr). It takes: lr = .1, width = 32"),
    (["train.ipynb", "-p", "lr=high"], "lr = 'high' does not fit: it is a number there"),
    (["missing.ipynb", "-p", "lr=1"], "there is no notebook 'missing.ipynb'"),
    (["torn.ipynb", "-p", "lr=1"], "is not a valid notebook"),
    (["bare.ipynb", "-p", "lr=1"], "has no parameters cell, so lr cannot be set"),
    (["train.ipynb", "-p", "lr"], "-p lr: a parameter is given as name=value"),
    (["train.ipynb", "-p", "lr=1", "--devices-each", "9"], "9 devices"),
    (["train.ipynb", "-p", "lr=1", "-o", "file/below"], "the executed notebooks cannot be written to"),
])
def test_bad_input_is_refused_before_anything_starts(tmp_path, words, said):
    write_notebook(tmp_path/"train.ipynb", *CELLS)
    write_notebook(tmp_path/"bare.ipynb", "lr = 1", parameters=False)
    (tmp_path/"torn.ipynb").write_text("{")
    (tmp_path/"file").touch()
    before = set(runs_directory().glob("*/run.json"))
    done = bench("sweep", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert set(runs_directory().glob("*/run.json")) == before


def test_a_missing_kernel_and_limits_of_time_fail_the_set(tmp_path):
    notebook = write_notebook(tmp_path/"long.ipynb", "x = 0", "import time\nif x: time.sleep(1000)")
    sweep = lb.sweep(notebook, {"x": [0, 1]}, timeout=3).wait(60)
    assert status(sweep) == ["done", "failed"] and "longer than 3 s" in sweep.sets[1].reason
    foreign = write_notebook(tmp_path/"foreign.ipynb", "x = 0", kernel="ir")
    sweep = lb.sweep(foreign, {"x": [0]}).wait(60)
    assert status(sweep) == ["failed"] and "there is no kernel 'ir'" in sweep.sets[0].reason


@pytest.mark.parametrize("sampler", ["RandomSampler", "TPESampler", "CmaEsSampler"])
def test_optuna(tmp_path, sampler):
    optuna = pytest.importorskip("optuna")
    notebook = write_notebook(tmp_path/"search.ipynb", "x = 0.\ny = 0.", "import lepton_bench as lb\nif x > 4.5: raise ValueError('too far')",
                              "lb.record('loss', (x - 1)**2 + y**2)")
    study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=3))
    search = {"x": (-5., 5.), "y": (-1., 1.)}
    sweep = lb.sweep(notebook, study, search=search, trials=5, value="loss").wait(90)
    assert len(sweep.sets) == 5 and {s.status for s in sweep.sets} <= {"done", "failed"}
    assert all(-5 <= s.parameters["x"] <= 5 and set(s.parameters) == {"x", "y"} for s in sweep.sets)
    if sampler == "TPESampler":
        before = {s.run for s in sweep.sets if s.status == "done"}
        more = lb.sweep(notebook, optuna.create_study(), search=search, trials=7, value="loss").wait(90)
        assert len(more.sets) == 7 and before <= {s.run for s in more.sets}, "an earlier start's trials count"


def test_notebooks_as_tests(tmp_path):
    write_notebook(tmp_path/"good.ipynb", "n = 1000", "assert n == 2")
    write_notebook(tmp_path/"deep"/"other.ipynb", "print(1)", parameters=False)
    write_notebook(tmp_path/"_draft.ipynb", "raise ValueError", parameters=False)
    done = bench("test-notebooks", ".", "-p", "n=2", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "2 passed, 0 failed", done.stdout
    write_notebook(tmp_path/"bad.ipynb", "1/0", parameters=False)
    done = bench("test-notebooks", "bad.ipynb", "deep", "-o", "kept", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "1 passed, 1 failed"
    assert "FAILED  bad.ipynb" in done.stdout and "PASSED  deep/other.ipynb" in done.stdout and "ZeroDivisionError: division by zero" in done.stdout
    assert len(list((tmp_path/"kept").glob("*.ipynb"))) == 2
    assert "none of these notebooks has a parameter m" in bench("test-notebooks", ".", "-p", "m=2", cwd=tmp_path).stderr


def test_a_sweep_outlives_the_kernel_that_started_it(tmp_path, new_kernel):
    write_notebook(tmp_path/"lasting.ipynb", "x = 0", "import lepton_bench as lb, time, os\nopen(f'begun-{x}', 'w')",
                   "while not os.path.exists('go'): time.sleep(.01)\nlb.record('x', x)")
    kernel = new_kernel(cwd=tmp_path)
    id = kernel.run("import lepton_bench as lb\nsweep = lb.sweep('lasting.ipynb', {'x': [1, 2]})\nprint(sweep.id)").split()[-1]
    until((tmp_path/"begun-1").exists, timeout=60)
    kernel.kill()
    (tmp_path/"go").touch()
    sweep = get_run(id).wait(60)
    assert sweep.status == "done" and [s.values for s in sweep.sets] == [{"x": 1}, {"x": 2}]

def test_a_notebook_that_is_edited_or_deleted_meanwhile_is_run_as_it_was(tmp_path):
    code = "import lepton_bench as lb, time\nfrom pathlib import Path\nwhile not Path('go').exists(): time.sleep(.01)\nlb.record('version', 1)"
    for change in ("edit", "delete"):
        notebook = write_notebook(tmp_path/change/"train.ipynb", "x = 0", code)
        sweep = lb.sweep(notebook, {"x": [1, 2]}, parallel=1, devices_each=0)
        if change == "edit":
            write_notebook(notebook, "x = 0", code.replace("1)", "2)"))
            with pytest.raises(BenchError, match="as it was when it began"): lb.sweep(notebook, {"x": [1, 2]}, devices_each=0)
            assert lb.sweep(notebook, {"x": [1, 2]}, devices_each=0, changed="keep").id == sweep.id
        else: notebook.unlink()
        (notebook.parent/"go").touch()
        assert sweep.wait(60).status == "done" and [s.values["version"] for s in sweep.sets] == [1, 1]
        assert "'version', 1" in (runs_directory()/sweep.sets[1].run/"source"/"train.ipynb").read_text()
    with pytest.raises(BenchError, match="no notebook"): sweep.resume()


def test_an_output_folder_that_is_deleted_meanwhile_is_made_again(tmp_path):
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0", "import time\nfrom pathlib import Path\nwhile x and not Path('go').exists(): time.sleep(.01)")
    sweep = lb.sweep(notebook, {"x": [0, 1, 2]}, parallel=1, devices_each=0)
    until(lambda: sweep.sets[0].status == "done", timeout=60)
    shutil.rmtree(tmp_path/"train-sweep")
    (tmp_path/"go").touch()
    sweep.wait(60)
    assert status(sweep)[2] == "done" and (tmp_path/"train-sweep"/sweep.sets[2].output).exists()
    again = sweep.resume().wait(60)
    assert again.id == sweep.id and again.status == "done" and (tmp_path/"train-sweep"/".lepton-sweep").read_text() == sweep.id


def test_a_folder_belongs_to_one_notebook(tmp_path):
    one, other = (write_notebook(tmp_path/f"{name}.ipynb", "x = 0") for name in ("one", "other"))
    sweep = lb.sweep(one, {"x": [1]}, output=tmp_path/"out", devices_each=0)
    with pytest.raises(BenchError, match=f"notebooks of sweep {sweep.id} of .*one.ipynb.*output="): lb.sweep(other, {"x": [1]}, output=tmp_path/"out")
    sweep.wait(60)
    one.rename(tmp_path/"renamed.ipynb")  # the same notebook under a new name goes on
    assert lb.sweep(tmp_path/"renamed.ipynb", {"x": [1, 2]}, output=tmp_path/"out", devices_each=0).wait(60).id == sweep.id


def test_started_from_four_shells_at_once_it_is_one_sweep(tmp_path):
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0", "print(x, file=open('begun', 'a'))")
    before = set(runs_directory().iterdir()) if runs_directory().exists() else set()
    code = f"import lepton_bench as lb; s = lb.sweep({str(notebook)!r}, {{'x': [1, 2]}}, devices_each=0); print(s.id, s.wait(60).status)"
    shells = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [shell.communicate(timeout=90) for shell in shells]
    assert len({out for out, _ in said}) == 1 and said[0][0].endswith(" done\n"), said
    assert sorted((tmp_path/"begun").read_text().split()) == ["1", "2"]
    assert len(set(runs_directory().iterdir()) - before) == 3  # the sweep and its two sets


def test_resume_in_the_moment_after_the_driver_was_killed(tmp_path):
    "Its runners still have the lock then; they are not a sweep that goes on."
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0", "import time\nfrom pathlib import Path\nwhile not Path('go').exists(): time.sleep(.01)")
    sweep = lb.sweep(notebook, {"x": [1, 2]}, devices_each=0)
    until(lambda: "running" in status(sweep), timeout=60)
    os.kill(sweep.record.supervisor["pid"], signal.SIGKILL)
    until(lambda: sweep.status == "lost", timeout=10)
    locks: list[int] = []
    until(lambda: (lock := take_lock(sweep.directory)) is not None and not locks.append(lock), timeout=10)
    threading.Timer(.5, os.close, locks).start()  # as long as a runner takes to die
    (tmp_path/"go").touch()
    assert sweep.resume().wait(60).status == "done" and status(sweep) == ["done", "done"]


@pytest.mark.parametrize("space, wanted", [
    ({"x": np.float64(.5)}, [.5]), ({"x": [np.int64(3)]}, [3]), ({"x": np.arange(2)}, [0, 1]), ([{"x": np.arange(2)}], [[0, 1]]),
    ([{"x": np.bool_(True)}], [True]), ([{"x": (1, (2, 3))}], [[1, [2, 3]]]), ({"x": [float("inf"), None]}, [float("inf"), None])])
def test_values_of_numpy_are_plain_numbers(space, wanted):
    found = [s["x"] for s in expand(space)]
    assert found == wanted and [type(f) for f in found] == [type(w) for w in wanted]


@pytest.mark.parametrize("value, said", [(3j, "x: a complex"), (print, "x: a builtin_function"), ({1, 2}, "x: a set.*pass a list")])
def test_what_cannot_be_a_parameter_is_named(value, said):
    with pytest.raises(BenchError, match=said): expand([{"x": value}])


@pytest.mark.parametrize("options, said", [
    ({"retries": "2"}, "retries='2'"), ({"retries": -1}, "retries=-1"), ({"timeout": "10"}, "timeout='10' is no number of seconds"),
    ({"timeout": 0}, "None means no limit"), ({"cell_timeout": float("nan")}, "cell_timeout=nan")])
def test_limits_that_are_none(tmp_path, options, said):
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0")
    with pytest.raises(BenchError, match=said): lb.sweep(notebook, {"x": [1]}, devices_each=0, **options)
    assert not (tmp_path/"train-sweep").exists()


@pytest.mark.parametrize("name", ["n"*240, "漢"*75, "a {0} {x} 'b'"])
def test_names_long_and_strange(tmp_path, name):
    notebook = write_notebook(tmp_path/f"{name}.ipynb", "x = ''")
    sweep = lb.sweep(notebook, [{"x": "漢字{}"*60}], devices_each=0).wait(60)
    assert sweep.status == "done" and (tmp_path/f"{name}-sweep"/sweep.sets[0].output).exists()


def test_a_sweep_whose_driver_is_stopped_says_so(tmp_path):
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0", "import time; time.sleep(1000)")
    sweep = lb.sweep(notebook, {"x": [1]}, devices_each=0)
    pid = sweep.record.supervisor["pid"]
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(RunTimeout, match=rf"asked to stop.*process {pid} is stopped \(kill -CONT {pid}.*stop\(kill=True\)"): sweep.stop(timeout=.5)
    os.kill(pid, signal.SIGCONT)
    assert sweep.wait(60).status == "stopped"


def test_sets_that_wait_for_devices_are_counted(tmp_path):
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0")
    with lb.allocate(3) as held:
        sweep = lb.sweep(notebook, {"x": [1, 2]})
        until(lambda: "running, 0 of 2 sets done, 2 waiting for devices" in repr(sweep), timeout=60)
        held.release()
    assert sweep.wait(60).status == "done" and "waiting" not in repr(sweep)


def test_a_sweep_in_a_headless_notebook_never_waits_for_its_own_device(tmp_path, monkeypatch):
    inner = write_notebook(tmp_path/"inner.ipynb", "x = 0")
    code = f"import lepton_bench as lb\nprint(lb.sweep({str(inner)!r}, {{'x': [1, 2]}}, devices_each=1).wait(60).status)"
    outer = write_notebook(tmp_path/"outer.ipynb", "y = 0", code)
    assert lb.sweep(outer, {"y": [1]}).wait(90).status == "done"  # there are two more devices
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "1")
    alone = lb.sweep(outer, {"y": [2]}).wait(90)
    assert alone.status == "failed" and "this kernel itself holds sim-0" in alone.record.reason and "devices_each=0" in alone.record.reason


def test_a_study_whose_value_is_never_recorded_fails(tmp_path):
    optuna = pytest.importorskip("optuna")
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0.", "import lepton_bench as lb; lb.record('loss', x)")
    sweep = lb.sweep(notebook, optuna.create_study(), search={"x": (0., 1.)}, trials=1, value="accuracy", devices_each=0).wait(60)
    assert sweep.status == "failed" and "has not recorded a number 'accuracy'" in sweep.record.reason and "recorded were: loss" in sweep.record.reason
