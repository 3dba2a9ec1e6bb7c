"""Every figure beside its peers, in one table.   PEERS_PYTHON=<venv>/bin/python python tests/benchmarks/all.py [rounds] [part ...]

Parts: launch, cells, batch, responsive, throughput, metrics, imports. About half an hour for all of them on two cores; run it on a quiet machine. A peer
that is not installed beside lepton_bench
in PEERS_PYTHON's environment is left out: `pip install accelerate ipyparallel nbdistributed tensorboard trackio mlflow` brings them all.
"""
import importlib
import sys
import time

from common import PYTHON, show

PARTS = ("imports", "launch", "cells", "batch", "responsive", "throughput", "metrics")


def main(rounds: int, parts: tuple[str, ...]) -> None:
    found = []
    for name in parts:
        start = time.monotonic()
        try: module = importlib.import_module(name)
        except ModuleNotFoundError as e: print(f"{name}: left out, {e}", file=sys.stderr)
        else: found += module.figures(rounds)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print(f"\nmeasured in the environment of {PYTHON.rsplit('/', 3)[-3]}, {rounds} rounds\n")
    show(found)


if __name__ == "__main__": main(int(sys.argv[1]) if sys.argv[1:] else 5, tuple(sys.argv[2:]) or PARTS)
