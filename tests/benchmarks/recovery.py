"""kill -9 of a rank to the first new step on both ranks, beside torchrun, and the steps done again.   python tests/benchmarks/recovery.py [rounds]

The same script, data-parallel over gloo with two ranks of one thread, under both: it saves each 20 steps and goes on from there. Time is from the kill to
the end of the first step by a new process of rank 1 and by rank 0 after it.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import PYTHON, Figure, Place, place, quiet, rotate, show

SCRIPT = '''
import os, sys, time
import torch, torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
where, ours = sys.argv[1], sys.argv[2] == "ours"
if ours: import lepton_bench as lb
torch.set_num_threads(1); torch.manual_seed(0)
if not dist.is_initialized(): dist.init_process_group("gloo")
rank, file = dist.get_rank(), where + "/checkpoint.pt"
log = open(f"{where}/steps-{rank}", "a", buffering=1)
base = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                     nn.Flatten(), nn.Linear(32 * 49, 10))
optimiser, step = torch.optim.SGD(base.parameters(), lr=.01), 0
state = lb.load_checkpoint() if ours else torch.load(file) if os.path.exists(file) else None
if state: base.load_state_dict(state["model"]); optimiser.load_state_dict(state["optimiser"]); step = state["step"] + 1
net, measure = DDP(base), nn.CrossEntropyLoss()
x, y = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))
while True:
    optimiser.zero_grad(); measure(net(x), y).backward(); optimiser.step()
    log.write(f"{time.monotonic()} {os.getpid()} {step}\\n")
    if step % 20 == 0:
        state = {"model": base.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
        if ours: lb.save_checkpoint(state, step)
        elif rank == 0: torch.save(state, file + ".new"); os.rename(file + ".new", file)
    stop = torch.tensor([float(os.path.exists(where + "/stop"))]); dist.all_reduce(stop)
    if stop.item(): break
    time.sleep(.02); step += 1
dist.destroy_process_group()
'''

# without --standalone its second attempt finds the addresses of the first one in its store, and fails
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3"]


def steps(folder: Path, rank: int) -> list[tuple[float, int, int]]:  # time, process, step
    try: lines = (folder/f"steps-{rank}").read_text().splitlines(keepends=True)
    except OSError: return []
    return [(float(t), int(p), int(s)) for t, p, s in (line.split() for line in lines if line.endswith("\n"))]


def until(condition: Callable, process: subprocess.Popen, timeout: float = 60.):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition(): return value
        if process.poll() is not None: raise RuntimeError(f"it ended by itself with {process.returncode}")
        time.sleep(.005)
    raise TimeoutError("it does not go on")


def recover(where: Place, name: str) -> tuple[float, int]:  # seconds, steps done again
    folder = Path(tempfile.mkdtemp(dir=where.root))
    script = folder/"train.py"
    script.write_text(SCRIPT)
    tools = {"ours": ["-c", "from lepton_bench.cli import main; main()", "launch", "-n", "2", "--max-restarts", "3", str(script), str(folder), "ours"],
             "torchrun": [*TORCHRUN, str(script), str(folder), "torchrun"],
             "torchrun, looking each 10 ms": [*TORCHRUN, "--monitor-interval", "0.01", str(script), str(folder), "torchrun"]}
    with open(folder/"log", "w") as log: process = subprocess.Popen([PYTHON, *tools[name]], env=where.environment(), cwd=where.root, stdout=log, stderr=log)
    try:
        before = until(lambda: found if len(found := steps(folder, 1)) > 45 else None, process)  # past the checkpoints of steps 20 and 40
        last, old = before[-1][2], {rank: steps(folder, rank)[-1][1] for rank in (0, 1)}
        killed = time.monotonic()
        os.kill(old[1], signal.SIGKILL)
        first = {rank: until(lambda rank=rank: next((s for s in steps(folder, rank) if s[1] != old[rank]), None), process) for rank in (0, 1)}
        (folder/"stop").touch()
        process.wait(60)
    finally:
        if process.poll() is None: process.terminate(); process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
    return max(s[0] for s in first.values()) - killed, last - first[1][2] + 1


def figures(rounds: int = 5) -> list[Figure]:
    names = ("ours", "torchrun", "torchrun, looking each 10 ms")
    seconds, again = {n: list[float]() for n in names}, {n: list[float]() for n in names}
    with place() as where:
        for r in range(rounds):
            for name, _ in rotate(dict.fromkeys(names), r):
                quiet(where)
                try: took, redone = recover(where, name)
                except (TimeoutError, RuntimeError) as e:
                    print(f"{name} did not recover: {e}", file=sys.stderr)
                    continue
                seconds[name].append(took); again[name].append(redone)
    return [Figure("kill -9 of a rank to the first new step on both", "s", seconds.pop("ours"), seconds, ratios={"torchrun": .15}),
            Figure("steps done again", "", again.pop("ours"), again)]


if __name__ == "__main__": show(figures(*map(int, sys.argv[1:2])))
