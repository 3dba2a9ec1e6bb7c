"""Stopping by hand: time to save, a word about who is waited for, and a second stop that kills, at every door."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from support.live_kernel import Kernel
from support.waiting import until

import lepton_bench as lb
from lepton_bench.server.actions import release_allocation, stop_run
from lepton_bench.display.progress import ProgressLine
from lepton_bench.settings import load_settings

BENCH = Path(sys.executable).with_name("lepton-bench")


@pytest.fixture(autouse=True)
def two_devices(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")
    monkeypatch.delenv("LEPTON_BENCH_STOP_GRACE")  # as users have it
    yield
    for found in lb.allocations(): lb.attach(found["name"]).release()


@pytest.fixture
def alloc(two_devices): return lb.allocate(2)


def saves(folder: str, seconds: float = 3.5, fails: bool = False) -> None:
    "Trains until it is interrupted; rank 0 then saves for longer than the two seconds of old, rank 1 is through or fails."
    rank = int(os.environ["RANK"])
    try:
        Path(folder, f"begun-{rank}").touch()
        while True: time.sleep(.02)
    except KeyboardInterrupt:
        if rank and fails: raise RuntimeError("the other one has gone") from None
        if rank == 0:
            time.sleep(seconds)
            lb.save_checkpoint({"weight": 1}, 5)
            Path(folder, "saved").touch()
        raise


def deaf(folder: str) -> None:
    while True:
        try:
            Path(folder, f"begun-{os.environ['RANK']}").touch()
            time.sleep(60)
        except KeyboardInterrupt: pass


def collects(folder: str) -> None:
    "Rank 0 leaves its loop at once, rank 1 is in a collective, where no interrupt reaches it."
    import torch
    import torch.distributed as dist
    Path(folder, f"begun-{dist.get_rank()}").touch()
    if dist.get_rank(): dist.all_reduce(torch.ones(1))
    while True: time.sleep(.02)


def begun(folder: Path, ranks: int = 2) -> None:
    until(lambda: all((folder/f"begun-{r}").exists() for r in range(ranks)), "the ranks' beginning", 60)


def test_the_default_leaves_thirty_seconds():
    assert load_settings(Path("/"))[0].stop_grace == 30


@pytest.mark.parametrize("fails", [False, True])
def test_a_rank_has_time_to_save_whatever_another_does(alloc, tmp_path, fails, capsys):
    run = alloc.launch(saves, str(tmp_path), fails=fails)
    begun(tmp_path)
    assert run.stop().status == "stopped"
    assert "waiting for rank 0; stopping it once more kills" in capsys.readouterr().err
    assert (tmp_path/"saved").exists() and list((run.directory/"checkpoints").glob("step-*"))


def test_release_leaves_that_time_too(alloc, tmp_path, capsys):
    run = alloc.launch(saves, str(tmp_path))
    begun(tmp_path)
    alloc.release()
    assert (tmp_path/"saved").exists() and run.status == "stopped" and "waiting for rank 0" in capsys.readouterr().err


def test_nobody_waits_for_a_rank_in_a_collective_with_one_that_is_through(alloc, tmp_path):
    run = alloc.launch(collects, str(tmp_path))
    begun(tmp_path)
    assert run.stop(timeout=15).status == "stopped"


def stops(run, alloc): run.stop()
def presses(run, alloc): stop_run(run.id)  # the button: JupyterLab's, a cell's
def types(run, alloc): subprocess.run([BENCH, "stop", run.id], check=True, capture_output=True, timeout=40)
def releases(run, alloc): alloc.release()
def clicks_release(run, alloc): release_allocation(alloc.name)
def restarts(run, alloc): alloc.restart()


@pytest.mark.parametrize("door", [stops, presses, types, releases, clicks_release, restarts])
def test_a_second_stop_kills_at_once(alloc, tmp_path, door, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_STOP_GRACE", "1000")  # of who waits; only a second stop can end it
    alloc.release()
    alloc = lb.allocate(2)
    run = alloc.launch(deaf, str(tmp_path))
    begun(tmp_path)
    first = threading.Thread(target=door, args=(run, alloc), daemon=True)
    first.start()
    until(lambda: alloc.info["stopping"] == [0, 1], "word of who is waited for", 20)
    assert "waiting for ranks 0, 1; stopping it once more kills" in ProgressLine(run.directory, 2).look(run.record).text
    door(run, alloc)
    first.join(40)
    assert not first.is_alive() and run.wait(20).status == "stopped"


def test_control_c_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_STOP_GRACE", "1000")
    (tmp_path/"deaf.py").write_text("import time\n"
                                    "while True:\n    try:\n        print('deaf now', flush=True)\n        time.sleep(60)\n"
                                    "    except KeyboardInterrupt: pass\n")
    process = subprocess.Popen([BENCH, "launch", "-n", "2", tmp_path/"deaf.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    until(lambda: "deaf now" in process.stdout.readline(), timeout=40)
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again kills" in process.stderr.readline()
    assert process.stderr.readline() == "waiting for ranks 0, 1; Ctrl-C again kills\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=40)
    assert process.returncode == 130, (out, err)


def test_leaving_a_with_by_an_exception(tmp_path):
    with pytest.raises(ZeroDivisionError), lb.allocate(2) as alloc:
        run = alloc.launch(saves, str(tmp_path))
        begun(tmp_path)
        raise ZeroDivisionError
    assert (tmp_path/"saved").exists() and run.status == "stopped"


def test_a_cell_on_ranks_is_interrupted_and_killed_the_second_time():
    kernel = Kernel(env={"LEPTON_BENCH_SIMULATED": "2", "LEPTON_BENCH_STOP_GRACE": "1000"})
    try:
        kernel.run("import os, time\nimport lepton_bench as lb\nalloc = lb.allocate(2)")
        kernel.run("%%ranks\nstarted = rank")
        text: list[str] = []
        code = "%%ranks\nimport time\nwhile True:\n    try:\n        print('deaf', flush=True)\n        time.sleep(60)\n    except KeyboardInterrupt: pass"
        worker = threading.Thread(target=lambda: text.append(kernel.run(code, check=False)))
        worker.start()
        log = lambda: "".join(p.read_text() for p in Path(os.environ["LEPTON_BENCH_HOME"]).glob("allocations/*/cells/logs/*"))  # noqa: E731
        until(lambda: log().count("deaf") >= 2, "the cell on both ranks", 40)
        kernel.manager.interrupt_kernel()
        until(lambda: any("waiting for ranks 0, 1" in str(m["content"]) for m in list(kernel.messages)), "who is waited for", 30)
        kernel.manager.interrupt_kernel()
        worker.join(60)
        assert not worker.is_alive() and "interrupting once more kills" in text[0]
        kernel.run("alloc.release()")
    finally: kernel.close()


NOTEBOOK = """import time, pathlib
folder = pathlib.Path({folder!r})
try:
    (folder/"begun-0").touch()
    while True: time.sleep(.02)
