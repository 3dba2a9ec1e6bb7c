"""Numbers that JSON does not have, and texts that look like them: every file, answer and listing is JSON for others, and what comes back is what was given."""
import ast
import json
import math
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.headless_notebooks import read_text, write_notebook
from hypothesis import given, settings
from hypothesis import strategies as st
from support.isolation import REPOSITORY
from support.jupyter_process import JupyterProcess

import lepton_bench as lb
from lepton_bench.headless.plan import read_plan
from lepton_bench.store.checkpoints import list_checkpoints, read_manifest
from lepton_bench.store.recorded_values import read_recorded
from lepton_bench.store.runs import read_run, runs_directory
from lepton_bench.core.strict_json import dump_json, with_numbers, with_words
from lepton_bench.supervisor.allocations import allocations_directory
from lepton_bench.supervisor.recorder import launch_path, what_was_launched

WORDS = st.sampled_from(["NaN", "Infinity", "-Infinity", "\\NaN", "\\\\-Infinity", "nan", "\\", "inf"])
VALUES = st.recursive(st.floats() | WORDS | st.text(max_size=5) | st.none() | st.integers(), lambda v: st.lists(v) | st.dictionaries(WORDS, v), max_leaves=9)
GIVEN = {"lr": math.inf, "low": -math.inf, "none": math.nan, "name": "NaN", "kind": "-Infinity", "path": "\\Infinity"}
# messages between processes of this library, where a float stays what it is; and one program that runs in a kernel without this library
PRIVATE = {"processes/channel.py", "processes/forkserver.py", "processes/rank_forkserver.py", "ranks/rendezvous.py", "kernels/client.py"}


def refuse(word: str) -> None: raise AssertionError(f"a bare {word}")


