"""In one live kernel: what notebooks define, where output goes, repeated cells, restarts, two notebooks at once. (The main path: test_kernel_under_jupyter.)"""
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live_kernel import Kernel
from support.waiting import until

import lepton_bench as lb
from lepton_bench.processes.identity import ProcessId
from lepton_bench.resources.leases import lease_directory

SETUP = "import os, sys, time, torch\nimport lepton_bench as lb\nalloc = lb.allocate(2, name='notebook')"


pytestmark = pytest.mark.simulated(2)


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    kernel = Kernel(env={"LEPTON_BENCH_SIMULATED": "2"})
    try:
        kernel.run(SETUP)
        yield kernel
        kernel.run("alloc.release()")
    finally: kernel.close()


@pytest.fixture
def kernel(shared) -> Kernel:
    "The shared kernel with its allocation idle."
    until(lambda: shared.value("alloc.info['state']") == "idle", what="an idle allocation")
    return shared


def shown(message: dict) -> str: return message["content"]["data"]["text/plain"]


def launching_cell(kernel: Kernel) -> str:
    "The display of the cell that was just run."
    (found,) = [m for m in kernel.messages if m["msg_type"] == "display_data"]
    return found["content"]["transient"]["display_id"]


def updates(kernel: Kernel, display: str, enough, timeout: float = 30.) -> list[dict]:
    "Updates of a display as a front end receives them, without running any cell, until one is `enough`."
    found: list[dict] = []
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try: message = kernel.client.get_iopub_msg(timeout=1)
        except Exception as e:  # queue.Empty
            if type(e).__name__ != "Empty": raise
            continue
        assert message["msg_type"] in ("status", "update_display_data", "execute_input", "comm_msg", "comm_open"), f"stray output: {message['content']}"
        if message["msg_type"] == "update_display_data" and message["content"]["transient"]["display_id"] == display:
            found.append(message)
            if enough(shown(message)): return found
    raise AssertionError(f"the display never said it; last:\n{shown(found[-1]) if found else 'nothing'}")


# --- what travels ---------------------------------------------------------------------------------

def test_all_that_a_notebook_can_define_travels_both_ways(kernel):
    kernel.run("""
import dataclasses, enum, functools
class Colour(enum.Enum): RED = 1
@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    colour: Colour
class Base:
    def area(self): return 1
class Square(Base):
    def area(self): return super().area() + helper(3)
def helper(n): return n * FACTOR
FACTOR = 7
def doubled(f):
    @functools.wraps(f)
    def inner(*a): return 2 * f(*a)
    return inner
@doubled
def decorated(n): return helper(n)
def counter():
    n = 0
    def count():
        nonlocal n
        n += 1
        return n
    return count
count = counter(); count()
def all_of_it(batch):
    import torch.distributed as dist
    return {"batch": Batch(batch.x + dist.get_rank(), batch.colour), "square": Square(), "area": Square().area(), "decorated": decorated(1),
            "count": count(), "big": torch.arange(300_000)}
first, second = alloc.launch(all_of_it, Batch(torch.zeros(2), Colour.RED)).results(60)
""")
    assert kernel.value("[type(first['batch']) is Batch, first['batch'].colour is Colour.RED, isinstance(first['square'], Base)]") == [True] * 3
    values = kernel.value("[second['batch'].x.tolist(), first['square'].area(), first['area'], first['decorated'], first['count'], int(first['big'].sum())]")
    assert values == [[1, 1], 22, 22, 14, 2, 44999850000]


def test_a_cell_that_is_changed_and_run_again_counts(kernel):
    cell = """
class Model:
    def answer(self): return {}
def use(): return Model(), Model().answer(), GLOBAL
GLOBAL = {}
model, answer, seen = alloc.launch(use).result(30)"""
    for n in (1, 2, 3):
        kernel.run(cell.format(n, n * 10))
        assert kernel.value("[type(model) is Model, model.answer(), answer, seen]") == [True, n, n, n * 10]


def test_an_error_of_the_notebooks_own_class_and_the_line_it_was_raised_in(kernel):
    kernel.run("class TooHot(Exception): pass\n\ndef inner(x):\n    raise TooHot(x)  # inner line")
    kernel.run("def outer():\n    y = 40\n    inner(y + 2)  # outer line")
    text = kernel.run("alloc.options(output=False).launch(outer).result(30)", check=False)
    assert "TooHot: 42" in text and "# inner line" in text and "# outer line" in text and "RunError" in text
    cells = re.findall(r"Cell In\[(\d+)\], line (\d)", text)
    assert ("4" in {line for _, line in cells}) and len({n for n, _ in cells}) == 2, text
    assert "site-packages" not in text and "lepton_bench/" not in text.split("RunError", 1)[1], f"frames of ours help nobody:\n{text}"


