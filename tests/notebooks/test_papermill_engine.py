"""`papermill --engine lepton`: what it says while it waits, and errors that a notebook is allowed to have, with the same meaning at every entry."""
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from support.headless_notebooks import read_text, write_notebook
from support.waiting import until

import lepton_bench as lb
from lepton_bench.headless.notebook_tests import check_notebooks
from lepton_bench.store.runs import list_runs

ALLOWED = ("x = 0", "1/0", "import lepton_bench as lb; lb.record('after', x)")


pytestmark = pytest.mark.simulated(1)


def tagged(path: Path, cells: tuple[str, ...], tags: dict[int, str]) -> Path:
    notebook = nbformat.read(write_notebook(path, *cells), as_version=4)
    for number, tag in tags.items(): notebook.cells[number].metadata["tags"] = [tag]
    nbformat.write(notebook, path)
    return path


def command(notebook: Path, *more: str, engine: str = "lepton") -> list[str]:
    return [sys.executable, "-m", "papermill", str(notebook), str(notebook.with_name("out.ipynb")), "--engine", engine, "--no-progress-bar", *more]


def papermill(notebook: Path, *more: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(notebook, *more, **options), capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def newest(name: str): return next(r for r in list_runs() if r.name == name)


def test_a_cell_that_may_fail_means_the_same_at_every_entry(tmp_path):
    notebook = tagged(tmp_path/"shows.ipynb", ALLOWED, {1: "raises-exception"})
    done = papermill(notebook)
    assert done.returncode == 0, done.stderr
    assert newest("shows").status == "done" and newest("shows").extra["values"] == {"after": 0}
    sweep = lb.sweep(notebook, {"x": [3]}, devices_each=0).wait(60)
    checked = check_notebooks(notebook, tmp_path/"checked").wait(60)
    with lb.allocate(1) as alloc: launched = alloc.launch(notebook, x=4).wait(60)
    assert [r.status for r in (sweep, checked, launched)] == ["done"]*3 and sweep.sets[0].values == {"after": 3} and launched.result() == {"after": 4}
    outputs = (tmp_path/"out.ipynb", tmp_path/"shows-sweep"/sweep.sets[0].output, next((tmp_path/"checked").glob("*.ipynb")))
    for output in (*outputs, Path(launched.record.extra["output"])):
        assert "ZeroDivisionError division by zero" in read_text(output) and "An Exception was encountered" not in read_text(output), output


def test_a_cell_that_may_not_fail_behind_one_that_may(tmp_path):
    notebook = tagged(tmp_path/"fails.ipynb", ("x = 0", "1/0", "raise KeyError('here')", "print('never')"), {1: "raises-exception"})
    done = papermill(notebook)
    assert done.returncode == 1 and "KeyError" in done.stderr and newest("fails").status == "failed" and "KeyError" in newest("fails").reason
    sweep = lb.sweep(notebook, {"x": [3]}, devices_each=0).wait(60)
    assert sweep.status == "failed" and "KeyError" in sweep.sets[0].reason
    assert "An Exception was encountered" in read_text(tmp_path/"fails-sweep"/sweep.sets[0].output)


def test_cells_that_are_left_out_and_a_notebook_that_names_no_kernel(tmp_path):
    notebook = tagged(tmp_path/"skips.ipynb", ("x = 0", "1/0", "print('end')"), {1: "skip-execution"})
    notebook.write_text(json.dumps({**json.loads(notebook.read_text()), "metadata": {}}))
    done = papermill(notebook)
    assert done.returncode == 0 and newest("skips").status == "done" and "ZeroDivisionError" not in read_text(tmp_path/"out.ipynb"), done.stderr


def test_other_engines_of_papermill_keep_their_rule(tmp_path):
    assert papermill(tagged(tmp_path/"stock.ipynb", ALLOWED, {1: "raises-exception"}), engine="nbclient").returncode == 1


def test_it_says_what_it_waits_for(tmp_path):
    notebook = write_notebook(tmp_path/"waits.ipynb", "print('begun')", parameters=False)
    with lb.allocate(1, name="in-the-way"), open(tmp_path/"stderr", "w") as log:
        process = subprocess.Popen(command(notebook), stderr=log, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        said = until(lambda: (tmp_path/"stderr").read_text().count("waiting for") and (tmp_path/"stderr").read_text(), "a word", 60)
        assert "in-the-way" in said and "-k lepton" in said
        assert "in-the-way" in lb.get_run(newest("waits").id).logs() and newest("waits").status == "waiting"
    assert process.wait(60) == 0 and newest("waits").status == "done"
    assert (tmp_path/"stderr").read_text().count("waiting for") == 1, "once, while nothing but the time changes"


def test_a_notebook_that_is_no_file(tmp_path):
    "papermill reads standard input and takes notebooks in memory, and writes to standard output; none of these is a file beside us."
    notebook = write_notebook(tmp_path/"memory.ipynb", "x = 0", "print('x is', x)")
    before = {r.id for r in list_runs()}
    done = subprocess.run([sys.executable, "-m", "papermill", "-", "-", "--engine", "lepton", "--no-progress-bar"], input=notebook.read_text(),
                          capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0 and "x is 0" in done.stdout, done.stderr
    code = ("import nbformat, papermill; nb = nbformat.read('memory.ipynb', as_version=4)\n"
            "papermill.execute_notebook(nb, None, {'x': 5}, engine_name='lepton', progress_bar=False)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = [r for r in list_runs() if r.id not in before]
    assert [(r.name, r.status, r.extra["output"]) for r in found] == [("notebook", "done", None)]*2
