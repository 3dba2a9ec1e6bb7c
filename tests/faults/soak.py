"""A long day: many launches, many allocations, a long training at 1,000 points a second, with a Jupyter server and a page looking on.

    python tests/faults/soak.py [launches] [allocations] [minutes]          2,000, 200 and 60, if nothing is said

Memory (proportional set size) and open descriptors of the supervisor, the private forkserver and the server are looked at after a warm-up and at the end;
growth of memory beyond 5 % or any of descriptors fails.
"""
import contextlib
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.isolation import Isolation  # noqa: E402
from support.jupyter_process import JupyterProcess  # noqa: E402

RATE, WARM, MORE = 1000, .2, 1.05  # points a second; share of the time that is warm-up; allowed growth


def train(minutes: float, rate: int) -> int:
    "Logs `rate` points a second on rank 0, ten names."
    import lepton_bench as lb
    end, step, began = time.monotonic() + 60*minutes, 0, time.monotonic()
    while time.monotonic() < end:
        lb.log(step=step, **{f"m{i}": float(step + i) for i in range(10 if os.environ["RANK"] == "0" else 1)})
        step += 1
        time.sleep(max(0., began + step*10/rate - time.monotonic()))
    return step


def weight(pid: int) -> float:  # MiB
    return int(re.search(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[1]) / 1024  # type: ignore[index]

def descriptors(pid: int) -> int: return len(os.listdir(f"/proc/{pid}/fd"))


def main(launches: int, allocations: int, minutes: float) -> dict:
    place = Isolation.new()
    os.environ.update({**place.variables(), "LEPTON_BENCH_SIMULATED": "6"})
    found: dict = {"launches": launches, "allocations": allocations, "minutes": minutes}
    try:
        with JupyterProcess(place, env={"LEPTON_BENCH_SIMULATED": "6"}) as server:
            import lepton_bench as lb
            from lepton_bench.processes.identity import children
            page = server.page("runs", "allocations", "devices")
            reading = threading.Thread(target=_read_on, args=(page,), daemon=True)
            reading.start()
            long, short = lb.allocate(2, name="long"), lb.allocate(2, name="short")
            run = long.options(output=False).launch(train, minutes, RATE)
            pids = {"supervisor of the long training": long.supervisor.pid, "its forkserver": children(long.supervisor.pid)[0],
                    "supervisor of the launches": short.supervisor.pid, "its own forkserver": children(short.supervisor.pid)[0], "server": server.process.pid}
            began, done, taken, first = time.monotonic(), 0, 0, dict[str, tuple[float, int]]()
            while not run.record.finished or done < launches or taken < allocations:
                share = min(1., (time.monotonic() - began) / (60*minutes))
                if done < launches * share or (run.record.finished and done < launches):
                    assert short.options(output=False).launch(len, "ab").results(60) == [2, 2]
                    done += 1
                elif taken < allocations * share or (run.record.finished and taken < allocations):
                    lb.allocate(2, name=f"a{taken}").release()
                    taken += 1
                else: time.sleep(.01)
                if not first and share > WARM: first = {name: (weight(pid), descriptors(pid)) for name, pid in pids.items()}
            last = {name: (weight(pid), descriptors(pid)) for name, pid in pids.items()}
            steps, table = run.result(60), run.metrics()
            assert sum(p == 0 for p in table["rank"].to_pylist()) == 10*steps, "every point is there"
            found |= {"points": table.num_rows, "points a second": round(table.num_rows / (60*minutes))}
            found["memory, MiB, and descriptors"] = {name: [[round(m, 1), n] for m, n in (first[name], last[name])] for name in pids}
            found["grown"] = [name for name in pids if last[name][0] > MORE*first[name][0] or last[name][1] > first[name][1]]
            page.close()
            for alloc in (long, short): alloc.release()
        found["left"] = place.shut_down()
    finally: place.remove()
    return found


def _read_on(page) -> None:
    with contextlib.suppress(Exception):
        while True: page.read()


if __name__ == "__main__":
    given = [kind(x) for kind, x in zip((int, int, float), sys.argv[1:])]
    result = main(*given, *(2000, 200, 60.)[len(given):])
    print(json.dumps(result))
    sys.exit(bool(result["grown"] or result["left"]))
