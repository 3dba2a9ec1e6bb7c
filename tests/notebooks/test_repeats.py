"""Each parameter set several times; and what is said where a tuple or equal values make another sweep than was meant."""
import json
from pathlib import Path

import pytest
from support.headless_notebooks import write_notebook
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from house.test_cli import bench

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.server.sweeps import start_sweep
from lepton_bench.api.runs import get_run
from lepton_bench.store.runs import read_run, runs_directory

CELLS = ("lr = .1\nseed = 7\nsize = [1]", "import lepton_bench as lb\nlb.record('accuracy', lr + seed/100)\nlb.record('size', str(size))")


@pytest.fixture
def notebook(tmp_path) -> Path: return write_notebook(tmp_path/"train.ipynb", *CELLS)


def test_repetitions_are_trials_that_are_kept_when_more_are_wanted(notebook, capfd):
    first = lb.sweep(notebook, {"lr": [.1, .2]}, devices_each=0).wait(90)
    had = [s.run for s in first.sets]
    three = lb.sweep(notebook, {"lr": [.1, .2]}, devices_each=0, repeats=3).wait(90)
    assert three.status == "done" and three.id == first.id
    assert [(s.parameters["lr"], s.repeat, round(s.values["accuracy"], 2)) for s in three.sets] == [
        (.1, 0, .17), (.2, 0, .27), (.1, 1, .18), (.2, 1, .28), (.1, 2, .19), (.2, 2, .29)]
    assert [s.run for s in three.sets[:2]] == had, "the first one is the sweep without repeats"
    assert read_run(runs_directory()/three.sets[4].run).parameters == {"lr": .1, "seed": 9} and len({s.output for s in three.sets}) == 6
    assert "seed = 7 to 9" in capfd.readouterr().err and "repetition" in repr(three.table())
    summary = three.summary().to_dicts()
    assert [(row["parameters"], row["done"], round(row["values"]["accuracy"]["mean"], 3), round(row["values"]["accuracy"]["std"], 3)) for row in summary] == [
        ({"lr": .1}, 3, .18, .01), ({"lr": .2}, 3, .28, .01)]
    assert "0.18 ± 0.01" in repr(three.summary()) and three.plot() is not None
    had = [s.run for s in three.sets]
    five = lb.sweep(notebook, {"lr": [.1, .2]}, devices_each=0, repeats=5).wait(90)
    assert [s.run for s in five.sets[:6]] == had and [s.extra.get("seed") for s in five.sets[6:]] == [10, 10, 11, 11]
    assert [s.attempts for s in five.sets] == [1]*10 and five.status == "done"


def test_going_on_with_repetitions_that_have_failed(tmp_path):
    notebook = write_notebook(tmp_path/"train.ipynb", "repeat = 0", "import os\nif repeat == 2 and not os.path.exists('go'): raise KeyError('no')")
    sweep = lb.sweep(notebook, {}, devices_each=0, repeats=4).wait(90)
    assert [s.status for s in sweep.sets] == ["done", "done", "failed", "done"] and "(repetition 2)" in sweep.record.reason
    had = [s.run for s in sweep.sets]
    (tmp_path/"go").touch()
    again = sweep.resume().wait(90)
    assert [s.status for s in again.sets] == ["done"]*4 and [s.run for s in again.sets] == had
    assert [s.given for s in again.sets] == [{}, {"repeat": 1}, {"repeat": 2}, {"repeat": 3}]


@pytest.mark.parametrize("repeats", [0, -1, 1.5, "3", True, None])
def test_what_is_no_number_of_repetitions(notebook, repeats):
    with pytest.raises(BenchError, match="repeats must be a whole number"): lb.sweep(notebook, {"lr": [.1]}, devices_each=0, repeats=repeats)
    assert not notebook.with_name("train-sweep").exists()


def test_a_study_asks_for_its_own(notebook):
    optuna = pytest.importorskip("optuna")
    with pytest.raises(BenchError, match="trials= says how many"):
        lb.sweep(notebook, optuna.create_study(), search={"lr": (.1, .2)}, trials=2, value="accuracy", devices_each=0, repeats=2)


def test_a_tuple_is_one_value_and_equal_values_are_one_trial(notebook, capfd):
    sweep = lb.sweep(notebook, {"size": (32, 32)}, devices_each=0).wait(60)
    assert [s.values["size"] for s in sweep.sets] == ["[32, 32]"] and "size = (32, 32) is one value" in capfd.readouterr().err
    sweep = lb.sweep(notebook, {"lr": [.1, .1, .1], "size": [(1, 2)]}, devices_each=0).wait(60)
    said = capfd.readouterr().err
    assert len(sweep.sets) == 1 and "1 of them different" in said and "repeats=3 runs each set 3 times" in said and "is one value" not in said
    sweep = lb.sweep(notebook, ({"lr": lr} for lr in (.3, .3)), devices_each=0).wait(60)
    assert [s.parameters for s in sweep.sets] == [{"lr": .3}] and "repeats=2" in capfd.readouterr().err


def test_the_shell_and_the_form(notebook, tmp_path):
    done = bench("sweep", notebook, "-p", "lr=0.1,0.2", "--repeats", "2", "--devices-each", "0", "-o", tmp_path/"out")
    assert done.returncode == 0 and "0.175 ± 0.0071" in done.stdout, done.stdout + done.stderr
    table = json.loads(bench("sweep", notebook, "-p", "lr=0.1,0.2", "--repeats", "2", "--devices-each", "0", "-o", tmp_path/"out", "--json").stdout)
    assert [(row["repeat"], row["extra"]) for row in table] == [(0, {}), (0, {}), (1, {"seed": 8}), (1, {"seed": 8})]
    contents = LargeFileManager(root_dir=str(tmp_path))
    with pytest.raises(BenchError, match="repeats is a whole number"): start_sweep(contents, {"path": "train.ipynb", "space": {}, "repeats": 0})
    with pytest.raises(BenchError, match="12,000 sets"): start_sweep(contents, {"path": "train.ipynb", "space": {"lr": [.1, .2]}, "repeats": 6000})
    found = start_sweep(contents, {"path": "train.ipynb", "space": {"lr": [.1]}, "repeats": 2, "devices_each": 0, "output": "form"})
    assert [s.given for s in get_run(found["id"]).wait(60).sets] == [{"lr": .1}, {"lr": .1, "seed": 8}]
