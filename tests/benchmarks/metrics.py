"""What logging costs, beside others, in one run; by hand, on a quiet machine:   python tests/benchmarks/metrics.py [rounds]

calling thread   perf_counter around each call, median; the clock's own cost is in it for everybody
sustained        points per second from the first call to everything fsynced: two writers, one drainer
read and draw    1,000,000 points from the disk to a PNG of one panel; 20 series of as many, in 20 panels
open             20 series of 1,000,000 points, in a fresh process: from the folder to what every panel shows at 600 pixels, beside `read_metrics`
"""
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import Figure, place, quiet, show

from lepton_bench.metrics.storage import MetricsWriter, Ring, log, read_metrics, record_type, set_ring
from lepton_bench.metrics.plots import plot_metrics, save_png
from lepton_bench.store.runs import metrics_path, ring_path

clock = time.perf_counter


def per_call(call: Callable[[int, float], object], n: int = 20_000) -> float:  # microseconds
    found = []
    for i in range(n):
        value = i * .5
        start = clock()
        call(i, value)
        found.append((clock() - start) * 1e6)
    return statistics.median(found)


def our_call(folder: Path, value: Callable[[float], object] = float) -> float:
    set_ring(lambda: Ring.create(folder/"r"))
    log(step=0, loss=0.)
    try: return per_call(lambda i, v, value=[value(.5)]: log(step=i, loss=value[0]))
    finally: set_ring(None)


def our_call_direct(folder: Path) -> float:
    "As a training loop has it: the call itself, no lambda around."
    set_ring(lambda: Ring.create(folder/"r"))
    log(step=0, loss=0.)
    found = []
    for i in range(20_000):
        value = i * .5
        start = clock()
        log(step=i, loss=value)
        found.append((clock() - start) * 1e6)
    set_ring(None)
    return statistics.median(found)


def json_call(folder: Path) -> float:
    with (folder/"m.jsonl").open("w") as file: return per_call(lambda i, v: file.write(f'{{"step":{i},"loss":{v}}}\n'))


def tensorboard_call(folder: Path) -> float | None:
    try: from torch.utils.tensorboard import SummaryWriter
    except ImportError: return None
    writer = SummaryWriter(str(folder))
    writer.add_scalar("loss", 0., 0)
    try: return per_call(lambda i, v: writer.add_scalar("loss", v, i))
    finally: writer.close()


def tensor_call(folder: Path) -> float:
    import torch
    return our_call(folder, torch.tensor)


def write_points(folder: Path, rank: int, calls: int, width: int, go: int) -> None:
    set_ring(lambda: Ring.create(ring_path(folder, 0, rank), 65536, rank))
    values = {f"m{k}": k / 8 for k in range(width)}
    os.read(go, 1)
    for i in range(calls): log(step=i, **values)
    os._exit(0)