# --- output ---------------------------------------------------------------------------------------

def test_output_comes_while_no_cell_runs_and_stays_out_of_other_cells(kernel):
    kernel.run("""
def talk():
    import torch.distributed as dist
    for i in range(20):
        print('step', i)
        if i % 7 == 0: print('I am', dist.get_rank())
        time.sleep(.05)
run = alloc.launch(talk)""")
    display = launching_cell(kernel)
    found = updates(kernel, display, lambda text: "step 9" in text)
    other = kernel.run("time.sleep(.3); print('mine')")
    assert other == "mine\n", "a cell beside the run shows its own output only"
    found += updates(kernel, display, lambda text: "is done" in text)
    lines = shown(found[-1]).splitlines()
    assert lines[:-1] == [x for i in range(20) for x in (f"[0-1] step {i}", *([f"[{r}] I am {r}" for r in (0, 1)] if i % 7 == 0 else []))]
    assert len(found) > 3, "output comes as it is printed, not at the end"


def test_a_failure_in_the_background_shows_without_anybody_waiting(kernel):
    kernel.run("def bad():\n    time.sleep(.3)\n    raise ValueError('bad batch')  # the person wrote this\nrun = alloc.launch(bad)")
    text = shown(updates(kernel, launching_cell(kernel), lambda text: "failed" in text)[-1])
    assert "ValueError: bad batch" in text and "# the person wrote this" in text and "rank" in text


def test_progress_bars_are_one_line_and_floods_are_cut(kernel):
    kernel.run("""def bars():
    from tqdm import tqdm
    for _ in tqdm(range(50), mininterval=0, desc="epoch"): time.sleep(.005)
    for i in range(5000): print("flood", i)
run = alloc.launch(bars)""")
    found = updates(kernel, launching_cell(kernel), lambda text: "is done" in text)
    assert all(len(shown(m).splitlines()) < 110 for m in found) and "more lines before these: run.logs()" in shown(found[-1])
    assert shown(found[-1]).splitlines()[-2] == "[0-1] flood 4999"
    assert all(sum("epoch" in line for line in shown(m).splitlines()) <= 2 for m in found), "one line per rank at most"
    assert kernel.value("[len(run.logs().splitlines()) < 5010, len(run.logs(rank=1).splitlines()) < 5005]") == [True, True]


def test_a_run_that_prints_without_end_leaves_the_kernel_free(kernel):
    kernel.run("def flood():\n    while True: print('x' * 60, time.time())\nrun = alloc.launch(flood)")
    until(lambda: kernel.value("run.status") == "running")
    kernel.round_trip()
    assert kernel.value("run.status") == "running", "cells were answered beside it"
    kernel.run("run.stop()")


# --- repeating and interrupting -------------------------------------------------------------------

def test_the_allocate_cell_again_and_after_del(kernel):
    kernel.run("del alloc\nalloc = lb.allocate(2, name='notebook')")
    assert kernel.value("[a['name'] for a in lb.allocations()]") == ["notebook"]
    assert "lb.attach" in kernel.run("try: lb.allocate(1, name='notebook')\nexcept lb.BenchError as e: print(e)"), "another shape under the same name"


def test_folder_environment_and_modules_are_the_cells(kernel, tmp_path):
    (tmp_path/"beside_the_notebook.py").write_text("VALUE = 1\n")
    kernel.run(f"""
where = os.getcwd()
%cd {tmp_path}
%env TASTE=salt
sys.path.insert(0, '')
def look():
    import beside_the_notebook as m
    return [m.VALUE, os.getcwd(), os.environ.get('TASTE')]""")
    assert kernel.value("alloc.launch(look).results(30)") == [[1, str(tmp_path), "salt"]] * 2
    (tmp_path/"beside_the_notebook.py").write_text("VALUE = 22\n")
    kernel.run("del os.environ['TASTE']")
    assert kernel.value("alloc.launch(look).results(30)") == [[22, str(tmp_path), None]] * 2
    kernel.run("%cd {where}\nsys.path.remove('')")


def test_interrupting_a_kernel_never_reaches_the_ranks(kernel):
    kernel.run("run = alloc.launch(time.sleep, 1000)")
    until(lambda: kernel.value("run.status") == "running")

    def inside(number: str) -> bool:
        message = kernel.client.get_iopub_msg(timeout=20)
        return message["parent_header"].get("msg_id") == number and "inside" in message["content"].get("text", "")
    for cell in ("run.result()", "time.sleep(1000)", "run.wait(timeout=500)"):
        number = kernel.client.execute(f"print('inside', flush=True); {cell}")
        until(lambda number=number: inside(number))
        kernel.interrupt()
        reply = kernel.client.get_shell_msg(timeout=30)
        while reply["parent_header"]["msg_id"] != number: reply = kernel.client.get_shell_msg(timeout=30)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert kernel.value("run.status") == "running"
    said = kernel.run("print(run.stop())")
    assert "stopped" in said and kernel.value("alloc.launch(len, 'ab').results(30)") == [2, 2]


