"""The round trip of a cell on warm ranks, beside peers.   python tests/benchmarks/cells.py [rounds]

2 ranks stand ready and `x` is there; the cell is `x = x + 1`. Timed in the kernel, around the cell magic alone, so the notebook's own messages count for
nobody: `%%ranks`, nbdistributed's `%%distributed`, ipyparallel's `%%px`. At the end every rank's `x` is looked at: a magic that returns before its ranks
are done has to be caught up with, and one that loses a cell is told. The order of the tools rotates from round to round.
"""
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from common import Figure, Kernel, Place, place, quiet, rotate, show
from launch import start_nbdistributed

CELLS = int(os.environ.get("BENCH_CELLS", "100"))  # per tool and round
TIMED = '''
import time
shell = get_ipython()
def trips(magic, line, n):
    "Seconds that each of `n` cells took."
    found = []
    for _ in range(n):
        start = time.perf_counter()
        shell.run_cell_magic(magic, line, "x = x + 1")
        found.append(time.perf_counter() - start)
    return found
'''


def measure(values: dict[str, list[float]], where: Place, name: str, kernel: Kernel, magic: str, line: str = "") -> None:
    "A warm-up, then the cells; every rank has to have run each of them."
    kernel.run(f"{TIMED}\nshell.run_cell_magic({magic!r}, {line!r}, 'x = 0'); trips({magic!r}, {line!r}, 5)")
    quiet(where)
    kernel.run(f"found = trips({magic!r}, {line!r}, {CELLS})")
    counted = count(kernel, magic, line, Path(tempfile.mkdtemp(dir=where.root)))
    if counted != [CELLS + 5]*2: raise RuntimeError(f"{name}: {CELLS + 5} cells were sent, the ranks say {counted}")
    values[name] += [1000*s for s in kernel.value("found")]


def count(kernel: Kernel, magic: str, line: str, folder: Path) -> list[int]:
    "What `x` is on each rank: the ranks write it down, for magics show output each in its own way."
    cell = f"import io, os\nwith io.open(f'{folder}/{{os.getpid()}}.new', 'w') as file: file.write(str(x))\nos.rename(file.name, file.name[:-4])"
    kernel.run(f"shell.run_cell_magic({magic!r}, {line!r}, {cell!r})")
    end = time.monotonic() + 20
    while len(found := [p for p in folder.iterdir() if p.suffix != ".new"]) < 2 and time.monotonic() < end: time.sleep(.02)
    return [int(p.read_text()) for p in found]


def ours(values: dict[str, list[float]], where: Place) -> None:
    with Kernel(where) as kernel:
        kernel.run("import lepton_bench as lb\n%load_ext lepton_bench\nalloc = lb.allocate(2)")
        measure(values, where, "ours", kernel, "ranks")
        kernel.run("alloc.release()")


def nbdistributed(values: dict[str, list[float]], where: Place) -> None:
    with Kernel(where) as kernel:
        start_nbdistributed(kernel, "defined = True")
        measure(values, where, "nbdistributed", kernel, "distributed")
        kernel.run("shell.run_line_magic('dist_shutdown', '')")


def ipyparallel(values: dict[str, list[float]], where: Place) -> None:
    with Kernel(where) as kernel:
        kernel.run("import ipyparallel as ipp\ncluster = ipp.Cluster(n=2, log_level=30)\nclient = cluster.start_and_connect_sync(n=2, activate=True)")
        measure(values, where, "ipyparallel", kernel, "px", "--no-stream")
        kernel.run("cluster.stop_cluster_sync(); client.close()")


def figures(rounds: int = 5) -> list[Figure]:
    values = defaultdict[str, list[float]](list)
    with place() as where:
        tools = {"ours": ours, **{f.__name__: f for f in (nbdistributed, ipyparallel) if where.has(f.__name__)}}
        for r in range(rounds):
            for name, tool in rotate(tools, r):
                try: tool(values, where)
                except (RuntimeError, TimeoutError) as e: print(f"round {r}, {name}: {e}", file=sys.stderr, flush=True)
    peers = {n: values[n] for n in ("nbdistributed", "ipyparallel")}
    return [Figure("warm cell on 2 ranks, there and back", "ms", values["ours"], peers, limit=10., ratios={"best": 1.})]


if __name__ == "__main__": show(figures(int(sys.argv[1]) if sys.argv[1:] else 5))
