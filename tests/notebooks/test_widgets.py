"""Forms of real functions, and the widgets in a live kernel. (tests/e2e/test_cell_widgets.py has them in a browser.)"""
import enum
import json
import math
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from support.live_kernel import Kernel

from hypothesis import given, settings
from hypothesis import strategies as some

import lepton_bench as lb
from lepton_bench.errors import BenchError, LaunchError
from lepton_bench.jupyter.forms import FormError, arguments, call_source, filled_in, form_fields, launchable, value_source


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


def train(epochs: int,  # passes over the data
          lr: float = .1,  # of the optimizer
          optimizer: Literal["sgd", "adam"] = "sgd",
          colour: Colour | None = None,
          data: Path | str = Path("data"),
          *, widths: list[int] = [32, 64],  # noqa: B006
          amp: bool = False, name: str | None = None, note: str = "a", early: bool | None = None):
    "Trains it."


class Model: ...


def odd(a, b, /, c=3, *rest, model: Model, later: "Nowhere" = None, deep: Annotated[typing.Optional[float], "x"] = 2, **more): ...  # noqa: F821, UP045


def by_name(function, namespace=None): return {f["name"]: f for f in form_fields(function, namespace)}


def problem(function, namespace=None, **values):
    with pytest.raises(FormError) as e: call_source("f", form_fields(function), values, namespace)
    return e.value.problems


# --- fields -----------------------------------------------------------------------------------------

def test_a_form_says_what_the_signature_says():
    fields = by_name(train)
    assert {n: f["kind"] for n, f in fields.items()} == {
        "epochs": "int", "lr": "float", "optimizer": "choice", "colour": "choice", "data": "str", "widths": "literal", "amp": "bool", "name": "str",
        "note": "str", "early": "choice"}
    assert fields["epochs"]["required"] and fields["epochs"]["help"] == "passes over the data" and fields["epochs"]["annotation"] == "int"
    assert fields["colour"]["choices"] == ["Colour.RED", "Colour.BLUE", "None"] and fields["early"]["choices"] == ["True", "False", "None"]
    assert fields["data"]["default"] == "'data'" and fields["name"]["default"] == "None"
    assert json.loads(json.dumps(list(fields.values()))) == list(fields.values())


def test_odd_signatures_have_a_form_too():
    fields = by_name(odd)
    assert list(fields) == ["a", "b", "c", "model", "later", "deep"], "*rest and **more have no field"
    assert fields["a"]["positional"] and fields["c"]["kind"] == "int" and fields["model"]["kind"] == "literal" and fields["deep"]["default"] == "2"
    assert by_name(lambda x, y=Model(): 0)["y"]["default"] == "", "a default that cannot be written"  # noqa: B008
    assert fields["deep"]["kind"] == "float", "one annotation that leads nowhere does not spoil the others"
    with pytest.raises(LaunchError): form_fields(3)


def test_the_call_has_only_what_was_chosen_and_means_what_was_typed():
    fields = form_fields(train, globals())
    typed = {"epochs": " 5 ", "lr": "0.1", "optimizer": "adam", "colour": "RED", "data": "my data", "widths": "[1]", "amp": "true", "name": "", "note": ""}
    assert call_source("train", fields, typed) == (
        "train, epochs=5, optimizer='adam', colour=Colour.RED, data=Path('my data'), widths=[1], amp=True, note=''")
    args, kwargs = arguments(fields, typed, globals())
    assert args == [] and kwargs == {"epochs": 5, "optimizer": "adam", "colour": Colour.RED, "data": Path("my data"), "widths": [1], "amp": True, "note": ""}
    assert call_source("train", fields, {"epochs": 5, "lr": .1, "data": "data", "widths": "[32,64]", "amp": False, "colour": "None"}) == "train, epochs=5"
    assert call_source("odd", form_fields(odd), {"a": "1", "b": "'x'", "c": "4", "model": "net"}) == "odd, 1, 'x', c=4, model=net"


