"""This checkout beside another one, in turns, on the same packages: has a change made something slower?   python tests/benchmarks/versions.py CHECKOUT [rounds]

launch     a launch on two warm ranks, from the call to both results of an `all_reduce`, median
log        one `lb.log` of a float on a rank, median
kernel     a kernel of ours: start, one cell, shutdown
recovery   kill -9 of a rank to the first new step on both ranks
import     `import lepton_bench` in a new interpreter

Only the public face is used, so any two versions can be compared. The ratio is ours over the other's: above 1 is slower.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from common import PYTHON, Place, place, quiet
from support.isolation import REPOSITORY

LAUNCHES = int(os.environ.get("BENCH_WARM", "100"))


def reduced() -> float:
    import torch
    import torch.distributed as dist
    total = torch.ones(1)
    dist.all_reduce(total)
    return total.item()


def log_call(n: int = 20_000) -> float:  # seconds
    import lepton_bench as lb
    clock, found = time.perf_counter, []
    for step in range(n):
        start = clock()
        lb.log(step=step, loss=.5)
        found.append(clock() - start)
    return statistics.median(found)


def killed_once(folder: str) -> None:
    "Twenty steps; rank 1 kills itself after the tenth, once. Each step's time is written down."
    import os
    import signal
    import time

    import torch
    import torch.distributed as dist

    import lepton_bench as lb
    rank, state = dist.get_rank(), lb.load_checkpoint() or {"step": 0}
    for step in range(state["step"], 20):
        dist.all_reduce(torch.ones(1))
        with open(f"{folder}/steps-{rank}", "a") as file: file.write(f"{time.monotonic()} {os.getpid()}\n")
        lb.save_checkpoint({"step": step + 1}, step + 1)
        if rank == 1 and step == 9 and not os.path.exists(f"{folder}/killed"):
            with open(f"{folder}/killed", "w") as file: file.write(str(time.monotonic()))
            os.kill(os.getpid(), signal.SIGKILL)


def measure() -> dict[str, float]:  # seconds
    "Every figure of the version that is imported, once."
    import lepton_bench as lb
    found, clock = {}, time.perf_counter
    with lb.allocate(2) as alloc:
        quiet_options = alloc.options(output=False)
        for _ in range(20): quiet_options.launch(reduced).results(60)
        times = []
        for _ in range(LAUNCHES):
            start = clock()
            assert quiet_options.launch(reduced).results(60) == [2., 2.]
            times.append(clock() - start)
        found["launch"] = statistics.median(times)
        found["log"] = max(quiet_options.launch(log_call).results(120))
        with tempfile.TemporaryDirectory() as folder:
            alloc.options(output=False, max_restarts=1).launch(killed_once, folder).wait(120)
            killed = float(Path(folder, "killed").read_text())
            later = [min(t for t, _ in steps if t > killed) for steps in
                     ([tuple(map(float, line.split())) for line in Path(folder, f"steps-{rank}").read_text().splitlines()] for rank in range(2))]
            found["recovery"] = max(later) - killed
    found["kernel"] = kernel()
    return found


def kernel() -> float:  # seconds
    from jupyter_client.manager import start_new_kernel
    start_new_kernel(kernel_name="lepton")[0].shutdown_kernel()  # the kernels' forkserver is up now
    start = time.perf_counter()
    manager, client = start_new_kernel(kernel_name="lepton")
    client.execute_interactive("1 + 1", timeout=60)
    client.stop_channels()
    manager.shutdown_kernel()
    return time.perf_counter() - start


def once(where: Place, checkout: Path) -> dict[str, float]:
    "The figures of a checkout, in an interpreter of its own."
    env = {**where.environment(), "PYTHONPATH": str(checkout)}
    code = f"import sys; sys.path.insert(1, {str(REPOSITORY/'tests'/'benchmarks')!r}); import json, versions; print('@@' + json.dumps(versions.measure()))"
    done = subprocess.run([PYTHON, "-c", code], env=env, cwd=where.root, capture_output=True, text=True, timeout=600)
    if done.returncode: raise RuntimeError(done.stderr[-3000:])
    start = time.perf_counter()
    subprocess.run([PYTHON, "-c", "import lepton_bench"], env=env, cwd=where.root, check=True)
    return {**json.loads(done.stdout.rpartition("@@")[2]), "import": time.perf_counter() - start}


def main(other: Path, rounds: int = 5) -> None:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with place() as ours, place() as theirs:
        sides = {"ours": (ours, REPOSITORY), "other": (theirs, other.resolve())}
        for round in range(rounds):
            for side in sorted(sides, reverse=bool(round % 2)):
                quiet(sides[side][0])
                for name, seconds in once(*sides[side]).items(): found[name][side].append(seconds)
    print(f"{'':10} {'ours':>10} {'other':>10}   ratio (each round)")
    for name, values in found.items():
        a, b = values["ours"], values["other"]
        ratios = [x/y for x, y in zip(a, b)]
        print(f"{name:10} {1000*statistics.median(a):8.3f}ms {1000*statistics.median(b):8.3f}ms   {statistics.median(ratios):.2f} "
              f"({', '.join(f'{r:.2f}' for r in ratios)})")


if __name__ == "__main__": main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
