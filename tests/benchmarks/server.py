"""What an idle page costs the Jupyter server, and how soon it has everything.   python tests/benchmarks/server.py [seconds]

64 simulated devices of which 40 are held, 20 allocations, 5,000 runs that are over and 3 that go on, written as their supervisors write them; one page that
watches all tables, as the sidebar does. Processor time is read from /proc, in percent of one core; the same server without a page is beside it.
"""
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.isolation import Isolation  # noqa: E402

DEVICES, ALLOCATIONS, RUNS, GOING = 64, 20, 5000, 3


def furnish(place: Isolation) -> tuple[list, list]:
    "A home as of somebody who has worked for months: leases held by this process, and the writers of the runs that go on."
    import os
    os.environ.update(place.variables() | {"LEPTON_BENCH_SIMULATED": str(DEVICES)})
    from lepton_bench.core.files import write_atomically
    from lepton_bench.processes.identity import ProcessId
    from lepton_bench.resources.leases import Holder, try_lease
    from lepton_bench.store.runs import RunWriter, new_record, new_run_id, runs_directory
    from lepton_bench.supervisor.allocations import allocations_directory
    me = ProcessId.me().to_dict()
    allocations_directory().mkdir(parents=True)
    leases = []
    for n in range(ALLOCATIONS):
        ids, name = [f"sim-{2*n}", f"sim-{2*n + 1}"], f"allocation-{n}"
        leases += [try_lease(id, Holder.me(name, "train.ipynb")) for id in ids]
        content = {"name": name, "state": "idle", "count": 2, "kind": None, "memory": None, "engine": "local", "label": "train.ipynb", "created": time.time(),
                   "owner": me, "supervisor": me, "devices": ids, "labels": ids, "device_kind": "simulated", "socket": "", "ranks": {"0": me, "1": me},
                   "run": None, "queue": [], "once": False, "idle_since": time.time(), "warning": "", "broken": None}
        write_atomically(allocations_directory()/f"{name}.json", json.dumps(content).encode())
    values = {"loss": .31234, "accuracy": .8912, "learning_rate": 3e-4, "gradient_norm": 1.234}
    about = {"world_size": 2, "allocation": "allocation-1", "arguments": "epochs=5, lr=0.0003, width=512", "supervisor": me,
             "extra": {"values": values, "progress": {"0": [900, 1000], "1": [900, 1000]}}}

    def run(**fields: object) -> RunWriter:
        id = new_run_id()
        return RunWriter(runs_directory()/id, new_record(id, "train_classifier", started=time.time(), **about, **fields)).create()
    for _ in range(RUNS): run(status="done", ended=time.time(), reason="finished")
    return leases, [run(status="running") for _ in range(GOING)]


def percent(server: object, seconds: float, each_second: object = lambda: None) -> float:
    "Processor time of a server, in percent of one core."
    before, start = server.processor_seconds, time.monotonic()
    while (left := start + seconds - time.monotonic()) > 0:
        each_second()
        time.sleep(min(1., left))
    return 100*(server.processor_seconds - before)/(time.monotonic() - start)


def main(seconds: float) -> None:
    from support.jupyter_process import JupyterProcess
    place = Isolation.new()
    try:
        _, going = furnish(place)
        with JupyterProcess(place, env={"LEPTON_BENCH_SIMULATED": str(DEVICES)}) as server:
            time.sleep(5)  # until it has settled
            print(f"no page                       {percent(server, seconds):6.2f} % of a core")
            resident = server.resident
            for what in ("first page, everything new", "second page"):
                start = time.monotonic()
                page = server.page("devices", "allocations", "requests", "runs")
                page.until(lambda: len(page.tables.get("runs", {})) > 0 and "devices" in page.tables)  # noqa: B023
                first = time.monotonic() - start
                page.until(lambda: len(page.tables["runs"]) == RUNS + GOING)  # noqa: B023
                sizes = {topic: sum(n for t, n in page.sizes if t == topic) for topic in ("devices", "allocations", "runs")}
                print(f"{what:29} {1000*first:6.0f} ms to the first rows, {1000*(time.monotonic() - start):.0f} ms to all {RUNS + GOING} runs; "
                      + ", ".join(f"{topic} {size/1000:.0f} kB" for topic, size in sizes.items()))
                if what.startswith("first"): page.close()
            page.socket.settimeout(.001)

            def drain() -> None:
                try:
                    while True: page.read()
                except Exception: pass  # nothing more for now
            step = 900

            def train() -> None:
                nonlocal step
                step += 1
                for writer in going: writer.update(steps=step, extra={**writer.record.extra, "progress": {"0": [step, 1000]}})
                drain()
            time.sleep(5)
            for what, each_second in (("a page, nothing goes on", drain), (f"a page, {GOING} runs go on", train)):
                page.sizes.clear()
                print(f"{what:29} {percent(server, seconds, each_second):6.2f} % of a core, {sum(n for _, n in page.sizes)/seconds/1000:.1f} kB/s")
            print(f"memory                        {(server.resident - resident)/1e6:6.1f} MB more than without a page ({resident/1e6:.0f} MB)")
            page.close()
    finally: place.remove()


if __name__ == "__main__": main(float(sys.argv[1]) if sys.argv[1:] else 30.)