def test_what_is_wrong_is_said_at_its_field():
    assert problem(train) == {"epochs": "is needed"}
    found = problem(train, epochs="2.5", lr="fast", optimizer="lion", widths="(1,)", amp="maybe", speed=1)
    assert found["epochs"] == "'2.5' is not a whole number" and found["lr"] == "'fast' is not a number" and "'sgd', 'adam'" in found["optimizer"]
    assert "a list is asked for" in found["widths"] and "neither True nor False" in found["amp"] and found["speed"] == "there is no argument speed"
    found = problem(odd, {}, a="hello", b="hello you", model="[" * 5000)
    assert "Text goes in quotes: 'hello'" in found["a"] and "not Python" in found["b"] and "not Python" in found["model"]
    assert "is not a whole number" in problem(train, epochs="inf")["epochs"]


def test_no_text_becomes_a_call_that_does_something_else():
    "A form runs nothing: what is typed is a literal or a name, never code."
    fields = form_fields(odd)
    for text in ("__import__('os').system('x')", "print()", "1); print(2", "x := 3", "lambda: 1", "model.x()", "[i for i in y]"):
        assert "a" in filled_in(fields, {"a": text, "b": "1", "model": "1"})[1], text


@settings(max_examples=60, deadline=None)
@given(some.integers(), some.floats(allow_nan=False), some.text(), some.recursive(some.none() | some.booleans() | some.integers() | some.text(),
                                                                                some.lists, max_leaves=5))
def test_any_value_comes_through(whole, number, text, anything):
    def f(whole: int, number: float, text: str, anything: Any): ...
    values = {"whole": str(whole), "number": repr(number), "text": text, "anything": repr(anything)}
    if not text: return
    args, kwargs = arguments(form_fields(f), values, {}) if text.strip() else ([], {})
    if kwargs: assert kwargs == {"whole": whole, "number": number, "text": text, "anything": anything} and type(kwargs["whole"]) is int


@given(some.text(), some.sampled_from(["epochs", "lr", "optimizer", "colour", "widths", "amp", "data"]))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_value_or_a_sentence(text, name):
    try: source = value_source(by_name(train)[name], text, {})
    except ValueError as e: assert str(e)
    else: assert source is None or eval(source, {"Colour": Colour, "Path": Path, "math": math}) is not Ellipsis


# --- which functions --------------------------------------------------------------------------------