except KeyboardInterrupt:
    {what}
"""
SAVE = 'time.sleep(3)\n    (folder/"saved").touch()'
DEAF = '(folder/"heard").touch()\n    while True:\n        try: time.sleep(60)\n        except KeyboardInterrupt: pass'


def notebook(folder: Path, what: str) -> Path:
    cells = [NOTEBOOK.format(folder=str(folder), what=what), f"open({str(folder/'next')!r}, 'w')"]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), folder/"train.ipynb")
    return folder/"train.ipynb"


def test_a_headless_notebook_has_time_to_save(tmp_path):
    sweep = lb.sweep(notebook(tmp_path, SAVE), {}, devices_each=1)
    begun(tmp_path, 1)
    assert sweep.stop().status == "stopped"
    assert (tmp_path/"saved").exists() and not (tmp_path/"next").exists() and sweep.sets[0].status == "stopped"


def test_a_second_stop_ends_a_headless_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_STOP_GRACE", "1000")
    sweep = lb.sweep(notebook(tmp_path, DEAF), {}, devices_each=1)
    begun(tmp_path, 1)
    first = threading.Thread(target=sweep.stop, daemon=True)
    first.start()
    until((tmp_path/"heard").exists, "the interrupt in the cell", 20)
    assert sweep.stop().status == "stopped" and sweep.sets[0].status == "stopped"
    first.join(20)
