"""Sweeps as job arrays, on a real Slurm of three nodes with two simulated GPUs each."""
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.headless_notebooks import read_text, write_notebook
from support.isolation import patience
from support.slurm_cluster import SlurmCluster
from support.waiting import until
from house.test_cli import bench

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.headless.sweeps import Sweep
from lepton_bench.api.runs import get_run
from lepton_bench.store.runs import read_run, runs_directory

WAITS = """import lepton_bench as lb, os, time
print(x, file=open("begun", "a"), flush=True)
while not os.path.exists(f"go-{x}") and not os.path.exists("go"): time.sleep(.02)
lb.record("x", x)"""


@pytest.fixture(autouse=True)
def cluster(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "1")  # the nodes' GPUs are files that nothing drives
    monkeypatch.setenv("LEPTON_BENCH_FORKSERVER", "0")  # each driver is spawned: no torch has to be imported for it
    monkeypatch.setenv("LEPTON_BENCH_SLURM_LOOK", "0.3")
    yield slurm
    assert not jobs(slurm), "every test ends its jobs"


def jobs(slurm: SlurmCluster) -> dict[str, str]:
    "Jobs that are not over, and their states."
    return dict(line.split("|") for line in slurm.command("squeue", "--noheader", "--array", "--format=%i|%T").splitlines())


def begun(folder: Path) -> list[str]: return (folder/"begun").read_text().split() if (folder/"begun").exists() else []
def status(sweep: Sweep) -> list[str]: return [s.status for s in sweep.sets]


