"""Notebooks without a person: a batch of eight, one on an allocation, a kernel's start, what idle kernels weigh.   python tests/benchmarks/batch.py [rounds]

Beside papermill one by one and nbclient two at a time, in one run, on the same notebooks: each imports torch, has one parameter and computes for 0.2 s.
"""
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from common import PYTHON, Figure, Place, place, quiet, rotate, show

COUNT, IDLE = 8, 16

MAKE = """
import nbformat, sys
from nbformat.v4 import new_code_cell, new_notebook
cells = ["alpha = 0", "import torch", '''import time
t = time.perf_counter(); x = torch.zeros(64, 64)
while time.perf_counter() - t < 0.2: x = x @ x + alpha
print("alpha is", float(alpha))''']
found = new_notebook(cells=[new_code_cell(c) for c in cells], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
found.cells[0].metadata["tags"] = ["parameters"]
nbformat.write(found, "in.ipynb")
"""

OURS = f"""
import lepton_bench as lb, json, time
start = time.perf_counter()
sweep = lb.sweep("in.ipynb", {{"alpha": list(range({COUNT}))}}, output="out").wait(300)
assert sweep.status == "done", sweep.record.reason
print(json.dumps([time.perf_counter() - start, [f"out/{{s.output}}" for s in sweep.sets]]))
"""

LAUNCHED = """
import lepton_bench as lb, json, time
def timed(run):
    start = time.perf_counter()
    assert run().wait(120).status == "done"
    return time.perf_counter() - start
with lb.allocate(1) as alloc:
    timed(lambda: alloc.launch("in.ipynb", alpha=0))  # the forkserver of kernels is there, as it is after the first notebook of a day
    launched = [timed(lambda: alloc.launch("in.ipynb", alpha=i)) for i in range(3)]
    swept = [timed(lambda: lb.sweep("in.ipynb", {"alpha": [i]}, output=f"out{i}", devices_each=0)) for i in range(3)]
print(json.dumps([min(launched), min(swept)]))
"""

PAPERMILL = f"""
import papermill, json, time
start = time.perf_counter()
for i in range({COUNT}): papermill.execute_notebook("in.ipynb", f"out{{i}}.ipynb", parameters={{"alpha": i}}, progress_bar=False, log_output=False)
print(json.dumps([time.perf_counter() - start, [f"out{{i}}.ipynb" for i in range({COUNT})]]))
"""

NBCLIENT = f"""
import asyncio, json, nbformat, time
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
async def main():
    two = asyncio.Semaphore(2)
    async def one(i):
        async with two:
            found = parameterize_notebook(load_notebook_node("in.ipynb"), {{"alpha": i}})
            await NotebookClient(found, kernel_name="python3").async_execute()
            nbformat.write(found, f"out{{i}}.ipynb")
    await asyncio.gather(*map(one, range({COUNT})))
start = time.perf_counter()
asyncio.run(main())
print(json.dumps([time.perf_counter() - start, [f"out{{i}}.ipynb" for i in range({COUNT})]]))
"""

KERNEL = """
import json, logging, sys, time
from jupyter_client.manager import start_new_kernel
logging.disable()
start = time.perf_counter()
manager, client = start_new_kernel(kernel_name=sys.argv[1], startup_timeout=60)
reply = client.execute_interactive("import torch; assert float(torch.ones(3).sum()) == 3", timeout=60, output_hook=lambda m: None)
assert reply["content"]["status"] == "ok"
used = time.perf_counter() - start
client.stop_channels(); manager.shutdown_kernel()
print(json.dumps([used, time.perf_counter() - start]))
"""

