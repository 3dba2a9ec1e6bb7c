"""Warm and cold launches, beside peers.   python tests/benchmarks/launch.py [rounds]

Warm: 2 ranks stand ready; from the launch in a notebook's cell to the last rank past an `all_reduce`. Each launch is another closure over an instance of
a class of the notebook. Cold: the same point from nothing. Every tool works in a kernel of its own; the order of the tools rotates from round to round.
"""
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

from common import Figure, Kernel, Place, free_port, place, quiet, rotate, show

WARM = int(os.environ.get("BENCH_WARM", "40"))  # launches per tool and round: 200 in five rounds
NOTEBOOK = '''
import io, os, time  # io.open: the `open` of a notebook is a wrapper of IPython's, which would be pickled too

class Tally:
    "Writes down when a rank was there."
    def __init__(self, folder, number): self.folder, self.number = folder, number
    def write(self, rank, now, total):
        assert total == 2*self.number + 1, total
        with io.open(f"{self.folder}/{rank}", "a") as file: file.write(f"{self.number} {now}\\n")

def make(folder, number, leave=False):
    tally = Tally(folder, number)
    def work():
        import torch, torch.distributed as dist
        if not dist.is_initialized(): dist.init_process_group("gloo")
        total = torch.full((1,), float(number + dist.get_rank()))
        dist.all_reduce(total)
        tally.write(dist.get_rank(), time.monotonic(), total.item())
        if leave: dist.destroy_process_group()
    return work
'''


class Samples:
    "Milliseconds by what was measured."

    def __init__(self, where: Place): self.where, self.values, self.count = where, defaultdict[str, list[float]](list), 0

    def folder(self) -> str:
        "Where ranks write."
        self.count += 1
        path = Path(self.where.root)/f"marks-{self.count}"
        path.mkdir()
        return str(path)

    def last(self, folder: str, n: int = 1) -> dict[int, float]:
        "When the last rank was past the all_reduce, by number of the launch."
        end, found = time.monotonic() + 60, list[dict[int, float]]()
        while time.monotonic() < end:
            try: found = [{int(a): float(b) for a, b in map(str.split, open(f"{folder}/{r}"))} for r in range(2)]
            except (OSError, ValueError): found = []
            if found and min(map(len, found)) == n: return {i: max(f[i] for f in found) for i in found[0]}
            time.sleep(.01)
        raise TimeoutError(f"{folder} has {[len(f) for f in found]} of {n} marks of each rank")

    def cold(self, name: str, kernel: Kernel, code: str) -> None:
        "One cell, from its first line."
        folder = self.folder()
        kernel.run(f"folder = {folder!r}; port = {free_port()}")
        quiet(self.where)
        kernel.run(f"_start = time.monotonic()\n{code}")
        self.values[name].append(1000*(self.last(folder)[0] - kernel.value("_start")))

    def warm(self, name: str, kernel: Kernel, code: str, after: str = "pass", n: int = WARM) -> None:
        "`n` cells, each with a launch of its own, and a cell that waits after each."
        folder = self.folder()
        kernel.run(f"folder = {folder!r}; times = []")
        quiet(self.where)
        for i in range(n):
            kernel.run(f"number, port = {i}, {free_port()}\n_start = time.monotonic()\n{code}\n_returned = time.monotonic()")
            kernel.run(f"{after}\ntimes.append((_start, _returned))")
        last, times = self.last(folder, n), kernel.value("times")
        self.values[name] += [1000*(last[i] - times[i][0]) for i in range(n)]
        self.values[f"{name} returned"] += [1000*(b - a) for a, b in times]


# --- the tools ----------------------------------------------------------------------------------------

OURS = "alloc = lb.allocate(2)\nrun = alloc.launch(make(folder, 0))"
AFTER = "assert run.wait(60).status == 'done', run; alloc.release()"

def ours(samples: Samples) -> None:
    "With the forkserver up."
    with Kernel(samples.where) as kernel:
        kernel.run(f"{NOTEBOOK}\nimport lepton_bench as lb; lb.allocate(1).release()")
    with Kernel(samples.where) as kernel:
        kernel.run(f"{NOTEBOOK}\nimport torch, lepton_bench as lb")
        samples.cold("ours", kernel, OURS)
        kernel.run("run.wait()")
        samples.warm("ours, warm", kernel, "run = alloc.launch(make(folder, number))", "assert run.wait(60).status == 'done', run")
        kernel.run("alloc.release()")

def ours_alone(samples: Samples) -> None:
    "With no forkserver yet."
    samples.where.forget_forkserver()
    with Kernel(samples.where) as kernel:
        kernel.run(f"{NOTEBOOK}\nimport lepton_bench as lb")
        samples.cold("ours, no forkserver yet", kernel, OURS)
        kernel.run(AFTER)

def ours_spawned(samples: Samples) -> None:
    with Kernel(samples.where, LEPTON_BENCH_FORKSERVER="0") as kernel:
        kernel.run(f"{NOTEBOOK}\nimport lepton_bench as lb")
        samples.cold("ours, FORKSERVER=0", kernel, OURS)
        kernel.run(AFTER)