def test_failures_are_tried_again_and_no_more_run_at_once_than_allowed(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0", """import lepton_bench as lb, os
tries = open(f"tries-{x}", "a+"); tries.write("*"); tries.flush(); tries.seek(0)
if x in (1, 4) and len(tries.read()) < 2: raise RuntimeError("not yet")
lb.log(step=0, loss=x)
lb.record("node", os.environ["SLURMD_NODENAME"])""")
    sweep = lb.sweep(notebook, {"x": list(range(6))}, engine="slurm", parallel=3, retries=1, time=5)
    assert sweep.wait(patience(60)).status == "done", f"{sweep.table()}\n{sweep.logs()}"
    assert status(sweep) == ["done"]*6 and [s.attempts for s in sweep.sets] == [1, 2, 1, 1, 2, 1]
    assert {s.values["node"] for s in sweep.sets} <= {"n1", "n2", "n3"} and "train-003-x=3.ipynb" in repr(sweep.table())
    spans = sorted((s.started, s.ended) for s in sweep.sets)
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) <= 3, spans
    for s in sweep.sets:
        record = read_run(runs_directory()/s.run)
        assert (record.status, record.engine, record.parent, record.extra["job"]) == ("done", "slurm", sweep.id, s.job) and s.job.endswith(f"_{s.index}")
        assert record.devices == [f"{s.values['node']}.sim-{record.devices[0][-1]}"] and record.device_kind == "simulated"
        assert "lb.record" in read_text(tmp_path/"train-sweep"/s.output) and get_run(s.run).metrics().num_rows == 1
    assert read_run(runs_directory()/sweep.sets[4].run).restarts[0]["reason"] == "cell In[3] raised RuntimeError: not yet"
    assert "x=1: failed" in sweep.logs() and "it will be tried again" in sweep.logs() and not list(sweep.directory.glob("arrays/*/*.beat"))


def test_repetitions_are_elements_of_their_own(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0\nrepeat = 0", "import lepton_bench as lb\nlb.record('said', 10*x + repeat)")
    sweep = lb.sweep(notebook, {"x": [1, 2]}, engine="slurm", time=5).wait(patience(60))
    had = [s.run for s in sweep.sets]
    sweep = lb.sweep(notebook, {"x": [1, 2]}, engine="slurm", time=5, repeats=2).wait(patience(60))
    assert status(sweep) == ["done"]*4 and [s.values["said"] for s in sweep.sets] == [10, 20, 11, 21] and [s.run for s in sweep.sets[:2]] == had


def test_a_killed_driver_and_the_next_one(tmp_path: Path, cluster: SlurmCluster) -> None:
    "What runs goes on, what waits waits; the next start takes in what was done meanwhile, and does nothing twice."
    notebook, space = write_notebook(tmp_path/"train.ipynb", "x = 0", WAITS), {"x": [0, 1, 2, 3]}
    sweep = lb.sweep(notebook, space, engine="slurm", parallel=2)
    until(lambda: len(begun(tmp_path)) == 2 and status(sweep)[:2] == ["running"]*2, "two sets run", patience(30))
    os.kill(sweep.record.supervisor["pid"], signal.SIGKILL)
    until(lambda: sweep.status == "lost", timeout=patience(5))
    assert "slurm had 4 sets then. sweep.resume()" in repr(sweep)
    (tmp_path/"go-0").touch()
    until(lambda: len(begun(tmp_path)) == 3, "the third set begins, without a driver", patience(30))
    assert status(sweep)[0] == "running", "nobody has taken it in"
    before = {s.index: s.run for s in sweep.sets}
    with pytest.raises(BenchError, match="sets were done or begun. changed="):
        write_notebook(notebook, "x = 0", WAITS + "\nprint()")
        lb.sweep(notebook, space, engine="slurm", parallel=2)
    write_notebook(notebook, "x = 0", WAITS)
    again = lb.sweep(notebook, space, engine="slurm", parallel=2)
    assert again.id == sweep.id and len(jobs(cluster)) == 3
    until(lambda: status(again) == ["done", "running", "running", "waiting"], "what was done is known", patience(20))
    assert again.sets[0].values == {"x": 0}
    (tmp_path/"go").touch()
    assert again.wait(patience(60)).status == "done" and [s.values for s in again.sets] == [{"x": x} for x in range(4)]
    assert sorted(begun(tmp_path)) == ["0", "1", "2", "3"] and {s.index: s.run for s in again.sets} == before
    assert {s.array for s in again.sets} == {0}, "one array, submitted once"


def test_what_a_dead_driver_has_left_is_run_here_or_stopped(tmp_path: Path, cluster: SlurmCluster) -> None:
    notebook, space = write_notebook(tmp_path/"train.ipynb", "x = 0", WAITS), {"x": [0, 1]}
    sweep = lb.sweep(notebook, space, engine="slurm")
    until(lambda: len(begun(tmp_path)) == 2, "two sets run", patience(30))
    os.kill(sweep.record.supervisor["pid"], signal.SIGKILL)
    (tmp_path/"go-0").touch()
    until(lambda: len(jobs(cluster)) == 1, "one of them ends", patience(30))
    here = lb.sweep(notebook, space, devices_each=0)
    assert here.id == sweep.id and not jobs(cluster) and here.sets[0].values == {"x": 0}
    until(lambda: begun(tmp_path).count("1") == 2, "the other one runs here", patience(30))
    assert here.stop().status == "stopped" and sorted(begun(tmp_path)) == ["0", "1", "1"]
    sweep = lb.sweep(notebook, space, engine="slurm")
    until(lambda: begun(tmp_path).count("1") == 3, "and there again", patience(30))
    os.kill(sweep.record.supervisor["pid"], signal.SIGKILL)
    until(lambda: sweep.status == "lost", timeout=patience(5))
    sweep.stop()
    until(lambda: not jobs(cluster) and read_run(runs_directory()/sweep.sets[1].run).status == "stopped", "nothing goes on", patience(10))


def test_a_driver_that_dies_before_it_hears_of_its_job(tmp_path: Path, cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    "Slurm refuses an array, takes it at the second time, and the driver is killed in that moment: its successor finds the array by its name."
    notebook, real = write_notebook(tmp_path/"train.ipynb", "x = 0", WAITS), shutil.which("sbatch")
    fake = tmp_path/"bin"/"sbatch"
    fake.parent.mkdir()
    fake.write_text(f"""#!/bin/bash
[[ $1 == --parsable ]] || exec {real} "$@"
[[ -e {tmp_path}/refused ]] || {{ touch {tmp_path}/refused; echo "sbatch: error: no more jobs today" >&2; exit 1; }}
{real} "$@" > {tmp_path}/job && kill -9 $PPID""")
    fake.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
        sweep = lb.sweep(notebook, {"x": [0, 1]}, engine="slurm")
        until(lambda: sweep.status == "lost", "the driver was killed", patience(30))
    assert "sbatch says: sbatch: error: no more jobs today" in sweep.logs() and [(s.job, s.array) for s in sweep.sets] == [("", 1)]*2
    again = lb.sweep(notebook, {"x": [0, 1]}, engine="slurm")
    until(lambda: status(again) == ["running"]*2, "they run", patience(20))
    assert {s.job.partition("_")[0] for s in again.sets} == {(tmp_path/"job").read_text().strip()}
    (tmp_path/"go").touch()
    assert again.wait(patience(60)).status == "done" and sorted(begun(tmp_path)) == ["0", "1"]


def test_cancelled_requeued_and_stopped(tmp_path: Path, cluster: SlurmCluster) -> None:
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0", WAITS)
    sweep = lb.sweep(notebook, {"x": [0, 1, 2, 3]}, engine="slurm", parallel=3)
    until(lambda: status(sweep) == ["running"]*3 + ["waiting"] and len(begun(tmp_path)) == 3, "three sets run", patience(30))
    cluster.command("scancel", sweep.sets[1].job)
    until(lambda: status(sweep)[1] == "stopped", timeout=patience(30))
    assert sweep.sets[1].reason == f"its job {sweep.sets[1].job} was cancelled (scancel)"
    until(lambda: read_run(runs_directory()/sweep.sets[1].run).reason == sweep.sets[1].reason, "its run says so, too", patience(5))
    until(lambda: len(begun(tmp_path)) == 4, "the last set has its turn", patience(30))

    cluster.command("scontrol", "requeue", sweep.sets[0].job)
    cluster.wait(lambda: jobs(cluster).get(sweep.sets[0].job) in ("PENDING", "RUNNING"))
    cluster.command("scontrol", "update", f"JobId={sweep.sets[0].job}", "StartTime=now", check=False)  # Slurm would wait two minutes
    until(lambda: begun(tmp_path).count("0") == 2, "the requeued set runs once more", patience(30))
    until(lambda: status(sweep)[0] == "running", timeout=patience(10))
    record = read_run(runs_directory()/sweep.sets[0].run)
    assert (record.attempt, record.restarts[0]["reason"]) == (1, f"its job {sweep.sets[0].job} was requeued") and sweep.sets[0].attempts == 1

    (tmp_path/"go-0").touch()
    until(lambda: status(sweep)[0] == "done", timeout=patience(30))
    assert get_run(sweep.sets[2].run).stop().status == "stopped", "one set alone"
    until(lambda: status(sweep)[2] == "stopped", timeout=patience(30))
    assert sweep.stop().status == "stopped" and status(sweep) == ["done", "stopped", "stopped", "stopped"]
    assert read_run(runs_directory()/sweep.sets[3].run).status == "stopped" and sweep.record.reason == "stopped after 1 of 4 sets"
    (tmp_path/"go").touch()
    assert sweep.resume().wait(patience(60)).status == "done" and begun(tmp_path).count("0") == 2


def test_two_devices_and_an_allocation_in_the_notebook(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0", """import lepton_bench as lb, os
lb.record("visible", os.environ["CUDA_VISIBLE_DEVICES"])
lb.record("devices", " ".join(d.device.id for d in lb.devices()))
with lb.allocate(1) as alloc: lb.record("rank", alloc.launch(lambda: int(os.environ["WORLD_SIZE"]) + x).result(60))
try: lb.allocate(3)
except lb.BenchError as e: lb.record("said", str(e))""")
    sweep = lb.sweep(notebook, [{"x": 10}], devices_each=2, engine="slurm").wait(patience(60))
    assert sweep.status == "done", sweep.record.reason
    values = sweep.sets[0].values
    assert (values["visible"], values["devices"], values["rank"]) == ("0,1", "sim-0 sim-1", 11) and "3 devices" in values["said"]


def test_the_shell(tmp_path: Path, cluster: SlurmCluster) -> None:
    write_notebook(tmp_path/"train.ipynb", "x = 0", "import lepton_bench as lb, os\nlb.record('name', os.environ['SLURM_JOB_PARTITION'])")
    options = ["--option", "partition=high", "--option", "time=5"]
    done = bench("sweep", "train.ipynb", "-p", "x=1,2", "--devices-each", 0, "--engine", "slurm", *options, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(r["status"], r["values"]) for r in json.loads(done.stdout)] == [("done", {"name": "high"})]*2
    script = tmp_path/"where.py"
    script.write_text("import os; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], os.environ['SLURM_JOB_PARTITION'])")
    done = bench("launch", "--engine", "slurm", "-n", 2, "--kind", "cpu", *options, "--option", "nodes=1", script)
    assert done.returncode == 0 and [f"rank {rank} of 2 high" in done.stdout for rank in range(2)] == [True]*2, done
    done = bench("sweep", "train.ipynb", "-p", "x=3", "--engine", "slurm", "--option", "partitoin=gpu", cwd=tmp_path)
    assert done.returncode == 2 and "engine 'slurm' has no option partitoin. It has: partition=None, account=None" in done.stderr, done.stderr


@pytest.mark.parametrize("options, said", [
    ({"partition": "nowhere"}, "invalid partition specified: nowhere"), ({"devices_each": 3}, "no set with devices_each=3 .* could run: sbatch says"),
    ({"nodes": 2}, "nodes: a set of a sweep is one notebook on one node"), ({"memory": "1GB"}, "memory= is a word for devices of this host"),
    ({"parallel": 0}, "parallel=0 is no number of sets"), ({"search": {}}, "search, trials and value are for an Optuna study"),
    ({"flags": "--comment='x"}, "flags cannot be read"), ({"engine": "debug"}, "engine 'debug' runs no sweeps. These do: local, slurm")])
def test_bad_input_is_refused_before_anything_starts(tmp_path: Path, options: dict, said: str) -> None:
    notebook = write_notebook(tmp_path/"train.ipynb", "x = 0")
    with pytest.raises(BenchError, match=said): lb.sweep(notebook, {"x": [1]}, **{"engine": "slurm", **options})
    assert not (tmp_path/"train-sweep").exists()


def test_a_study_asks_one_by_one(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    notebook = write_notebook(tmp_path/"search.ipynb", "x = 0.", "import lepton_bench as lb\nlb.record('loss', (x - 1)**2)")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    asked = {"search": {"x": (-5., 5.)}, "trials": 3, "value": "loss", "engine": "slurm"}
    with pytest.raises(BenchError, match="has no option trails"): lb.sweep(notebook, study, trails=3, **asked)
    sweep = lb.sweep(notebook, study, parallel=2, devices_each=0, **asked).wait(patience(60))
    assert sweep.status == "done" and len({s.parameters["x"] for s in sweep.sets}) == 3 and len({s.array for s in sweep.sets}) >= 2