def test_the_notebooks_functions_come_first_and_libraries_not_at_all(tmp_path, monkeypatch):
    (tmp_path/"my_training.py").write_text("def fit(n: int = 1): 'Fits.'\nasync def later(): ...\ndef _hidden(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_training
    import numpy
    import shutil
    space: dict[str, Any] = {"fit": my_training.fit, "copy": shutil.copy, "mean": numpy.mean, "later": my_training.later, "_hidden": my_training._hidden,
                             "np": numpy, "form_fields": form_fields, "alias": my_training.fit}
    exec("def train(epochs: int = 3):\n    'Trains.'\ndef helper(): ...\nsquare = lambda x: x\nclass Net: ...", {"__name__": "__main__"}, space)
    found = launchable(space)
    assert [(f["name"], f["module"]) for f in found] == [("train", "__main__"), ("helper", "__main__"), ("fit", "my_training")]
    assert found[0]["doc"] == "Trains." and found[2]["fields"][0]["default"] == "1" and json.dumps(found)
    del sys.modules["my_training"]
    assert launchable({}) == [] and launchable({"m": types.ModuleType("m")}) == []


# --- in a live kernel -------------------------------------------------------------------------------

SETUP = """import os, time
import lepton_bench as lb
from pathlib import Path
def click(widget, do, of="", **values): widget.page.hear({"do": do, "of": of, "values": values})
def text(widget): return __import__("re").sub(r"<[^>]*>", " ", widget.draw())
def until(condition, what="it", timeout=30):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition(): return
        time.sleep(.02)
    raise AssertionError(f"{what}: not within {timeout} s")
def train(epochs: int, lr: float = .1, stop: str = ""):
    for i in range(epochs):
        if stop and os.path.exists(stop): break
        lb.log(step=i, loss=1 / (i + 1))
        lb.progress(i + 1, epochs)
        if i % 10 == 0: print("epoch", i)
        time.sleep(.02)
    return lr
a = lb.widgets.Allocator()
"""
FREE = "\nfor x in lb.allocations(): lb.attach(x['name']).release()\na = lb.widgets.Allocator(); display(a)"


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    kernel = Kernel(env={"LEPTON_BENCH_SIMULATED": "3"})
    try:
        kernel.run(SETUP)
        yield kernel
    finally:
        try: kernel.run(FREE)
        finally: kernel.close()


@pytest.fixture
def kernel(shared) -> Kernel:
    "The shared kernel, with nothing allocated and an Allocator `a` that is shown."
    shared.run(FREE)
    return shared


def documents(kernel: Kernel) -> list[dict]:
    "What the last cell has put into the notebook."
    return [m["content"]["data"] for m in kernel.messages if m["msg_type"] in ("display_data", "update_display_data")]


def test_an_allocator_takes_shows_restarts_and_releases(kernel):
    assert all(set(d) == {"text/html", "text/plain"} for d in documents(kernel)), "no widget in the document"
    with pytest.raises(AssertionError, match="the button Allocate takes devices"): kernel.run("a.allocation")
    kernel.run("click(a, 'allocate', count='2', name='by-form'); click(a, 'allocate', count='1')  # the second click is none")
    kernel.run("until(lambda: not a.taking.waiting); assert not a.taking.error, a.taking.error")
    assert kernel.value("[a.allocation.name, a.allocation.count, len(lb.allocations())]") == ["by-form", 2, 1]
    assert kernel.value("lb.allocate(2, name='by-form') is a.allocation")
    assert "by-form" in kernel.value("text(a)") and "sim-0, sim-1" in kernel.value("a.still()") and "<form" not in kernel.value("a.still()")
    kernel.run("a.allocation.launch(lambda: 1).result(60)\nuntil(lambda: a.allocation.info['state'] == 'idle', 'the end of the run')\n"
               "until(lambda: not any(x['run'] for x in lb.allocations()), 'the file of the allocation, which the buttons look at')")
    kernel.run("old = a.allocation.info['ranks']; click(a, 'restart', 'by-form')")
    kernel.run("until(lambda: a.allocation.info['ranks'] not in ({}, old), 'fresh ranks')")
    kernel.run("click(a, 'release', 'by-form'); click(a, 'release', 'by-form'); until(lambda: not lb.allocations(), 'released')")
    kernel.run("until(lambda: not a.doing); assert not a.error and 'by-form' not in text(a), text(a)")


def test_what_cannot_be_had_is_said_in_the_widget(kernel):
    for values, words in (({"count": "9"}, "This host has 3 simulated"), ({"count": "two"}, "not a number of devices"), ({"count": "0"}, "at least 1"),
                          ({"count": "1", "memory": "lots"}, "not a size"), ({"count": "1", "kind": "tpu"}, "no device of kind"),
                          ({"count": "1", "name": "no name!"}, "is not a name"), ({"count": "1", "engine": "moon"}, "no engine")):
        kernel.run(f"click(a, 'allocate', **{values!r}); until(lambda: not a.taking.waiting)")
        assert words in kernel.value("text(a).replace('&#x27;', chr(39))"), values
        assert words in kernel.value("a.still().replace('&#x27;', chr(39))")
    assert kernel.value("lb.allocations()") == []
    kernel.run("click(a, 'allocate', count='1', name='mine'); until(lambda: not a.taking.waiting)")
    kernel.run("click(a, 'allocate', count='2', name='mine'); until(lambda: not a.taking.waiting)")
    assert "is in use by an allocation" in kernel.value("text(a)")
    kernel.run("click(a, 'nonsense'); click(a, 'release', 'nobody'); click(a, 'join', 'nobody'); until(lambda: not a.doing)")
    assert "gone, or in use by another notebook" in kernel.value("text(a)")


def test_waiting_says_who_is_ahead_and_can_be_cancelled(kernel, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "3")
    with lb.allocate(3, name="elsewhere"):
        kernel.run("click(a, 'allocate', count='2', name='later'); until(lambda: 'elsewhere' in a.taking.text, 'who holds them')")
        shown = kernel.value("text(a)")
        assert "waiting for 2 simulated devices: 0 of 3 free" in shown and "Cancel" in shown and "Allocate" not in shown
        kernel.run("click(a, 'cancel'); until(lambda: not a.taking.waiting); until(lambda: len(lb.allocations()) == 1, 'the ticket is gone')")
        assert "Allocate" in kernel.value("text(a)") and kernel.value("a.taking.error") == ""
        kernel.run("click(a, 'allocate', count='2', name='later'); until(lambda: 'elsewhere' in a.taking.text, 'who holds them')")
    kernel.run("until(lambda: not a.taking.waiting); assert a.allocation.name == 'later'")


def test_a_launcher_checks_launches_and_shows_the_run(kernel, tmp_path):
    stop = str(tmp_path/"stop")
    kernel.run("l = lb.widgets.Launcher(train)\nl")
    assert kernel.value("l.code()") == "alloc = lb.allocate(2)\nrun = alloc.launch(train, epochs=...)" and "no allocation" in kernel.value("text(l)")
    with pytest.raises(AssertionError, match="nothing is launched yet"): kernel.run("l.run")
    kernel.run("click(l, 'launch', epochs='3'); until(lambda: not l.launching)")
    assert "no allocation" in kernel.value("l.error")
    kernel.run("click(l, 'allocate', count='2'); until(lambda: not l.taking.waiting); click(l, 'launch', epochs='many', lr='')")
    assert "is not a whole number" in kernel.value("text(l)") and kernel.value("l.view is None") and kernel.value("l.error") == ""
    kernel.run(f"click(l, 'typed', epochs='1e5', stop={stop!r})")
    assert re.fullmatch(r"run = lb.attach\('[\w-]+'\).launch\(train, epochs=100000, stop='.*'\)", kernel.value("l.code()"))
    kernel.run(f"click(l, 'launch', epochs='1e5', stop={stop!r}); click(l, 'launch', epochs='1e5'); until(lambda: l.view)")
    kernel.run("until(lambda: 'epoch 0' in text(l) and 'step' in text(l), 'status and output'); alloc = a.allocation")
    assert kernel.value("[r.record.allocation for r in lb.runs(5)].count(alloc.name)") == 1
    assert kernel.value("l.code()").startswith("run = alloc.launch(train, epochs=100000")
    assert "Stop" in kernel.value("text(l)") and "data-plot" in kernel.value("l.draw()")
    kernel.run("click(a, 'release', alloc.name)")
    assert "a run goes on; release stops it" in kernel.value("text(a)") and kernel.value("l.run.status") == "running"
    kernel.run("click(a, 'leave', alloc.name); click(l, 'stop', l.run.id); click(l, 'stop', l.run.id); until(lambda: l.view.over, 'the end')")
    assert "was stopped" in kernel.value("text(l)") and kernel.value("len(l.still())") < 50_000 and not kernel.value("l.view.error")
    kernel.run("until(lambda: 'data:image/png' in l.page.stored, 'the picture in the notebook')")


def test_a_function_that_was_defined_again_is_launched_as_it_is_now(kernel):
    kernel.run("def f(n: int = 1): return n\nl = lb.widgets.Launcher(f); display(l)\nalloc = lb.allocate(1)")
    kernel.run("def f(n: int = 1, m: int = 5): return n + m")
    kernel.run("click(l, 'launch', n='2'); until(lambda: l.view and l.view.over, 'the end')")
    assert kernel.value("l.run.result()") == 7 and kernel.value("'\"m\"' in l.draw()")
    kernel.run("lock = __import__('threading').Lock()\ndef f(n: int = 1): return lock")
    kernel.run("click(l, 'launch', n='2'); until(lambda: l.error, 'what is wrong')")
    assert "cannot be pickled" in kernel.value("text(l)")
    kernel.run("def f(n: int = 1): raise ValueError('<so>')\nclick(l, 'launch', n='2'); until(lambda: l.view.over and 'failed' in l.view.words, 'it failed')")
    assert "ValueError: &lt;so&gt;" in kernel.value("l.draw()") and "&lt;so&gt;" in kernel.value("l.still()")


def test_a_monitor_of_a_run_that_goes_on_and_of_one_that_has_ended(kernel):
    kernel.run("alloc = lb.allocate(2); run = alloc.options(output=False).launch(train, 200)\nm = lb.widgets.Monitor(run.id); display(m)")
    assert "Stop" in kernel.value("text(m)") and kernel.value("m.page.widget is not None")
    kernel.run("reply, buffers = m.answer({'width': 300}); assert reply['kind'] == 'series'")
    kernel.run("until(lambda: m.view.series.poll() > 10, 'points')\nclick(m, 'kill', run.id)\nrun.wait(60);")
    last = kernel.value("m.page.handle.bundle")  # whoever was first, the wait or the thread that follows
    assert set(last) == {"text/html", "text/plain"} and "data:image/png" in last["text/html"] and len(last["text/html"]) < 50_000
    assert kernel.value("m.over and m.page.widget is None") and "was stopped" in last["text/plain"]
    kernel.run("n = __import__('threading').active_count()\nlb.widgets.Monitor(run)")
    (still,) = [m["content"]["data"] for m in kernel.messages if m["msg_type"] == "display_data"]
    assert "data:image/png" in still["text/html"] and "epoch 0" in still["text/html"] and "<button" not in still["text/html"]
    with pytest.raises(AssertionError, match="nothing|no run"): kernel.run("lb.widgets.Monitor('nothing')")
    kernel.run("__import__('shutil').rmtree(run.directory); m")


def test_in_vs_code_the_widget_is_displayed_until_it_ends(new_kernel):
    kernel = new_kernel(env={"LEPTON_BENCH_SIMULATED": "2", "VSCODE_PID": "1"})
    kernel.run(SETUP + "display(a)")
    (shown,) = documents(kernel)
    assert "application/vnd.jupyter.widget-view+json" in shown and "text/html" in shown and not kernel.value("a.page.widget.anchored")
    kernel.run("a.page.close()")
    assert set(documents(kernel)[-1]) == {"text/html", "text/plain"}


def test_a_batch_has_the_last_state_and_little_of_a_widget(tmp_path, place):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook
    cells = ["import os, time\nimport lepton_bench as lb\n" + SETUP[SETUP.index("def train"):], "a", "alloc = lb.allocate(2)\nlb.widgets.Launcher(train)",
             "run = alloc.launch(train, 60)\nlb.widgets.Monitor(run)", "run.wait(60)\nalloc.release()"]
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in cells]), tmp_path/"in.ipynb")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    notebook = nbformat.read(tmp_path/"out.ipynb", 4)
    data = [o["data"] for c in notebook.cells for o in c.outputs if o.output_type == "display_data"]
    monitor = next(d["text/html"] for d in data if "Monitor" in d["text/plain"])
    assert "data:image/png" in monitor and "is done in" in monitor and not any("widget-view" in mime for d in data for mime in d)
    assert (tmp_path/"out.ipynb").stat().st_size < 3 * 50_000 and len(monitor) < 50_000


def test_widgets_are_there_when_they_are_asked_for_and_cost_nothing_before():
    code = "import sys, lepton_bench as lb\nassert 'lepton_bench.jupyter' not in sys.modules and 'widgets' in lb.__all__ and 'widgets' in dir(lb)\n" \
           "lb.widgets.Allocator, lb.widgets.Launcher, lb.widgets.Monitor\nassert not {'torch', 'ipywidgets', 'anywidget'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 0, done.stderr
    with pytest.raises(BenchError): lb.widgets.Launcher(3)