# --- more than one kernel -------------------------------------------------------------------------

def test_a_second_notebook_waits_says_for_whom_and_gets_its_turn(kernel, new_kernel):
    second = new_kernel()
    second.run("import lepton_bench as lb")
    kernel.run("run = alloc.launch(time.sleep, 1000)")
    number = second.client.execute("alloc = lb.allocate(2, name='next')")
    text: list[str] = []

    def says(words: str) -> bool:
        message = second.client.get_iopub_msg(timeout=20)
        if message["msg_type"] in ("display_data", "update_display_data"): text.append(shown(message))
        return any(words in t for t in text)
    until(lambda: says("held: sim-0"), what="who holds the devices")
    assert "notebook" in text[-1], "by its allocation's name"
    kernel.run("alloc.release()")
    until(lambda: says("is yours"), what="its turn")
    reply = second.client.get_shell_msg(timeout=30)
    while reply["parent_header"]["msg_id"] != number: reply = second.client.get_shell_msg(timeout=30)
    assert reply["content"]["status"] == "ok"
    assert second.value("alloc.launch(len, 'abc').results(60)") == [3, 3]
    second.run("alloc.release()")
    assert not list(lease_directory().glob("*.ticket.*")), "no ticket stays"
    kernel.run("alloc = lb.allocate(2, name='notebook')")


def test_a_second_notebook_waits_for_an_idle_one_too(kernel, new_kernel):
    "Idle between two cells is not free: only what the asker itself holds is refused at once."
    second = new_kernel()
    said = second.run("import lepton_bench as lb\ntry: lb.allocate(2, name='patient', timeout=1)\nexcept lb.BenchError as e: print(type(e).__name__)")
    assert "AllocationTimeout" in said and "held: sim-0" in [shown(m) for m in second.messages if m["msg_type"] == "update_display_data"][-1]
    assert kernel.value("alloc.info['state']") == "idle"


def test_a_restarted_kernel_attaches_and_its_output_is_live_again(new_kernel, kernel):
    kernel.run("alloc.release()")
    mine = new_kernel()
    mine.run(SETUP.replace("notebook", "restarted"))
    mine.run("def slow():\n    for i in range(1000): lb.log(step=i, i=i); print('line', i); time.sleep(.01)\nrun = alloc.launch(slow)")
    run = lb.get_run(mine.value("run.id"))
    until(lambda: run.metrics().num_rows > 20)
    before = ProcessId.of(mine.pid)
    mine.manager.restart_kernel(now=False)
    mine.client.wait_for_ready(timeout=60)
    assert not before.alive() and run.status == "running"
    mine.run("import time, os\nimport lepton_bench as lb")
    refused = mine.run("try: lb.allocate(2, name='restarted')\nexcept lb.BenchError as e: print(e)")
    assert "lb.attach('restarted')" in refused, "the cell of before the restart says what to do now"
    mine.run(f"alloc = lb.attach('restarted')\nrun = lb.get_run({run.id!r})")
    assert mine.value("[lb.allocate(2, name='restarted') is alloc, run.status, 'line 1' in run.logs(rank=1)]") == [True, "running", True]
    assert mine.value("run.stop().status") == "stopped" and mine.value("alloc.launch(len, 'ab').results(60)") == [2, 2]
    steps = [p["step"] for p in run.metrics().to_pylist() if p["rank"] == 0]
    assert steps == list(range(len(steps)))
    mine.run("alloc.release()")
    kernel.run("alloc = lb.allocate(2, name='notebook')")


def test_a_headless_notebook_keeps_what_its_ranks_printed(tmp_path: Path, kernel):
    import nbformat
    from nbclient import NotebookClient
    kernel.run("alloc.release()")
    cells = ["import lepton_bench as lb\nalloc = lb.allocate(2, name='headless')",
             "def train():\n    for i in range(3): lb.log(step=i, loss=1/(i + 1)); print('epoch', i)\n    return 5\nrun = alloc.launch(train)",
             "run.result()", "run.plot()", "alloc.release()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [c["outputs"] for c in notebook.cells]
    (printed,) = outputs[1]
    assert printed["data"]["text/plain"].splitlines()[:3] == [f"[0-1] epoch {i}" for i in range(3)] and "is done" in printed["data"]["text/plain"]
    assert outputs[2][0]["data"]["text/plain"] == "5" and "image/png" in outputs[3][0]["data"]
    kernel.run("alloc = lb.allocate(2, name='notebook')")
