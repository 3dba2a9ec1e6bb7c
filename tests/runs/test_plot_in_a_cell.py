"""The live plot, seen from the kernel: what it shows, answers, stores, and what happens when the run is deleted under it."""
import base64
import json
import math
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as compute
import pytest

from lepton_bench.errors import BenchError
from lepton_bench.display.live_plot import LivePlot, mark_png
from lepton_bench.metrics.panels import answer_series
from lepton_bench.metrics.storage import MetricsWriter, read_metrics, record_type, restarts
from lepton_bench.metrics.ring import Ring
from lepton_bench.metrics.live_series import RunSeries, light_table, restarts_of, series_of
from lepton_bench.store.runs import metrics_path, new_record, ring_path

LAUNCH = """import lepton_bench as lb, time
alloc = lb.allocate(2)
def train(n, stop=None):
    import math, os, time
    for i in range(n):
        if stop and i > 50 and os.path.exists(stop): break
        lb.log(step=i, loss=math.exp(-i / 50), acc=float("nan") if i == 5 else float("inf") if i == 6 else i)
        time.sleep(.02)
"""


def points(steps, names: int, value=None, seed: int = 0) -> np.ndarray:
    made = np.zeros(len(steps) * names, record_type())
    made["step"], made["name"] = np.repeat(steps, names), np.tile(np.arange(names), len(steps))
    made["time"] = 1.7e9 + made["step"] * .1
    made["value"] = np.random.default_rng(seed).normal(size=len(made)) if value is None else value
    return made


def same(folder: Path, series: RunSeries) -> None:
    "What is followed is what `read_metrics` reads, series by series."
    table = read_metrics(folder)
    names, ranks = table["name"].to_pylist(), table["rank"].to_numpy()
    for name, rank in {*zip(names, ranks.tolist())}:
        part = table.filter(compute.and_(compute.equal(table["name"], name), compute.equal(table["rank"], rank)))
        step, when, value = series_of(series, name, rank)
        assert np.array_equal(step, part["step"].to_numpy()) and np.array_equal(value, part["value"].to_numpy(), equal_nan=True)
        if series.timed: assert np.array_equal(when, part["time"].to_numpy())
    assert set(series.names()) == set(names) and restarts_of(series) == restarts(table)


@pytest.mark.parametrize("timed", [False, True])
def test_following_gives_the_same_points_as_reading(tmp_path, timed):
    "Files, rings, two ranks, names that appear late, an attempt that starts again in the middle, at every moment of it."
    series = RunSeries(tmp_path, timed)
    assert series.poll() == 0 and series.names() == []
    writer = MetricsWriter(metrics_path(tmp_path, 0))
    rings = [Ring.create(ring_path(tmp_path, 0, rank), 1 << 12, rank) for rank in (0, 1)]
    readers = [Ring.open(ring_path(tmp_path, 0, rank)) for rank in (0, 1)]
    for turn in range(30):
        for rank, (ring, reader) in enumerate(zip(rings, readers)):
            late = {"late": 1.} if turn > 15 else {}
            for i in range(turn * 20, turn * 20 + 20): ring.log(i, {"a": float(i), "b": math.nan if i == 7 else -i, **late})
            if turn % 3 != rank:  # stored, though maybe not yet given up by the ring
                records, end = reader.read()
                writer.write(rank, records, reader.names(), end)
                if turn % 2: reader.advance(end)
        if turn % 4 < 2: series.poll()
        if turn % 4 == 1: same(tmp_path, series)
    series.poll()
    same(tmp_path, series)
    again = MetricsWriter(metrics_path(tmp_path, 1))
    again.write(0, points(np.arange(300, 420), 2), ["a", "b"], 240)
    again.write(1, points(np.arange(310, 420), 2), ["b", "a"], 220)
    series.poll()
    same(tmp_path, series)
    assert restarts_of(series)[0]["step"] == 300
    for ring in (*rings, *readers): ring.close()


