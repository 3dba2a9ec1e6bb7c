"""A sweep in a storm: kernels, runners and the driver are killed at random until all is done.   python tests/benchmarks/storm.py [sets] [seed]

Each kill is drawn by the seed, lands on a process that was seen alive, and is counted. At the end every set is done, every set that was done before a kill was
not run again, and no kernel, lease, socket or connection file is left.
"""
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from common import place

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.headless_notebooks import write_notebook

CELL = """import lepton_bench as lb, os, time
with open(f"tries-{x}", "a") as f: f.write(f"{os.getpid()}\\n")
end = time.monotonic() + .15
while time.monotonic() < end: pass
lb.record("x", x)"""


def main(count: int, seed: int) -> None:
    with place() as where:
        os.environ.update({k: v for k, v in where.environment().items() if k.startswith("LEPTON_BENCH_")} | {"LEPTON_BENCH_SIMULATED": "4"})
        import lepton_bench as lb
        from lepton_bench.processes.identity import ProcessId
        from lepton_bench.store.runs import read_run, runs_directory
        folder, draw, kills = where.root/"work", random.Random(seed), {"kernel": 0, "runner": 0, "driver": 0}
        notebook = write_notebook(folder/"storm.ipynb", "x = 0", CELL)

        def start(): return lb.sweep(notebook, {"x": list(range(count))}, parallel=4, retries=5)

        def victim(sweep, kind: str) -> ProcessId | None:
            "A living process of that kind."
            if kind == "driver": return ProcessId.from_dict(sweep.record.supervisor)
            running = [s for s in sweep.sets if s.status == "running" and s.run]
            if not running: return None
            chosen = draw.choice(running)
            try:
                if kind == "runner": return ProcessId.from_dict(read_run(runs_directory()/chosen.run).supervisor)
                return ProcessId.of(int((folder/f"tries-{chosen.parameters['x']}").read_text().split()[-1]))
            except (lb.BenchError, OSError, IndexError, ValueError): return None
        begun, sweep, before, starts = time.monotonic(), start(), {}, 1
        while True:
            time.sleep(draw.uniform(.1, .6))
            record = sweep.record
            if record.status in ("done", "failed", "lost"):
                if record.status == "done": break
                done = {s.key: s.ended for s in sweep.sets if s.status == "done"}
                assert before.items() <= done.items(), "what was done is not done again"
                before, sweep, starts = done, start(), starts + 1
                continue
            kind = draw.choices(("kernel", "runner", "driver"), (6, 4, 1))[0]
            if (process := victim(sweep, kind)) is None or not process.alive(): continue
            os.kill(process.pid, signal.SIGKILL)
            kills[kind] += 1
        sets = sweep.sets
        assert [s.values for s in sets] == [{"x": i} for i in range(count)]
        left = {"held": [d.device.id for d in lb.devices() if d.holder], "sockets": len(list((where.root/"sockets").glob("k-*"))),
                "connection files": len(list(runs_directory().glob("*/kernel.json")))}
        tries = sum(len((folder/f"tries-{x}").read_text().split()) for x in range(count))
        print(json.dumps({"sets": count, "seed": seed, "seconds": round(time.monotonic() - begun, 1), "kills": kills, "starts": starts,
                          "executions": tries, "left": left}))


if __name__ == "__main__": main(int(sys.argv[1]) if sys.argv[1:] else 200, int(sys.argv[2]) if sys.argv[2:] else 1)
