"""What a study, a value or an encoding does wrong: one set fails, or the sweep ends with its reason; every file stays strict JSON."""
import json
import math
from pathlib import Path

import optuna
import pytest
from support.headless_notebooks import read_text, write_notebook

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.headless.plan import read_plan, write_plan
from lepton_bench.store.runs import read_run, runs_directory

CELLS = ("x = 1", "import lepton_bench as lb\nlb.record('loss', float(x))")


class Broken(optuna.samplers.RandomSampler):
    "Raises when it is asked for the third trial."
    def infer_relative_search_space(self, study, trial):
        if trial.number == 2: raise RuntimeError("no more \udcff")
        return {}


def sweep(notebook: Path, space, **options): return lb.sweep(notebook, space, devices_each=0, **options)


@pytest.mark.parametrize("sampler", [optuna.samplers.BruteForceSampler(), optuna.samplers.GridSampler({"x": [1, 2, 3]})])
def test_an_exhaustive_sampler_ends_the_search(tmp_path, sampler):
    done = sweep(write_notebook(tmp_path/"all.ipynb", *CELLS, kernel="lepton"), optuna.create_study(sampler=sampler),
                 search={"x": [1, 2, 3]}, trials=12, value="loss", parallel=1)
    assert done.wait(90).status == "done" and sorted(s.values["loss"] for s in done.sets) == [1, 2, 3]
    assert done.record.extra["progress"]["0"] == [3, 3]


def test_a_sampler_that_raises(tmp_path):
    ended = sweep(write_notebook(tmp_path/"broken.ipynb", *CELLS, kernel="lepton"), optuna.create_study(sampler=Broken(seed=1)),
                  search={"x": (1, 9)}, trials=5, value="loss", parallel=1)
    assert ended.wait(90).status == "failed" and [s.status for s in ended.sets] == ["done", "done"]
    assert "RuntimeError: no more \\udcff" in ended.record.reason and ended.record.error["type"] == "StudyFailed"


def test_choices_that_no_notebook_can_be_given(tmp_path):
    notebook = write_notebook(tmp_path/"choices.ipynb", *CELLS)
    with pytest.raises(BenchError, match="search: x: a set cannot be a parameter"):
        sweep(notebook, optuna.create_study(), search={"x": [{1}, {2}]}, trials=2, value="loss")
    assert not (tmp_path/"choices-sweep").exists()


def strict(path: Path) -> None:
    def refuse(word: str) -> None: raise AssertionError(f"{path} has a bare {word}")
    for line in path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text(encoding="utf-8")]:
        json.loads(line, parse_constant=refuse).__class__, line.encode()


def test_odd_numbers_and_texts(tmp_path):
    "Infinite numbers and lone surrogates, as parameters and as recorded values, in every file; and the same sweep again finds its sets."
    sets = [{"x": float("inf"), "options": {"a": [float("nan"), -math.inf]}}, {"x": float("nan"), "options": {"caf\udce9": "t\ud800"}}]
    notebook = write_notebook(tmp_path/"odd.ipynb", "x = 1.\noptions = {}", "import lepton_bench as lb\nprint('got', x, options, 'out \\ud800')\n"
                              "lb.record('loss', x)\nlb.record('na\\udcffme', 'va\\udcfflue')", kernel="lepton")
    done = sweep(notebook, sets)
    assert done.wait(90).status == "done", done.logs()
    files = [*(tmp_path/"odd-sweep").glob("*.ipynb"), done.directory/"sweep.json", done.directory/"run.json"]
    for s in done.sets: files += [*(runs_directory()/s.run).glob("*.json*")]
    for path in files: strict(path)
    first, second = (read_text(tmp_path/"odd-sweep"/s.output) for s in done.sets)
    assert "x = float('inf')" in first and "got inf {'a': [nan, -inf]} out \\ud800" in first and "x = float('nan')" in second
    assert done.sets[0].parameters["x"] == math.inf and math.isnan(read_run(runs_directory()/done.sets[1].run).parameters["x"])
    assert done.sets[0].values["na\\udcffme"] == "va\\udcfflue" and "inf" in repr(done.table()) and "va\\udcfflue" in done.logs()
    again = sweep(notebook, sets)
    assert again.wait(90).status == "done" and [s.index for s in again.sets] == [0, 1] and again.sets[0].run == done.sets[0].run
    assert [s.started for s in again.sets] == [s.started for s in done.sets], "nothing is run twice"


def test_a_plan_of_an_older_version(tmp_path):
    "With bare words, as they were written before."
    sets = sweep(write_notebook(tmp_path/"old.ipynb", *CELLS, kernel="lepton"), [{"x": 2}]).wait(90)
    plan = read_plan(sets.directory)
    write_plan(sets.directory, plan)
    path = sets.directory/"sweep.json"
    path.write_text(path.read_text().replace('"x": 2', '"x": Infinity'))
    assert read_plan(sets.directory).sets[0].parameters == {"x": math.inf}