def same(found, wanted) -> bool:
    if isinstance(wanted, dict): return found.keys() == wanted.keys() and all(same(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list): return len(found) == len(wanted) and all(map(same, found, wanted))
    return type(found) is type(wanted) and (found == wanted or found != found and wanted != wanted)


def by_node(*texts: str | Path) -> list:
    "What JavaScript reads; AssertionError for what it does not."
    program = ("const files = JSON.parse(require('fs').readFileSync(0)); const bad = [];"
               "for (const [name, text] of files) try { JSON.parse(text) } catch (e) { bad.push(`${name}: ${e.message}`) }"
               "if (bad.length) { console.error(bad.join('\\n')); process.exit(1) }"
               "console.log(JSON.stringify(files.map(f => JSON.parse(f[1]))))")
    pairs = [(str(t), t.read_text(encoding="utf-8")) if isinstance(t, Path) else (t[:80], t) for t in texts]
    done = subprocess.run(["node", "-e", program], input=json.dumps(pairs), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_what_is_written_comes_back(value):
    assert same(with_numbers(json.loads(dump_json(with_words(value), texts=False), parse_constant=refuse)), value)


def test_what_older_versions_wrote():
    found = with_numbers(json.loads('{"a": Infinity, "b": "NaN", "c": "-Infinity", "d": "nan"}'))
    assert same(found, {"a": math.inf, "b": math.nan, "c": -math.inf, "d": "nan"})


def test_keys_too():
    assert by_node(dump_json({math.nan: 1, -math.inf: {math.inf: "\udcff"}})) == [{"NaN": 1, "-Infinity": {"Infinity": "\\udcff"}}]


def bare(text: str) -> list[int]:
    "Lines that write JSON by Python's own means."
    nodes = list(ast.walk(ast.parse(text)))
    calls = [n.lineno for n in nodes if isinstance(n, ast.Attribute) and n.attr in ("dump", "dumps", "JSONEncoder") and "json" in ast.unparse(n.value)]
    return calls + [n.lineno for n in nodes if isinstance(n, ast.ImportFrom) and n.module == "json" and {a.name for a in n.names} - {"loads", "load"}]


def test_everything_is_written_by_one_function():
    paths = [p for p in (REPOSITORY/"lepton_bench").rglob("*.py") if p.name != "strict_json.py"]
    found = {p.relative_to(REPOSITORY/"lepton_bench").as_posix(): lines for p in paths if (lines := bare(p.read_text()))}
    assert found.keys() == PRIVATE, f"write JSON with lepton_bench.core.strict_json.dump_json: {found}"


def test_the_check_finds_them():
    assert bare("import json\njson.dumps(1)") == [2] and bare("from json import dumps as d") == [1]
    assert not bare("import pickle, json\npickle.dumps(1), json.loads('1')")


@pytest.fixture(scope="module")
def alloc():
    os.environ["LEPTON_BENCH_SIMULATED"] = "2"
    with lb.allocate(1, name="strict", timeout=math.inf) as found: yield found
    del os.environ["LEPTON_BENCH_SIMULATED"]


@pytest.fixture(scope="module")
def run(alloc):
    def train(lr, low, none, name, kind, path):
        import lepton_bench as lb
        lb.log(step=0, loss=lr, acc=none)
        lb.progress(lr, none)
        for step, score in enumerate([none, .5, lr, -lr]): lb.save_checkpoint({"a": 1}, step, keep_last=1, keep_best=2, score=score)
        return [lr, low, none, name, kind, path]
    run = alloc.options(stall_after=math.inf).launch(train, **GIVEN)
    assert same(run.result(60), list(GIVEN.values()))
    return run


def test_a_function(alloc, run):
    record, launched, file = by_node(run.directory/"run.json", launch_path(run.directory), allocations_directory()/"strict.json")
    assert record["parameters"] == launched["parameters"] == {"lr": "Infinity", "low": "-Infinity", "none": "NaN", "name": "\\NaN", "kind": "\\-Infinity",
                                                              "path": "\\\\Infinity"}
    assert record["extra"]["values"] == {"loss": "inf", "acc": "nan"} and file["name"] == "strict"
    header, _ = what_was_launched(run.directory)
    assert same(header["parameters"], GIVEN) and header["options"]["stall_after"] == math.inf and "words" not in header
    assert same(lb.get_run(run.id).record.parameters, GIVEN)
    assert "name='NaN', kind='-Infinity'" in run.record.arguments


def test_a_launch_of_an_older_version(run, tmp_path):
    "It had bare words, and texts as they are."
    (tmp_path/"source").mkdir()
    header, payload = what_was_launched(run.directory)
    (tmp_path/"source"/"launch.json").write_text(json.dumps(header))
    (tmp_path/"source"/"payload.pkl").write_bytes(payload)
    assert same(what_was_launched(tmp_path)[0]["parameters"], GIVEN)


def test_scores_of_checkpoints(run):
    kept = {read_manifest(p)["step"]: read_manifest(p)["score"] for p in list_checkpoints(run.directory)}
    assert kept == {1: .5, 2: math.inf, 3: -math.inf}, "the two best ones, and the last; NaN is none of the best"
    by_node(*((p/"manifest.json") for p in list_checkpoints(run.directory)))


CELLS = ("lr = 1.\nname = ''", "import lepton_bench as lb\nlb.record('loss', lr)\nlb.record('name', name)\nlb.record('type', type(name).__name__)\nlr, name")


def check_executed(executed: Path, folder: Path) -> None:
    "A headless notebook that was given infinity, and a text that looks like it."
    text = read_text(executed)
    assert "lr = float('inf')" in text and 'name = "Infinity"' in text and "(inf, 'Infinity')" in text
    notebook, *_ = by_node(executed, folder/"run.json", *(folder/"source").glob("*.json"))
    assert notebook["metadata"]["papermill"]["parameters"] == {"lr": "Infinity", "name": "\\Infinity"}
    assert same(read_run(folder).parameters, {"lr": math.inf, "name": "Infinity"})
    by_node(*(folder/"values.jsonl").read_text().splitlines())
    assert read_recorded(folder) == {"loss": "inf", "name": "Infinity", "type": "str"}


def test_a_launched_notebook(alloc, tmp_path):
    run = alloc.launch(write_notebook(tmp_path/"odd.ipynb", *CELLS, kernel="lepton"), lr=math.inf, name="Infinity")
    assert run.result(60) == {"loss": "inf", "name": "Infinity", "type": "str"}
    check_executed(Path(run.record.extra["output"]), run.directory)
    assert same(what_was_launched(run.directory)[0]["args"], {"lr": math.inf, "name": "Infinity"})


def test_papermill(tmp_path):
    notebook, executed = write_notebook(tmp_path/"odd.ipynb", *CELLS, kernel="lepton"), tmp_path/"done.ipynb"
    done = subprocess.run([sys.executable, "-m", "papermill", str(notebook), str(executed), "--engine", "lepton", "-p", "lr", "inf", "-r", "name", "Infinity"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = next(r for r in lb.runs() if r.record.extra.get("output") == str(executed))
    check_executed(executed, run.directory)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    notebook = write_notebook(tmp_path_factory.mktemp("sweep")/"odd.ipynb", *CELLS, kernel="lepton")
    found = lb.sweep(notebook, {"lr": [math.inf, 1.], "name": ["Infinity"]}, devices_each=0, parallel=1, timeout=math.inf, cell_timeout=math.inf)
    assert found.wait(90).status == "done", found.logs()
    return found


def test_a_sweep(sweep):
    plan, _ = by_node(sweep.directory/"sweep.json", sweep.directory/"run.json")
    assert plan["sets"][0]["parameters"] == {"lr": "Infinity", "name": "\\Infinity"} and plan["timeout"] is None
    first, second = read_plan(sweep.directory).sets
    assert same([first.parameters, second.parameters], [{"lr": math.inf, "name": "Infinity"}, {"lr": 1., "name": "Infinity"}])
    check_executed(Path(sweep.plan.output)/first.output, runs_directory()/first.run)
    again = sweep.resume()
    assert again.wait(60).status == "done" and [s.run for s in again.sets] == [first.run, second.run], "nothing is run twice"


def test_the_shell(sweep, run):
    command = [sys.executable, "-m", "lepton_bench"]
    texts = [subprocess.run([*command, word, "--json"], capture_output=True, text=True, check=True).stdout for word in ("runs", "allocations", "devices")]
    assert {run.id, sweep.id} <= {row["id"] for row in by_node(*texts)[0]}


def test_the_server(place, sweep, run):
    with JupyterProcess(place) as server:
        def fetch(path: str) -> str:
            address = f"http://127.0.0.1:{server.port}{server.base_url}lepton-bench/{path}"
            request = urllib.request.Request(address, headers={"Authorization": f"token {server.token}"})
            with urllib.request.urlopen(request, timeout=60) as answer: return answer.read().decode()
        notebook = write_notebook(place.root/"form.ipynb", *CELLS)
        by_node(fetch("api/status"), fetch(f"api/runs/{run.id}/source"), fetch(f"api/notebooks/parameters?path={notebook.name}"))
        texts = list[str]()
        with server.page("runs", f"run/{run.id}", f"run/{sweep.id}") as page:
            receive = page.socket.recv
            def kept() -> str:
                texts.append(receive())
                return texts[-1]
            page.socket.recv = kept
            page.until(lambda: all(page.tables.get(name) for name in ("runs", f"run/{run.id}", f"run/{sweep.id}")), 20)
    by_node(*texts)
    assert any('"lr":"Infinity"' in text and '"loss":"inf"' in text for text in texts), texts
    assert not server.problems()
