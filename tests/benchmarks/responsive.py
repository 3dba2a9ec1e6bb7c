"""Does the kernel answer while two ranks train?   python tests/benchmarks/responsive.py [rounds]

One cell starts three seconds of training that keeps both cores busy; once both ranks are in it, small cells are sent one after another
until it has ended. What counts is the
slowest answer: a tool whose call blocks the kernel answers when the training is over.
"""
import statistics
import sys
import time
from pathlib import Path

from common import Figure, Kernel, Place, free_port, place, quiet, rotate, show
from launch import start_nbdistributed

TRAIN = '''
import os, time

def train(folder, seconds=3., leave=False):
    import torch, torch.distributed as dist
    if not dist.is_initialized(): dist.init_process_group("gloo")
    model = torch.nn.Sequential(torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    images, end, going = torch.randn(64, 784), time.monotonic() + seconds, torch.ones(1)
    while going.item() > 0:
        model(images).square().mean().backward()
        for p in model.parameters(): dist.all_reduce(p.grad)
        going = torch.tensor([float(time.monotonic() < end)])
        dist.all_reduce(going)
        open(f"{folder}/{dist.get_rank()}", "w").close()
    open(f"{folder}/{dist.get_rank()}-end", "w").close()
    if leave: dist.destroy_process_group()
'''


def wait_for(paths: list[Path], timeout: float = 60.) -> None:
    end = time.monotonic() + timeout
    while not all(p.exists() for p in paths):
        if time.monotonic() > end: raise TimeoutError(f"{paths} did not appear")
        time.sleep(.005)


def answers(kernel: Kernel, where: Place, cell: str) -> list[float]:
    "Milliseconds that each small cell took while `cell`'s training ran."
    folder = Path(where.root)/f"marks-{time.monotonic_ns()}"
    folder.mkdir()
    kernel.run(f"folder, port = {str(folder)!r}, {free_port()}")
    quiet(where)
    kernel.client.execute(cell)
    wait_for([folder/"0", folder/"1"])
    found = []
    while not (folder/"0-end").exists():
        start = time.monotonic()
        message = kernel.client.execute("6*7")
        while kernel.client.get_shell_msg(timeout=60)["parent_header"]["msg_id"] != message: pass
        found.append(1000*(time.monotonic() - start))
        time.sleep(.05)
    return found


def ours(where: Place) -> list[float]:
    with Kernel(where) as kernel:
        kernel.run(f"{TRAIN}\nimport lepton_bench as lb\nalloc = lb.allocate(2)")
        found = answers(kernel, where, "run = alloc.launch(train, folder)")
        kernel.run("assert run.wait(60).status == 'done', run; alloc.release()")
    return found

def accelerate(where: Place) -> list[float]:
    with Kernel(where) as kernel:
        kernel.run(f"{TRAIN}\nfrom accelerate import notebook_launcher")
        return answers(kernel, where, "notebook_launcher(train, args=(folder, 3., True), num_processes=2, use_port=str(port))")

def torchrun(where: Place) -> list[float]:
    script = Path(where.root)/"train.py"
    script.write_text(f"{TRAIN}\nimport sys\ntrain(sys.argv[1], leave=True)\n")
    with Kernel(where) as kernel: return answers(kernel, where, f"!torchrun --nproc-per-node 2 --master-port $port {script} $folder")

def ipyparallel(where: Place) -> list[float]:
    with Kernel(where) as kernel:
        kernel.run(f"{TRAIN}\nimport ipyparallel as ipp\n"
                   "def enter(rank, port): import os; os.environ.update(RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))\n"
                   f"cluster = ipp.Cluster(n=2, log_level=30); client = cluster.start_and_connect_sync(n=2, activate=False)\n"
                    f"for r in range(2): client[r].apply_sync(enter, r, {free_port()})")
        found = answers(kernel, where, "result = client[:].apply_async(train, folder)")
        kernel.run("result.get(); cluster.stop_cluster_sync()")
    return found

def nbdistributed(where: Place) -> list[float]:
    with Kernel(where) as kernel:
        start_nbdistributed(kernel, f"{TRAIN}\ndefined = True")
        found = answers(kernel, where, "shell.run_cell_magic('distributed', '', f'train({folder!r})')")
        kernel.run("shell.run_line_magic('dist_shutdown', '')")
    return found


def figures(rounds: int = 5) -> list[Figure]:
    slowest, middle = dict[str, list[float]](), dict[str, list[float]]()
    with place() as where:
        tools = {"lepton_bench": ours, "torchrun": torchrun, **{f.__name__: f for f in (accelerate, ipyparallel, nbdistributed) if where.has(f.__name__)}}
        for r in range(rounds):
            for name, tool in rotate(tools, r):
                if r > 0 and name in ("torchrun", "accelerate", "nbdistributed"): continue  # blocking is not a matter of chance: once will do
                try: found = tool(where)
                except (RuntimeError, TimeoutError) as e: print(f"round {r}, {name}: {e}", file=sys.stderr, flush=True)
                else:
                    slowest.setdefault(name, []).append(max(found))
                    middle.setdefault(name, []).append(statistics.median(found))
    return [Figure("a cell answers during training, slowest", "ms", slowest.pop("lepton_bench", []), slowest, limit=50),
            Figure("a cell answers during training, median", "ms", middle.pop("lepton_bench", []), middle, limit=50)]


if __name__ == "__main__": show(figures(int(sys.argv[1]) if sys.argv[1:] else 5))