def test_a_torn_file_is_followed_up_to_the_tear_and_on_when_it_is_mended(tmp_path):
    writer = MetricsWriter(metrics_path(tmp_path, 0))
    for k in range(10): writer.write(0, points(np.arange(100 * k, 100 * k + 100), 2), ["a", "b"], 200 * (k + 1))
    whole = metrics_path(tmp_path, 0).read_bytes()
    series = RunSeries(tmp_path)
    for size in (3, 100, 500, len(whole) // 2, len(whole) - 1, len(whole)):
        metrics_path(tmp_path, 0).write_bytes(whole[:size])
        series.poll()
    assert len(series_of(series, "a", 0)[0]) == 1000
    same(tmp_path, series)
    metrics_path(tmp_path, 0).write_bytes(whole + b"\xff\xff\xff\xff garbage that is no message" * 5)
    series.poll()
    assert len(series) == 2000


def test_names_in_any_order(tmp_path):
    "Not every loop logs the same names in the same order."
    made = points(np.arange(5000), 1)
    made["name"] = np.random.default_rng(1).integers(0, 7, len(made))
    MetricsWriter(metrics_path(tmp_path, 0)).write(0, made, list("abcdefg"), len(made))
    series = RunSeries(tmp_path)
    series.poll()
    same(tmp_path, series)


def test_an_answer_is_small_and_keeps_the_spike(tmp_path):
    made = points(np.arange(200_000), 1)
    made["value"][123_457] = 1e6
    writer = MetricsWriter(metrics_path(tmp_path, 0))
    for rank in (0, 1): writer.write(rank, made, ["loss"], len(made))
    series = RunSeries(tmp_path)
    for ranks in ("band", "lines", 1):
        reply, buffers = answer_series(series, {"width": 300, "ranks": ranks, "smooth": .5})
        assert sum(map(len, buffers)) < 300 * 4 * 8 * 12
        assert max(np.frombuffer(b)[np.isfinite(np.frombuffer(b))].max() for b in buffers[1:]) >= 1e6
    assert answer_series(series, {"width": 300, "ranks": 1, "smooth": .5, "cursor": reply["cursor"]})[0]["kind"] == "same"
    timed, buffers = answer_series(series, {"x": "time"})
    assert timed["x"] == "time" and np.frombuffer(buffers[0])[-1] == pytest.approx(19999.9)


@pytest.mark.parametrize("values", [[math.nan] * 40, [math.inf, -math.inf] * 20, [-1.] * 40, [0.] * 40, [1e308, -1e308] * 20])
def test_bad_values_are_answered_and_drawn(tmp_path, values):
    MetricsWriter(metrics_path(tmp_path, 0)).write(0, points(np.arange(40), 1, values), ["x"], 40)
    run = SimpleNamespace(directory=tmp_path, id="1", name="bad", record=new_record("1", "bad", world_size=1))
    for options in ({}, {"log": True}, {"smooth": .9}, {"x": "time"}):
        assert len(LivePlot(run, **options).figure().axes) == 1
        reply, buffers = answer_series(RunSeries(tmp_path), options)
        json.dumps(reply, allow_nan=False)  # JSON has no NaN
        assert reply["panels"][0]["parts"][0]["points"] == 40


def test_500_metrics(tmp_path):
    names = [f"layer{i}/norm" for i in range(500)]
    MetricsWriter(metrics_path(tmp_path, 0)).write(0, points(np.arange(20), 500), names, 10_000)
    series = RunSeries(tmp_path)
    reply, buffers = answer_series(series, {})
    assert reply["names"] == reply["chosen"] == 500 and len(reply["panels"]) == 24 and sum(map(len, buffers)) < 50_000
    found, _ = answer_series(series, {"filter": "LAYER49"})
    assert found["chosen"] == 11
    run = SimpleNamespace(directory=tmp_path, id="1", name="wide", record=new_record("1", "wide", world_size=1))
    assert len(LivePlot(run).figure().axes) == 24


def test_a_mark_leaves_the_picture_whole():
    from io import BytesIO
    from PIL import Image
    plain = BytesIO()
    Image.new("RGB", (30, 20), "red").save(plain, "png")
    png, letters = mark_png(plain.getvalue(), "k" * 32)
    assert base64.b64encode(png).decode()[44:].startswith(letters)
    with Image.open(BytesIO(png)) as picture:
        picture.load()
        assert picture.size == (30, 20) and picture.getpixel((3, 3)) == (255, 0, 0)
    assert struct.unpack(">II", png[16:24]) == (30, 20)


def test_wrong_options_are_said_where_they_are_typed(tmp_path):
    run = SimpleNamespace(directory=tmp_path, id="1", name="x", record=new_record("1", "x", world_size=2))
    for wrong, words in (({"x": "epoch"}, "step"), ({"ranks": "all"}, "band"), ({"ranks": 2}, "0 to 1"), ({"smooth": 1.}, "less than 1")):
        with pytest.raises(BenchError, match=words): LivePlot(run, **wrong)


def test_a_picture_grows_and_stays_in_the_cell(real_kernel, tmp_path):
    "The front end here knows no widgets: there is a picture at once, and the final one after the wait."
    stop = tmp_path/"stop"
    real_kernel.run(LAUNCH + f"run = alloc.launch(train, n=100_000, stop={str(stop)!r})")
    real_kernel.run("plot = run.plot(); plot")
    shown = [m for m in real_kernel.messages if m["msg_type"] == "display_data"]
    first = next(m for m in shown if "image/png" in m["content"]["data"])
    assert set(first["content"]["data"]) == {"image/png", "text/plain"}, "no widget in the document"
    stop.touch()
    real_kernel.run("run.wait(60);")
    last = [m for m in real_kernel.messages if m["msg_type"] == "update_display_data" and "image/png" in m["content"]["data"]]
    assert last and last[-1]["content"]["transient"]["display_id"] == first["content"]["transient"]["display_id"]
    assert last[-1]["content"]["data"]["image/png"] != first["content"]["data"]["image/png"]
    assert real_kernel.value("plot.over and plot.widget is None and plot.series.poll() and len(plot.series) == run.metrics().num_rows > 200")
    assert "LivePlot" not in real_kernel.run("print(type(run.plot()))"), "over: a plain figure"
    real_kernel.run("alloc.release()")


def test_the_plot_of_the_system_is_live_too(real_kernel, tmp_path):
    stop = tmp_path/"stop"
    real_kernel.run(LAUNCH + f"run = alloc.launch(train, n=100_000, stop={str(stop)!r})\nplot = run.plot(system=True); plot")
    assert "LivePlot" in real_kernel.run("print(type(plot))") and real_kernel.value("[plot.options['x'], plot.options['ranks']]") == ["time", "lines"]
    real_kernel.run("from lepton_bench.metrics.panels import answer_series\n"
                    "def points(): return {p['name']: sum(part['points'] for part in p['parts']) for p in answer_series(plot.series, {})[0]['panels']}")
    real_kernel.run("while not points(): time.sleep(.05)", 30)
    before = real_kernel.value("points()")
    assert set(before) >= {"cpu_percent", "memory_gib"}
    real_kernel.run(f"while points()['cpu_percent'] <= {before['cpu_percent']}: time.sleep(.05)", 30)
    stop.touch()
    real_kernel.run("run.wait(60);")
    assert any(m["msg_type"] == "update_display_data" and "image/png" in m["content"]["data"] for m in real_kernel.messages), "the last picture stays"
    assert real_kernel.value("plot.over and plot.widget is None")
    assert "LivePlot" not in real_kernel.run("print(type(run.plot(system=True)))"), "over: a plain figure"
    real_kernel.run("alloc.release()")


def test_a_run_deleted_under_its_plot_leaves_the_last_picture(real_kernel):
    real_kernel.run(LAUNCH + "run = alloc.launch(train, n=2000)\nplot = run.plot(); display(plot)")
    folder = Path(real_kernel.value("str(run.directory)"))
    real_kernel.run("from lepton_bench.metrics.panels import answer_series")
    real_kernel.run("while not plot.series.poll(): time.sleep(.01)", 30)
    shutil.rmtree(folder, ignore_errors=True)
    with pytest.raises(AssertionError, match="FileNotFoundError"):
        real_kernel.run("import shutil; shutil.rmtree(run.directory, True); answer_series(plot.series, {})")
    real_kernel.run("end = time.monotonic() + 20\nwhile not plot.over and time.monotonic() < end: time.sleep(.05)\nassert plot.over and plot.png")
    real_kernel.run("alloc.release()")


def test_papermill_output_has_the_picture_and_under_50_kb_of_widget(tmp_path, place):
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook
    cells = [LAUNCH + "run = alloc.launch(train, n=80)", "run.plot()", "run.wait(60)\nalloc.release()"]
    nbformat.write(new_notebook(cells=[new_code_cell(c) for c in cells]), tmp_path/"in.ipynb")
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    notebook = nbformat.read(tmp_path/"out.ipynb", 4)
    data = [o["data"] for c in notebook.cells for o in c.outputs if o.output_type == "display_data" and "image/png" in o["data"]]
    assert len(data) == 1 and len(base64.b64decode(data[0]["image/png"])) > 5000
    stored = len(json.dumps(notebook.metadata.get("widgets", {})))
    assert stored < 10_000, stored


def test_reading_and_asking_at_once(tmp_path):
    "The thread that draws and the subshell that answers share one reader."
    writer, failed = MetricsWriter(metrics_path(tmp_path, 0)), []
    series = RunSeries(tmp_path)

    def ask() -> None:
        try:
            for _ in range(30): answer_series(series, {"smooth": .5}), light_table(series)
        except Exception as e: failed.append(e)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for t in threads: t.start()
    for k in range(40):
        writer.write(0, points(np.arange(50 * k, 50 * k + 50), 3), list("abc"), 150 * (k + 1))
        time.sleep(.002)
    for t in threads: t.join()
    series.poll()
    assert not failed and len(series) == 6000