WEIGHT = f"""
import json, re, sys
from jupyter_client.manager import start_new_kernel
from lepton_bench.processes.forkserver import forkservers
kernels = [start_new_kernel(kernel_name=sys.argv[1], startup_timeout=60) for _ in range({IDLE})]
for _, client in kernels: client.execute_interactive("import torch, matplotlib.pyplot", timeout=60, output_hook=lambda m: None)
def pss(pid): return int(re.search(r"Pss:\\s+(\\d+)", open(f"/proc/{{pid}}/smaps_rollup").read())[1]) / 1024
servers = [process.pid for _, process in forkservers()] if sys.argv[1] == "lepton" else []
print(json.dumps([sum(pss(m.provisioner.pid) for m, _ in kernels), sum(map(pss, servers))]))
for manager, client in kernels: client.stop_channels(); manager.shutdown_kernel(now=True)
"""


def batch(where: Place, code: str) -> float:
    "Seconds for all notebooks, whose outputs are looked at."
    folder = Path(tempfile.mkdtemp(dir=where.root))
    (folder/"go.py").write_text(f"import os; os.chdir({str(folder)!r})\n{MAKE}\n{code}")
    quiet(where)
    seconds, outputs = json.loads(where.run(str(folder/"go.py"), timeout=400).splitlines()[-1])
    for i, name in enumerate(outputs): assert f"alpha is {float(i)}" in (folder/name).read_text(), f"{name} has no result"
    return seconds


def one(where: Place) -> tuple[float, float]:
    "Seconds for a notebook on an allocation, and for a sweep of one set."
    folder = Path(tempfile.mkdtemp(dir=where.root))
    (folder/"go.py").write_text(f"import os; os.chdir({str(folder)!r})\n{MAKE}\n{LAUNCHED}")
    quiet(where)
    return tuple(json.loads(where.run(str(folder/"go.py"), timeout=400).splitlines()[-1]))


def kernel(where: Place, name: str) -> tuple[float, float]:
    "Seconds to the end of the first cell, and to the end of the kernel."
    quiet(where)
    return tuple(json.loads(where.run("-c", KERNEL, name).splitlines()[-1]))


def figures(rounds: int = 5) -> list[Figure]:
    batches, single, first, whole, weight = (defaultdict[str, list[float]](list) for _ in range(5))
    with place() as where:
        kernel(where, "lepton")  # the forkserver is there, as it is after the first kernel of a day
        tools = {"ours": OURS, "papermill one by one": PAPERMILL, "nbclient two at a time": NBCLIENT}
        for r in range(rounds):
            for name, code in rotate(tools, r): batches[name].append(batch(where, code))
            for name, value in zip(("ours", "sweep"), one(where)): single[name].append(value)
            for name, spec in rotate({"ours": "lepton", "stock": "python3"}, r):
                for found, value in zip((first, whole), kernel(where, spec)): found[name].append(value)
        for name, spec in (("ours", "lepton"), ("stock", "python3")):
            kernels, servers = json.loads(where.run("-c", WEIGHT, spec, timeout=400).splitlines()[-1])
            weight[name].append(kernels + servers)
    peers = {n: v for n, v in batches.items() if n != "ours"}
    return [Figure(f"{COUNT} notebooks that import torch and compute for 0.2 s", "s", batches["ours"], peers,
                   ratios={"papermill one by one": .15, "nbclient two at a time": .3}),
            Figure("one such notebook, by alloc.launch", "s", single["ours"], {"a sweep of one set": single["sweep"]}, ratios={"a sweep of one set": 2.}),
            Figure("kernel start to the end of a first cell with torch", "s", first["ours"], {"stock": first["stock"]}),
            Figure("the same, and the kernel's shutdown", "s", whole["ours"], {"stock": whole["stock"]}, ratios={"stock": .25}),
            Figure(f"memory (PSS) of {IDLE} idle kernels, with what they are forked from", "MiB", weight["ours"], {"stock": weight["stock"]},
                   ratios={"stock": .4})]


if __name__ == "__main__":
    found = figures(int(sys.argv[1]) if sys.argv[1:] else 5)
    show(found)
    print(f"median batch {statistics.median(found[0].ours):.2f} s with {PYTHON}; {time.strftime('%Y-%m-%d')}")
