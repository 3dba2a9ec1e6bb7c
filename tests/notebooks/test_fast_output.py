"""Cells that put out much, and fast: nothing is lost, the notebook says where it was cut, memory stays bounded."""
import json
from pathlib import Path

import nbformat
import pytest
from support.headless_notebooks import write_notebook
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from lepton_bench.api.runs import get_run
from lepton_bench.store.runs import list_runs

LINES = 20_000  # lost before, at about 0.1 ms each
MANY = 4000


def execute(folder: Path, *cells: str, **options) -> tuple[list, dict, str]:
    "Each cell's outputs, the notebook's metadata, the run's log."
    path, output = write_notebook(folder/"loud.ipynb", *cells, parameters=False, kernel="lepton"), folder/"out.ipynb"
    try: execute_notebook(str(path), str(output), engine_name="lepton", progress_bar=False, cwd=folder, **options)
    except PapermillExecutionError: pass
    found = nbformat.read(output, as_version=4)
    run = next(r for r in list_runs() if r.name == "loud")
    return [c.outputs for c in found.cells if c.cell_type == "code"], found.metadata, get_run(run.id).logs()


def text(outputs: list, name: str = "stdout") -> str: return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == name)


def test_nothing_is_lost(tmp_path):
    (flushed, logged, both, threads, shell, cleared), _, log = execute(
        tmp_path,
        f"for i in range({LINES}): print('line', i, flush=True)",
        f"import logging\nlogging.basicConfig(level=20)\nfor i in range({MANY}): logging.info('said %d', i)",
        "import sys\nfor i in range(1000):\n    print('o', i, flush=True)\n    print('e', i, file=sys.stderr, flush=True)",
        "from threading import Thread\ndef work(n):\n    for i in range(1000): print('thread ' + str(n) + ' ' + str(i) + '\\n', end='', flush=True)\n"
        "all = [Thread(target=work, args=(n,)) for n in range(4)]\n[t.start() for t in all]; [t.join() for t in all];",
        "!seq 1 30000",
        "from IPython.display import clear_output\nfor i in range(2000):\n    clear_output(wait=True)\n    print('now', i, flush=True)")
    assert text(flushed) == "".join(f"line {i}\n" for i in range(LINES)) and len(flushed) < 10
    assert text(logged, "stderr") == "".join(f"INFO:root:said {i}\n" for i in range(MANY))
    assert "".join(o.text for o in both) == "".join(f"o {i}\ne {i}\n" for i in range(1000)), "the order of the two streams"
    assert sorted(text(threads).split("\n")) == sorted(["", *(f"thread {n} {i}" for n in range(4) for i in range(1000))])
    assert text(shell).split() == [str(i) for i in range(1, 30001)]
    assert text(cleared) == "now 1999\n"
    assert all(f"line {i}\n" in log for i in (0, LINES - 1)) and log.count("said ") == MANY and "now 7\n" in log


def test_displays_and_widgets(tmp_path):
    (updated, shown, slider, area), metadata, log = execute(
        tmp_path,
        f"handle = display('start', display_id=True)\nfor i in range({MANY}): handle.update(i)",
        f"for i in range({MANY}): display(i)",
        f"import ipywidgets\nslider = ipywidgets.IntText()\nfor i in range({MANY}): slider.value = i\nslider",
        "area = ipywidgets.Output()\ndisplay(area)\nwith area:\n    for i in range(2000): print('inside', i, flush=True)")
    states = metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    assert [o.data["text/plain"] for o in updated] == [str(MANY - 1)] and [o.data["text/plain"] for o in shown] == [str(i) for i in range(MANY)]
    assert next(s["state"]["value"] for s in states if s["model_name"] == "IntTextModel") == MANY - 1 and len(slider) == 1
    assert "".join(o["text"] for o in next(s["state"]["outputs"] for s in states if s["model_name"] == "OutputModel")) == "".join(
        f"inside {i}\n" for i in range(2000))
    assert len(area) == 1 and "inside 1999" in log


def test_a_cell_that_prints_for_ever_is_cut(tmp_path, monkeypatch):
    "The notebook keeps what the setting allows and says so; the kernel does not hold what nobody has read yet."
    monkeypatch.setenv("LEPTON_BENCH_CELL_OUTPUT", "200000")
    monkeypatch.setenv("LEPTON_BENCH_LOG_CAP", "1000000")
    (loud, quiet, failed), _, log = execute(
        tmp_path,
        "import resource\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nfor i in range(4000): print('x'*20_000)\nprint('the end')",
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)//1024)",
        "print('y'*300_000, flush=True)\nraise ValueError('after all')")
    assert "more than 0.2 MB (setting cell_output)" in text(loud, "stderr") and "rank-0.log" in text(loud, "stderr")
    assert 100_000 < len(text(loud)) <= 200_000 and "the end" in log
    assert int(text(quiet)) < 70, "MB that the kernel has grown by while it printed 80"
    assert failed[-1].ename == "ValueError" and 100_000 < len(text(failed)) <= 200_000
    run = next(r for r in list_runs() if r.name == "loud")
    assert (get_run(run.id).directory/"logs"/"rank-0.log").stat().st_blocks*512 < 5_000_000


def test_output_before_a_crash(tmp_path):
    """What a kernel still holds when it dies is what ZeroMQ holds for its one reader: as many messages as the kernel's own socket says, since a full queue
    makes the kernel wait, and one batch that ZeroMQ has taken out to send (8192 bytes, `out_batch_size` in its sources; a kernel's message has over 200)."""
    (held, loud), _, _ = execute(
        tmp_path, "print(get_ipython().kernel.iopub_thread.socket.sndhwm)",
        f"import os\nfor i in range({MANY}): print('line', i, flush=True)\nopen('/proc/self/fd/2', 'w').close()\nos._exit(3)")
    assert loud[-1].ename == "DeadKernelError" and "exit" in loud[-1].evalue
    lines, most = text(loud).splitlines(), int(text(held)) + 8192//200
    assert 0 < most < MANY and lines == [f"line {i}" for i in range(len(lines))] and len(lines) >= MANY - most


def test_a_time_out_that_is_not_ours(tmp_path):
    "A kernel that answers and never becomes idle: said as it is."
    (cell,), _, _ = execute(tmp_path, "get_ipython().kernel._publish_status = lambda *args, **options: None", iopub_timeout=1)
    assert cell[-1].ename == "OutputsMissing" and "for 1 s" in cell[-1].evalue


@pytest.mark.parametrize("forked", [True, False])
def test_a_sweep_and_a_stock_kernel(tmp_path, monkeypatch, forked):
    import lepton_bench as lb
    monkeypatch.setenv("LEPTON_BENCH_FORKSERVER", str(int(forked)))
    notebook = write_notebook(tmp_path/"trial.ipynb", "x = 1", f"for i in range({MANY}): print('line', i, flush=True)", kernel="lepton")
    sweep = lb.sweep(notebook, {"x": [1]}, devices_each=0)
    assert sweep.wait(90).status == "done"
    cells = json.loads((tmp_path/"trial-sweep"/sweep.sets[0].output).read_text())["cells"]
    assert "".join("".join(o["text"]) for o in cells[-1]["outputs"]).count("\n") == MANY