def sustained(folder: Path, width: int, calls: int, writers: int = 2) -> float:  # points per second
    go, start_writers = os.pipe()
    pids = []
    for rank in range(writers):
        if not (pid := os.fork()): write_points(folder, rank, calls, width, go)
        pids.append(pid)
    total, stored, writer = calls * width * writers, 0, MetricsWriter(metrics_path(folder, 0))
    start = clock()
    os.write(start_writers, b"x" * writers)
    rings: dict[int, Ring] = {}
    while stored < total:
        before = stored
        for rank in range(writers):
            if rank not in rings:
                if not ring_path(folder, 0, rank).exists(): continue
                rings[rank] = Ring.open(ring_path(folder, 0, rank))
            if not rings[rank].waits(min(8192, total // writers - rings[rank]._cursor) or 1): continue
            records, end = rings[rank].read()
            if writer.write(rank, records, rings[rank].names(), end): rings[rank].advance(end)
            stored += len(records)
        if stored == before: time.sleep(.001)
    writer.close()
    os.sync()
    seconds = clock() - start
    for pid in pids: os.waitpid(pid, 0)
    os.close(go)
    os.close(start_writers)
    if read_metrics(folder).num_rows != total: raise SystemExit("points are missing")
    return total / seconds


def sqlite_batches(folder: Path, n: int = 300_000) -> float:  # points per second
    base = sqlite3.connect(folder/"b.db", isolation_level=None)
    base.execute("pragma journal_mode=wal")
    base.execute("pragma synchronous=normal")
    base.execute("create table m(run int, key int, step int, wall real, value real)")
    start = clock()
    for first in range(0, n, 1000):
        rows = [(1, 1, i, .5, i * .5) for i in range(first, first + 1000)]
        base.execute("begin")
        base.executemany("insert into m values(?,?,?,?,?)", rows)
        base.execute("commit")
    base.close()
    return n / (clock() - start)


def million(folder: Path) -> None:
    "The same million points for both."
    y = np.cumsum(np.random.default_rng(0).normal(size=1_000_000))
    writer = MetricsWriter(metrics_path(folder, 0))
    for i in range(0, len(y), 5000):
        records = np.zeros(5000, record_type())
        records["step"] = np.arange(i, i + 5000)
        records["time"], records["value"] = 1.7e9 + records["step"] * .01, y[i:i + 5000]
        writer.write(0, records, ["loss"], i + 5000)
    writer.close()
    base = sqlite3.connect(folder/"s.db")
    base.execute("create table m(key int, step int, value real)")
    base.executemany("insert into m values(1,?,?)", zip(range(len(y)), y.tolist(), strict=True))
    base.commit()
    base.close()


def twenty_millions(folder: Path, steps: int = 250, names: int = 20, n: int = 1_000_000) -> float:  # points per second, of the writer alone
    "As a training loop logs them: the metrics take turns; so many steps came between two looks at the ring."
    writer, words, random = MetricsWriter(metrics_path(folder, 0)), [f"m{i}" for i in range(names)], np.random.default_rng(0)
    values, when = np.cumsum(random.normal(size=(n, names)), axis=0), 1.7e9 + np.cumsum(random.exponential(.001, n))
    seconds = 0.
    for i in range(0, n, steps):
        records = np.zeros(steps * names, record_type())
        records["step"], records["name"] = np.repeat(np.arange(i, i + steps), names), np.tile(np.arange(names), steps)
        records["time"], records["value"] = np.repeat(when[i:i + steps], names), values[i:i + steps].ravel()
        start = clock()
        writer.write(0, records, words, (i + steps) * names)
        seconds += clock() - start
    writer.close()
    return n * names / seconds


OPEN = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy, pyarrow, tsdownsample  # not what is measured
from lepton_bench.metrics.live_series import RunSeries, reduced_panel
from lepton_bench.metrics.storage import read_metrics

def panels(**options):
    start = time.perf_counter()
    while True:
        with ThreadPoolExecutor(4) as workers: found = list(workers.map(lambda name: reduced_panel(series, name, **options), series.names()))
        if not series.more: break
        series.poll()
    if sum(parts[0]["points"] for parts, _ in found) != int(sys.argv[2]): raise SystemExit("points are missing")
    return time.perf_counter() - start

start = time.perf_counter()
if sys.argv[1] == "table": rows = read_metrics(Path(sys.argv[3])).num_rows
else:
    series = RunSeries(Path(sys.argv[3]))
    series.poll()
    panels(**({"smooth": .9} if sys.argv[1] == "smoothed" else {}))
print(time.perf_counter() - start)
"""


def fresh(how: str, folder: Path, points: int = 20_000_000) -> float:  # seconds
    "To open a run in a process that has not read anything yet: its panels, its smoothed panels, or the whole table."
    done = subprocess.run([sys.executable, "-c", OPEN, how, str(points), str(folder)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode: raise SystemExit(done.stderr)
    return float(done.stdout)


def ours_read_and_draw(folder: Path) -> tuple[float, float]:  # seconds: read, draw
    start = clock()
    table = read_metrics(folder)
    middle = clock()
    save_png(plot_metrics(table), folder/"ours.png")
    return middle - start, clock() - middle


def sqlite_read_and_draw(folder: Path) -> tuple[float, float]:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from tsdownsample import MinMaxLTTBDownsampler
    base = sqlite3.connect(folder/"s.db")
    start = clock()
    x, y = np.array(base.execute("select step, value from m where key=1 order by step").fetchall()).T
    middle = clock()
    chosen = MinMaxLTTBDownsampler().downsample(np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=2000)
    figure, axes = plt.subplots(figsize=(8, 4.5))
    axes.plot(x[chosen], y[chosen], lw=.8)
    figure.savefig(folder/"sqlite.png", dpi=100)
    plt.close(figure)
    base.close()
    return middle - start, clock() - middle


def figures(rounds: int = 5) -> list[Figure]:
    found: dict[str, list[float]] = {}

    def measure(name: str, function: Callable, *args: object) -> None:
        folder = Path(tempfile.mkdtemp(prefix="lb-bench-"))
        try: value = function(folder, *args)
        finally: shutil.rmtree(folder)
        if value is not None: found.setdefault(name, []).append(value)

    fixed = Path(tempfile.mkdtemp(prefix="lb-bench-"))
    million(fixed)
    drawers = {"ours": ours_read_and_draw, "sqlite + matplotlib": sqlite_read_and_draw}
    for draw in drawers.values(): draw(fixed)  # fonts and imports
    large, slow = (Path(tempfile.mkdtemp(prefix="lb-bench-")) for _ in range(2))
    found["writer"] = [twenty_millions(large)]
    twenty_millions(slow, 25)
    try:
        with place() as where:
            for _ in range(rounds):
                quiet(where)
                measure("float", our_call_direct)
                measure("int", our_call, int)
                measure("tensor", tensor_call)
                measure("JSON line", json_call)
                measure("TensorBoard", tensorboard_call)
                quiet(where)
                measure("sustained 8", sustained, 8, 200_000)
                measure("sustained 1", sustained, 1, 400_000)
                measure("sqlite, batches of 1000", sqlite_batches)
                quiet(where)
                for name, draw in drawers.items():
                    read, drawn = draw(fixed)
                    found.setdefault(f"{name}: read", []).append(read)
                    found.setdefault(f"{name}: read and draw", []).append(read + drawn)
                for how in ("panels", "smoothed", "table"):
                    found.setdefault(f"open: {how}", []).append(fresh(how, large))
                    found.setdefault(f"slow: {how}", []).append(fresh(how, slow))
                for name, seconds in zip(("twenty: read", "twenty: draw"), ours_read_and_draw(large), strict=True): found.setdefault(name, []).append(seconds)
    finally:
        for folder in (fixed, large, slow): shutil.rmtree(folder)

    def peers(*names: str) -> dict[str, list[float]]: return {n.partition(":")[0]: found[n] for n in names if n in found}
    return [Figure("lb.log of one float, calling thread", "us", found["float"], peers("JSON line", "TensorBoard"), limit=1.5),
            Figure("lb.log of one int", "us", found["int"], peers("JSON line"), limit=1.5),
            Figure("lb.log of one 0-d CPU tensor", "us", found["tensor"]),
            Figure("sustained to the disk, 8 scalars a call, 2 writers", "points/s", found["sustained 8"], peers("sqlite, batches of 1000"),
                   limit=1e6, more=True),
            Figure("sustained to the disk, 1 scalar a call, 2 writers", "points/s", found["sustained 1"], peers("sqlite, batches of 1000"), more=True),
            Figure("read 1,000,000 points", "s", found["ours: read"], peers("sqlite + matplotlib: read")),
            Figure("read 1,000,000 points and draw them to PNG", "s", found["ours: read and draw"], peers("sqlite + matplotlib: read and draw"), limit=.1),
            Figure("open 20 series of 1,000,000 points: all panels", "s", found["open: panels"], {"read_metrics": found["open: table"]}, limit=1.),
            Figure("open 20 series of 1,000,000 points: all panels, smoothed", "s", found["open: smoothed"], {"read_metrics": found["open: table"]}, limit=1.),
            Figure("open the same, 500 points a batch: all panels", "s", found["slow: panels"], {"read_metrics": found["slow: table"]}, limit=1.),
            Figure("open the same, 500 points a batch: all panels, smoothed", "s", found["slow: smoothed"], {"read_metrics": found["slow: table"]}, limit=1.),
            Figure("write 20 series of 1,000,000 points, writer alone", "points/s", found["writer"], more=True),
            Figure("read 20 series of 1,000,000 points", "s", found["twenty: read"]),
            Figure("draw 20 series of 1,000,000 points to PNG", "s", found["twenty: draw"], limit=1.)]


if __name__ == "__main__": show(figures(int(sys.argv[1]) if sys.argv[1:] else 5))
