"""One supervisor and 1,000 SIMULATED nodes, a rank each.   python tests/benchmarks/fleet.py [nodes] [rounds]

The nodes are ends of links in some twenty processes of this host (support/simulated_nodes.py): connections, keys, messages and heartbeats are real, the
ranks run
nothing and write one line each. The supervisor is a real one, as it would live in a job. Two cores do the work of a thousand hosts here, so the times are above
what the supervisor itself needs.
"""
import io
import os
import resource
import sys
import time
from pathlib import Path

from common import Figure, place, quiet, show

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

IDLE = 20.  # seconds


def nothing() -> None: pass


def hold() -> None: pass


def seconds_of(pid: int) -> dict[str, float]:
    "Processor time by thread: `main`, libzmq's, and the others, of which the authenticators are two."
    ticks, found = os.sysconf("SC_CLK_TCK"), dict[str, float]()
    for task in os.listdir(f"/proc/{pid}/task"):
        head, _, tail = Path(f"/proc/{pid}/task/{task}/stat").read_text().rpartition(")")
        name = head.partition("(")[2]
        kind = "main" if int(task) == pid else "libzmq" if name.startswith("ZMQ") else "others"
        found[kind] = found.get(kind, 0.) + sum(map(int, tail.split()[11:13]))/ticks
    return found


def timed(action) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def all_begun(run, count: int) -> None:
    logs, end = run.directory/"logs", time.monotonic() + 60
    while sum(os.path.getsize(path) > 0 for path in logs.glob("rank-*.log")) < count:
        if time.monotonic() > end: raise TimeoutError("not all ranks have begun")
        time.sleep(.05)


def figures(count: int = 1000, rounds: int = 3) -> list[Figure]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],)*2)
    with place() as where:
        os.environ.update(where.environment())
        from support.simulated_nodes import simulated_nodes

        from lepton_bench.display.output import TerminalOutput, Watch
        from lepton_bench.client.run import summary_line
        launched, folded, held, stopped, cpu = [], [], [], [], dict[str, float]()
        quiet(where)
        begun = time.monotonic()
        with simulated_nodes(count) as (alloc, found):
            up = time.monotonic() - begun
            for _ in range(rounds):
                quiet(where)
                run, shown = alloc.launch(nothing), io.StringIO()
                launched.append(timed(lambda run=run: run.wait(60)))
                Watch(run.directory, count, lambda run=run: summary_line(run), TerminalOutput(shown)).follow()
                folded.append(len(shown.getvalue().splitlines()))
                run = alloc.launch(hold)
                held.append(timed(lambda run=run: all_begun(run, count)))
                stopped.append(timed(run.stop))
            print(f"{count} simulated nodes; the launching cell shows of {count} equal lines:\n{shown.getvalue()}", file=sys.stderr)
            alloc.launch(nothing).wait(60)  # fresh ranks stand
            starts = [float(line.split()[1]) for line in (found.folder/"starts").read_text().splitlines()]
            quiet(where)
            before, begun = seconds_of(found.process.pid), time.monotonic()
            time.sleep(IDLE)
            took = time.monotonic() - begun
            cpu = {kind: 100*(s - before.get(kind, 0.))/took for kind, s in seconds_of(found.process.pid).items()}
            assert not found.file()["missing"], found.file()["missing"]
            down = time.monotonic()
        down = time.monotonic() - down
    n = f"{count} simulated nodes: "
    return [Figure(f"{n}supervisor's start until all have called", "s", [up], limit=10.),
            Figure(f"{n}warm start of all ranks", "s", starts, limit=10.),
            Figure(f"{n}launch until all have ended", "s", launched, limit=10.),
            Figure(f"{n}launch until all have begun", "s", held, limit=10.),
            Figure(f"{n}stop", "s", stopped, limit=10.),
            Figure(f"{n}release, all gone", "s", [down], limit=10.),
            Figure(f"{n}lines shown of as many equal ones", "", folded, limit=5.),
            Figure(f"{n}heartbeats, all threads, of one core", "%", [sum(cpu.values())], limit=20.),
            *(Figure(f"{n}    of these {kind}", "%", [share]) for kind, share in cpu.items())]


if __name__ == "__main__": show(figures(*map(int, sys.argv[1:3])))