def accelerate(samples: Samples) -> None:
    launch = "os.environ['MASTER_PORT'] = str(port); notebook_launcher(make(folder, {}, True), num_processes=2, use_port=str(port))"
    with Kernel(samples.where) as kernel:
        kernel.run(f"{NOTEBOOK}\nimport torch\nfrom accelerate import notebook_launcher")
        samples.cold("accelerate", kernel, launch.format(0))
        samples.warm("accelerate, warm", kernel, launch.format("number"), n=max(5, WARM//4))

def torchrun(samples: Samples) -> None:
    script, folder = Path(samples.where.root)/"work.py", samples.folder()
    script.write_text(f"{NOTEBOOK}\nmake({folder!r}, 0, True)()\n")
    quiet(samples.where)
    start = time.monotonic()
    samples.where.run("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()), str(script))
    samples.values["torchrun"].append(1000*(samples.last(folder)[0] - start))

def ipyparallel(samples: Samples) -> None:
    with Kernel(samples.where) as kernel:
        kernel.run(f"{NOTEBOOK}\nimport ipyparallel as ipp\n"
                   "def enter(rank, port): import os; os.environ.update(RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))\n"
                   "cluster = ipp.Cluster(n=2, log_level=30)")
        samples.cold("ipyparallel", kernel, "client = cluster.start_and_connect_sync(n=2, activate=False); view = client[:]; view.use_cloudpickle()\n"
                     "for r in range(2): client[r].apply_sync(enter, r, port)\nview.apply_sync(make(folder, 0))")
        samples.warm("ipyparallel, warm", kernel, "view.apply_sync(make(folder, number))")
        kernel.run("cluster.stop_cluster_sync(); client.close()")

def start_nbdistributed(kernel: Kernel, definitions: str) -> None:
    "Its ranks in distributed mode, with what `definitions` defines: it loses cells that are sent before its ranks have come up."
    kernel.run("import time\n%load_ext nbdistributed\n%dist_init -n 2\n%dist_mode -d\nshell = get_ipython()", timeout=120)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        kernel.run(f"shell.run_cell_magic('distributed', '', {definitions!r})")
        if kernel.run("shell.run_cell_magic('distributed', '', 'print(defined)')").count("True") == 2: return
        time.sleep(.5)
    raise TimeoutError("nbdistributed did not come up within 60 s")

def nbdistributed(samples: Samples) -> None:
    "Sends the text of a cell; its class and function are defined on the ranks beforehand."
    with Kernel(samples.where) as kernel:
        start_nbdistributed(kernel, f"{NOTEBOOK}\ndefined = True")
        samples.warm("nbdistributed, warm", kernel, "shell.run_cell_magic('distributed', '', f'make({folder!r}, {number})()')")
        kernel.run("shell.run_line_magic('dist_shutdown', '')")


FLOOR = '''
import cloudpickle, pickle, socket, struct, torch, torch.distributed as dist
store, ends = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False), []
for rank in range(2):
    here, there = socket.socketpair()
    if os.fork() == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        dist.init_process_group("gloo", store=dist.TCPStore("127.0.0.1", store.port, 2), rank=rank, world_size=2)
        there.send(b"r")
        while head := there.recv(4, socket.MSG_WAITALL): pickle.loads(there.recv(struct.unpack("i", head)[0], socket.MSG_WAITALL))()
        os._exit(0)
    there.close()
    ends.append(here)
for end in ends: end.recv(1)
def floor(function):
    data = cloudpickle.dumps(function)
    for end in ends: end.sendall(struct.pack("i", len(data)) + data)
'''

def floor(samples: Samples) -> None:
    "The least there can be: two ranks forked by the kernel itself, one socket each, the closure pickled, sent and called; no supervisor, log, run or answer."
    with Kernel(samples.where) as kernel:
        kernel.run(f"{NOTEBOOK}\nimport signal\n{FLOOR}")
        samples.warm("floor, warm", kernel, "floor(make(folder, number))", "time.sleep(.05)")
        kernel.run("for end in ends: end.close()")


def figures(rounds: int = 5) -> list[Figure]:
    with place() as where:
        samples = Samples(where)
        tools = {"ours": ours, "ours, no forkserver yet": ours_alone, "ours, FORKSERVER=0": ours_spawned, "torchrun": torchrun,
                 "floor": floor, **{f.__name__: f for f in (accelerate, ipyparallel, nbdistributed) if where.has(f.__name__)}}
        for r in range(rounds):
            for name, tool in rotate(tools, r):
                try: tool(samples)
                except (RuntimeError, TimeoutError) as e: print(f"round {r}, {name}: {e}", file=sys.stderr, flush=True)
    v = samples.values
    cold = {n: v[n] for n in ("accelerate", "torchrun", "ipyparallel")}
    warm = {n: v[f"{n}, warm"] for n in ("nbdistributed", "ipyparallel", "accelerate")}
    return [Figure("the floor of the next line: forks of the kernel itself, nothing but a socket", "ms", v["floor, warm"]),
            Figure("warm launch to the last rank past all_reduce", "ms", v["ours, warm"], {**warm, "torchrun": v["torchrun"]}, ratios={"best": .4}),
            Figure("warm launch: the call returns", "ms", v["ours, warm returned"], {n: v[f"{n}, warm returned"] for n in warm}, limit=3),
            Figure("cold allocate(2) to the same point", "ms", v["ours"], cold, ratios={"torchrun": .06, "accelerate": .8}),
            Figure("the same, no forkserver yet", "ms", v["ours, no forkserver yet"], cold, ratios={"torchrun": 1.}),
            Figure("the same, LEPTON_BENCH_FORKSERVER=0", "ms", v["ours, FORKSERVER=0"], cold)]


if __name__ == "__main__": show(figures(int(sys.argv[1]) if sys.argv[1:] else 5))
