"""Ranks on a real Slurm of three nodes beside ranks of this host: how fast an allocation is there, and how fast a warm launch is.

    sudo python tests/benchmarks/cluster.py [rounds]     needs root and Debian's slurm-wlm; three slurmd on this host (tests/support/slurm_cluster.py)

Both kinds of allocation are measured in turn, in one process, with the same function: an all_reduce over the ranks, until the last rank's value is back.
"""
import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.isolation import Isolation
from support.slurm_cluster import SlurmCluster

RANKS = 3


def all_reduce() -> float:
    import torch
    import torch.distributed as dist
    one = torch.ones(1)
    dist.all_reduce(one)
    return one.item()


def seconds_of(launch) -> float:
    begun = time.perf_counter()
    assert launch().results(timeout=60)[0] == float(RANKS)
    return time.perf_counter() - begun


def main(rounds: int) -> None:
    place = Isolation.new()
    os.environ.update(place.variables() | {"LEPTON_BENCH_SIMULATED": str(RANKS)})  # one CPU rank each; no core is asked for twice
    try:
        with SlurmCluster() as cluster:
            os.environ.update(cluster.env)
            measure(cluster, rounds)
    finally:
        place.shut_down()
        place.remove()


def measure(cluster: SlurmCluster, rounds: int) -> None:
    import lepton_bench as lb
    from lepton_bench.settings import settings

    def local(): return lb.allocate(RANKS, name="here")
    def slurm(): return lb.allocate(RANKS, engine="slurm", nodes=RANKS, name="there")

    def started(job: int) -> float:
        return time.mktime(time.strptime(cluster.job(job)["StartTime"], "%Y-%m-%dT%H:%M:%S"))
    local().release()  # the forkserver is up
    ready, first = {"here": [], "there": []}, {"here": [], "there": []}
    for _ in range(max(3, rounds // 3)):
        for name, take in (("here", local), ("there", slurm)):
            begun = time.time()
            alloc = take()
            if name == "there": begun = max(begun, started(json.loads((settings().home/"allocations"/"there.json").read_text())["job"]))  # whole seconds
            ready[name].append(time.time() - begun)
            alloc.launch(all_reduce).results(timeout=60)
            first[name].append(time.time() - begun)
            alloc.release()
    warm = {"here": [], "there": []}
    allocations = {"here": local(), "there": slurm()}
    for alloc in allocations.values():
        for _ in range(5): alloc.launch(all_reduce).results(timeout=60)
    for _ in range(20*rounds):
        for name, alloc in allocations.items(): warm[name].append(seconds_of(lambda alloc=alloc: alloc.launch(all_reduce)))
    for alloc in allocations.values(): alloc.release()
    srun = []
    for _ in range(rounds):
        begun = time.perf_counter()
        cluster.command("srun", f"--nodes={RANKS}", "true")
        srun.append(time.perf_counter() - begun)

    def row(what: str, here: list[float], there: list[float], unit: float, name: str, reach: str) -> None:
        a, b = (statistics.median(x)*unit for x in (here, there))
        print(f"{what:58} local {a:8.2f} {name}   slurm {b:8.2f} {name}   ratio {b/a:5.2f}   {reach}")
    print(f"{RANKS} ranks, {rounds} rounds, medians")
    row("warm launch, function sent to last value back", warm["here"], warm["there"], 1e3, "ms", "asked: ratio under 2")
    row("allocate returns (slurm: counted from the job's start)", ready["here"], ready["there"], 1, "s ", "asked: under 3 s")
    row("and the first launch is done", first["here"], first["there"], 1, "s ", "")
    print(f"{'srun of a trivial step':58} {statistics.median(srun):.3f} s")


if __name__ == "__main__": main(int(sys.argv[1]) if sys.argv[1:] else 6)
