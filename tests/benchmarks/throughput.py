"""The quickstart's training loop under lepton_bench and under torchrun, in pairs.   python tests/benchmarks/throughput.py [rounds] [images]

The network and the loop are the cells of `nbs/tutorials/90_quickstart.ipynb` themselves, so `lb.log` and `lb.progress` are called in each
step; only under lepton_bench do they log.
Reading the data and the evaluation are left out of the time. Each pair runs both, in turn; the ratio is within the pair.
"""
import json
import sys
from pathlib import Path

from common import Figure, Kernel, Place, free_port, place, quiet, rotate, show
from support.isolation import REPOSITORY

MEASURE = '''
import functools, json, sys, time
pictures, accuracy = functools.cache(pictures), lambda *_: 0.

def measure(path, images):
    "Images per second of both ranks together, over one epoch."
    options = dict(train_size=images, learning_rate=1e-3, seed=0)
    train(1, batch=images//(2*5), **options)  # warms up: the data is read, memory is there
    dist.barrier()
    start = time.perf_counter()
    train(1, batch=64, **options)
    dist.barrier()
    took = time.perf_counter() - start
    if dist.get_rank() == 0:
        with open(path, "w") as file: json.dump({"rate": images//128*128/took, "threads": torch.get_num_threads()}, file)
'''
MAIN = '''
if __name__ == "__main__":
    dist.init_process_group("gloo")
    measure(sys.argv[1], int(sys.argv[2]))
    dist.destroy_process_group()
'''


def loop() -> str:
    "The quickstart's imports, network, data and training function."
    notebook = json.loads((REPOSITORY/"nbs"/"tutorials"/"90_quickstart.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    wanted = ("import lepton_bench as lb", "def network(", "def pictures(", "def train(")
    return "\n\n".join(next(c for c in cells if w in c) for w in wanted) + MEASURE


def rate(path: Path) -> float:
    found = json.loads(path.read_text())
    path.unlink()
    assert found["threads"] == 1, found  # both have two ranks on two cores, or the comparison means nothing
    return found["rate"]

def under_torchrun(where: Place, images: int) -> float:
    script, result = Path(where.root)/"quickstart.py", Path(where.root)/"rate.json"
    script.write_text(loop() + MAIN)
    where.run("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()), str(script), str(result), str(images), timeout=600)
    return rate(result)

def under_ours(where: Place, images: int) -> float:
    result = Path(where.root)/"rate.json"
    with Kernel(where) as kernel:
        kernel.run(f"{loop()}\nalloc = lb.allocate(2)\nrun = alloc.launch(measure, {str(result)!r}, {images})")
        kernel.run("assert run.wait(600).status == 'done', run; alloc.release()", timeout=600)
    return rate(result)


def figures(rounds: int = 5, images: int = 20_000) -> list[Figure]:
    pairs: list[dict[str, float]] = []
    with place() as where:
        for r in range(rounds):
            pairs.append({})
            for name, tool in rotate({"ours": under_ours, "torchrun": under_torchrun}, r):
                quiet(where)
                pairs[-1][name] = tool(where, images)
    ratios = [p["ours"]/p["torchrun"] for p in pairs]
    return [Figure("training throughput, both ranks", "images/s", [p["ours"] for p in pairs], {"torchrun": [p["torchrun"] for p in pairs]}, more=True),
            Figure("the same as a ratio to torchrun, in pairs", "", ratios, limit=.98, more=True)]


if __name__ == "__main__": show(figures(*map(int, sys.argv[1:3])))
