"""Chaos: faults drawn by a seed hit a real training and a real sweep, and after each one everything that was promised is checked.

    python tests/faults/chaos.py [faults] [seed]          make chaos: 500 of them

The scene: on simulated devices, a kernel has launched a training on two ranks, each with a DataLoader worker and a subprocess of its own; a sweep executes
notebooks; a Jupyter server looks on. The home lies on a small disk, if this process may mount one. Each rank notes on another disk what it has logged after
`lb.log` has returned: these points are acknowledged, and have to be there. A fault counts only when it was seen to have landed.
"""
import contextlib
import json
import os
import random
import signal
import struct
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.headless_notebooks import write_notebook  # noqa: E402
from support.isolation import Isolation, _parent  # noqa: E402
from support.jupyter_process import JupyterProcess  # noqa: E402
from support.live_kernel import Kernel  # noqa: E402
from support.small_disk import fill, mounted  # noqa: E402

DISK = 384 << 20  # bytes
NEXT = 2.  # seconds within which the next allocation is there
COLD = 20.  # the same, when the forkserver has to import torch first
CLOCK = """
import mmap, os, struct, time
_shift = mmap.mmap(os.open(os.path.join(os.path.dirname(__file__), "clock"), os.O_RDONLY), 8, prot=mmap.PROT_READ)
def _shifted(real, scale): return lambda: real() + type(real())(scale * struct.unpack("d", _shift)[0])
time.time, time.time_ns = _shifted(time.time, 1), _shifted(time.time_ns, 10**9)
"""  # the wall clock of every Python process of the scene goes by a file

TRAIN = '''
def train(witness, child_seconds=100_000):
    import os, subprocess, time, torch, torch.distributed as dist
    rank, attempt = dist.get_rank(), os.environ["TORCHELASTIC_RESTART_COUNT"]
    subprocess.Popen(["sleep", str(child_seconds)], start_new_session=True)
    loader = torch.utils.data.DataLoader(range(10_000_000), num_workers=1)
    out = os.open(f"{witness}/rank-{rank}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    state = lb.load_checkpoint() or {"step": 0, "weight": torch.zeros(1000)}
    step, weight = state["step"], state["weight"]
    assert bool((weight == step).all()), "the checkpoint is not what was saved"
    for _ in loader:
        weight += 1
        one = torch.ones(1); dist.all_reduce(one)
        lb.log(step=step, value=2.*step + rank)
        os.write(out, f"{attempt} {step}\\n".encode())  # acknowledged: log has returned
        step += 1
        if step % 10 == 0:
            try: lb.save_checkpoint({"step": step, "weight": weight}, step, keep_last=3, timeout=20.)
            except lb.BenchError as e: print(e)
        time.sleep(.01)
'''
CELL = """import lepton_bench as lb, os, time
with open(f"{folder}/tries-{x}", "a") as f: f.write(f"{os.getpid()}\\n")
end = time.monotonic() + .3
while time.monotonic() < end: pass
lb.record("x", x)"""


BREAK = """
import os, sys
if "lepton_bench.processes.forkserver" in sys.orig_argv:
    import lepton_bench.processes.rank_forkserver as private
    hold = private.PrivateForkserver.handle
    def handle(self, request):
        found = hold(self, request)
        if request["op"] == "hold": os.close(self.leases.pop())
        return found
    private.PrivateForkserver.handle = handle
"""  # the private forkserver drops one lease


class Broken(AssertionError):
    "Something that was promised does not hold."


def until(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition(): return value
        time.sleep(.01)
    raise Broken(f"{what}: not within {timeout:g} s")


@dataclass
class Scene:
    "What is broken, and who looks at it."
    place: Isolation
    draw: random.Random
    kernel: Any = None
    server: Any = None
    sweep: Any = None
    alloc: Any = None
    run: Any = None
    cold: bool = False  # the forkserver is gone: the next allocation waits for another one
    sweeps: int = 0
    allocations: int = 0
    counts: Counter = field(default_factory=Counter)
    checks: Counter = field(default_factory=Counter)
    slowest: float = 0.  # seconds of an allocation

    @property
    def witness(self) -> Path: return self.place.root/"witness"
    @property
    def work(self) -> Path: return self.place.root/"work"

    # --- the scene ---------------------------------------------------------------------------------

    def set_up(self) -> None:
        for folder in (self.witness, self.work): folder.mkdir(exist_ok=True)
        write_notebook(self.work/"set.ipynb", f"x = 0\nfolder = {str(self.work)!r}", CELL)
        self.start_kernel()
        self.kernel.run("alloc = lb.allocate(2, name='chaos')", timeout=90)
        id = self.kernel.value(f"alloc.options(max_restarts=100_000, retry_exceptions=True, output=False).launch(train, {str(self.witness)!r}).id")
        import lepton_bench as lb
        self.run, self.alloc = lb.get_run(id), lb.attach("chaos")
        self.start_sweep()
        self.start_server()
        self.await_steps()

    def start_kernel(self) -> None:
        if self.kernel: self.kernel.close()
        self.kernel = Kernel(cwd=self.work)
        self.kernel.run("import lepton_bench as lb\n" + TRAIN)

    def start_server(self) -> None:
        if self.server: self.server.end()
        self.server = JupyterProcess(self.place, env={"LEPTON_BENCH_SIMULATED": "5"})

    def start_sweep(self) -> None:
        import lepton_bench as lb
        self.sweeps += 1
        self.sweep = lb.sweep(self.work/"set.ipynb", {"x": list(range(1000*self.sweeps, 1000*self.sweeps + 200))}, parallel=1, retries=100_000,
                              output=self.work/f"sweep-{self.sweeps}")

    def tear_down(self) -> None:
        import lepton_bench as lb
        for stop in (lambda: self.sweep and self.sweep.stop(), lambda: self.alloc and self.alloc.release(), lambda: self.kernel and self.kernel.close(),
                     lambda: self.server and self.server.end()):
            with contextlib.suppress(lb.BenchError, RuntimeError): stop()

    # --- what is alive -----------------------------------------------------------------------------

    def ranks(self) -> dict[int, Any]:
        from lepton_bench.processes.identity import ProcessId
        with contextlib.suppress(Exception):
            return {int(r): p for r, d in self.alloc.info["ranks"].items() if (p := ProcessId.from_dict(d)).alive()}
        return {}

    def private(self) -> Any:
        "The private forkserver."
        from lepton_bench.processes.identity import ProcessId, children
        found = children(self.alloc.supervisor.pid)
        return ProcessId.of(found[0]) if found else None

    def shared(self) -> Any:
        from lepton_bench.processes.forkserver import forkservers
        found = [p for _, p in forkservers()]
        return self.draw.choice(found) if found else None

    def driver(self) -> Any:
        from lepton_bench.processes.identity import ProcessId
        record = self.sweep.record
        return ProcessId.from_dict(record.supervisor) if not record.finished and record.supervisor else None

    def runner(self) -> Any:
        from lepton_bench.processes.identity import ProcessId
        from lepton_bench.store.runs import read_run, runs_directory
        for s in self.sweep.sets:
            if s.status == "running" and s.run:
                with contextlib.suppress(Exception): return ProcessId.from_dict(read_run(runs_directory()/s.run).supervisor)
        return None

    def set_kernel(self) -> Any:
        from lepton_bench.processes.identity import ProcessId
        for s in self.sweep.sets:
            if s.status == "running":
                with contextlib.suppress(OSError, IndexError, ValueError):
                    return ProcessId.of(int((self.work/f"tries-{s.parameters['x']}").read_text().split()[-1]))
        return None

    # --- witnesses ---------------------------------------------------------------------------------

    def acknowledged(self, rank: int) -> list[tuple[int, int]]:  # attempt, step
        try: lines = (self.witness/f"rank-{rank}").read_text().splitlines(keepends=True)
        except OSError: return []
        return [(int(a), int(s)) for a, s in (line.split() for line in lines if line.endswith("\n"))]

    def await_steps(self, timeout: float = 60.) -> None:
        "Both ranks have done new steps, after the run was resumed if it had ended."
        before = {rank: len(self.acknowledged(rank)) for rank in (0, 1)}
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if all(len(self.acknowledged(rank)) > before[rank] + 3 for rank in (0, 1)): return
            if self.run.status in ("lost", "failed", "stopped"): self.resume()
            time.sleep(.02)
        raise Broken(f"the training does not go on within {timeout:g} s: {self.run!r}\n{self.run.logs()[-1500:]}")

    def resume(self) -> None:
        import lepton_bench as lb
        if not self.alloc.alive: self.alloc = self.allocate(2)
        with contextlib.suppress(lb.BenchError): self.run.resume(self.alloc)

    def allocate(self, count: int) -> Any:
        "An allocation, within the time that was promised."
        import lepton_bench as lb
        self.allocations += 1
        start = time.monotonic()
        found = lb.allocate(count, name=f"chaos-{self.allocations}", timeout=60.)
        took, limit = time.monotonic() - start, COLD if self.cold else NEXT
        self.cold = False
        if took > limit: raise Broken(f"an allocation of {count} took {took:.2f} s, {limit:g} s was promised")
        self.slowest = max(self.slowest, took)
        return found

    # --- what was promised -------------------------------------------------------------------------

    def check(self) -> None:
        for name in ("metrics", "checkpoint", "devices", "descriptors", "processes", "sets", "next"):
            getattr(self, f"check_{name}")()
            self.checks[name] += 1

    def check_metrics(self) -> None:
        "Every acknowledged point is there, once, and the curve has no gap."
        known = {rank: self.acknowledged(rank) for rank in (0, 1)}
        rows = self.run.metrics().to_pylist()
        for rank in (0, 1):
            points = [(p["step"], p["value"]) for p in rows if p["rank"] == rank]
            steps = [s for s, _ in points]
            if len(steps) != len(set(steps)): raise Broken(f"rank {rank}: {len(steps) - len(set(steps))} steps are there twice")
            if sorted(steps) != list(range(len(steps))): raise Broken(f"rank {rank}: the curve has gaps: {_gaps(steps)}")
            if wrong := [(s, v) for s, v in points if v != 2.*s + rank]: raise Broken(f"rank {rank}: wrong values {wrong[:5]}")
            if missing := sorted(_counting(known[rank]) - set(steps)):
                raise Broken(f"rank {rank}: {len(missing)} acknowledged steps are missing: {missing[:5]} to {missing[-1]}")

    def check_checkpoint(self) -> None:
        "The newest that can be read is what was saved, and is not far behind."
        from lepton_bench.store.checkpoints import load_latest
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of those that were damaged on purpose
            state = load_latest(self.run.directory)
        if state and not bool((state["weight"] == state["step"]).all()): raise Broken(f"the checkpoint of step {state['step']} is not what was saved")

    def check_devices(self) -> None:
        "A device is in one living allocation at most, locked if it is in one, and free if nobody lives."
        import lepton_bench as lb
        living = lb.allocations()
        held = Counter(d for a in living for d in a.get("devices", []))
        if twice := [d for d, n in held.items() if n > 1]: raise Broken(f"held twice: {twice}")
        for row in lb.devices():
            if row.device.id in held and row.holder is None: raise Broken(f"{row.device.id} is in an allocation, and free at the same time")
        named = {a["name"] for a in living}

        def leaked() -> list[str]:
            return [f"{r.device.id} by {r.holder}" for r in lb.devices() if r.holder and r.device.id not in held and not r.holder.process.alive()
                    and r.holder.allocation not in named]
        if leaked(): until(lambda: not leaked(), 5, f"free again: {leaked()}")

    def check_descriptors(self) -> None:
        "A lease is held by the supervisor, the private forkserver and its own rank, and by no other rank."
        until(lambda: not self.wrong_descriptors(), 10, f"the leases are held as they should be: {self.wrong_descriptors()}")

    def wrong_descriptors(self) -> list[str]:
        from lepton_bench.resources.leases import PREFIX, lease_directory
        info, private, found = self.alloc.info, self.private(), list[str]()
        ranks = {int(r): d["pid"] for r, d in info["ranks"].items()}
        if private is None or len(ranks) != len(info["devices"]): return ["the ranks are not all there"]
        for rank, device in enumerate(info["devices"]):
            path = str(lease_directory()/f"{PREFIX}.{device}.lock")
            holders = {pid for pid in (info_pid(info), private.pid, *ranks.values()) if path in open_files(pid)}
            if holders != {info_pid(info), private.pid, ranks[rank]}:
                found.append(f"{device} of rank {rank} by {sorted(holders)}, ranks {ranks}, private {private.pid}")
        return found

    def expected(self) -> set[int]:
        "Processes that may be here."
        import lepton_bench as lb
        from lepton_bench.processes.identity import descendants
        from lepton_bench.processes.forkserver import forkservers
        roots = [self.kernel.pid, self.server.process.pid, *(p.pid for _, p in forkservers()), *(a["supervisor"]["pid"] for a in lb.allocations())]
        if driver := self.driver(): roots.append(driver.pid)
        if not (record := self.sweep.record).finished and record.supervisor: roots.append(record.supervisor["pid"])
        found = {*roots, *(d for r in roots for d in descendants(r))}
        for s in self.sweep.sets:  # a set's kernel is a child of the forkserver's
            if s.status == "running":
                with contextlib.suppress(OSError, IndexError, ValueError): found.add(int((self.work/f"tries-{s.parameters['x']}").read_text().split()[-1]))
        return found

    def check_processes(self) -> None:
        "Nobody is here who belongs to nobody."
        def strays() -> dict[int, str]:
            here, expected = self.place.processes(), self.expected()
            return {pid: f"{command} (child of {_parent(pid)})" for pid, command in here.items() if pid not in expected and pid != os.getpid()}
        if strays():
            try: until(lambda: not strays(), 10, f"processes that belong to nobody end: {strays()}")
            except Broken:
                if os.environ.get("CHAOS_DEBUG"):
                    import lepton_bench as lb
                    print(lb.allocations(), self.place.processes(), self.alloc.alive, self.alloc.supervisor); os.system("ps -ef | tail -60")
                raise

    def check_sets(self) -> None:
        "What a sweep has done is recorded."
        for s in self.sweep.sets:
            if s.status == "done" and s.values != {"x": s.parameters["x"]}: raise Broken(f"set {s.index} is done and has {s.values}")

    def check_next(self) -> None: self.allocate(1).release()


def info_pid(info: dict) -> int: return info["supervisor"]["pid"]

def open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError): found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found

def _gaps(steps: list[int]) -> str:
    there = set(steps)
    return ", ".join(str(s) for s in range(max(there, default=0)) if s not in there)[:200]


def _counting(known: list[tuple[int, int]]) -> set[int]:
    "Acknowledged steps that no later attempt has begun to do again."
    found, first = set[int](), float("inf")
    for attempt in sorted({a for a, _ in known}, reverse=True):
        steps = [s for a, s in known if a == attempt]
        found |= {s for s in steps if s < first}
        first = min(first, *steps)
    return found


# --- faults -------------------------------------------------------------------------------------------

def kill(process: Any) -> bool:  # whether it landed
    "kill -9."
    if process is None or not process.alive(): return False
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.alive(), 10, f"the end of {process}")
    return True

def pause(scene: Scene, process: Any) -> bool:
    "SIGSTOP for a while."
    if process is None or not process.alive(): return False
    os.kill(process.pid, signal.SIGSTOP)
    try:
        until(lambda: not process.alive() or Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", 5, "it is stopped")
        time.sleep(scene.draw.uniform(.2, 3))  # the length of the pause is the fault
    finally:
        if process.alive(): os.kill(process.pid, signal.SIGCONT)
    return True

def kill_a_rank(s: Scene) -> bool: return kill(s.ranks().get(s.draw.choice((0, 1))))
def kill_the_supervisor(s: Scene) -> bool: return kill(s.alloc.supervisor)
def kill_the_private_forkserver(s: Scene) -> bool: return kill(s.private())

def kill_a_forkserver(s: Scene) -> bool:
    s.cold = True
    return kill(s.shared())

def kill_the_kernel(s: Scene) -> bool:
    from lepton_bench.processes.identity import ProcessId
    landed = kill(ProcessId.of(s.kernel.pid))
    s.start_kernel()
    return landed and s.kernel.value(f"lb.get_run({s.run.id!r}).record.id") == s.run.id

def kill_the_jupyter_server(s: Scene) -> bool:
    s.server.kill()
    landed = s.server.process.poll() is not None
    s.start_server()
    return landed

def kill_the_sweep_driver(s: Scene) -> bool: return kill(s.driver())
def kill_a_sweep_runner(s: Scene) -> bool: return kill(s.runner())
def kill_a_sweep_kernel(s: Scene) -> bool: return kill(s.set_kernel())
def pause_a_rank(s: Scene) -> bool: return pause(s, s.ranks().get(s.draw.choice((0, 1))))
def pause_the_supervisor(s: Scene) -> bool: return pause(s, s.alloc.supervisor)
def pause_the_private_forkserver(s: Scene) -> bool: return pause(s, s.private())
def pause_a_forkserver(s: Scene) -> bool: return pause(s, s.shared())
def pause_the_sweep_driver(s: Scene) -> bool: return pause(s, s.driver())
def pause_a_sweep_kernel(s: Scene) -> bool: return pause(s, s.set_kernel())

def pause_the_jupyter_server(s: Scene) -> bool:
    from lepton_bench.processes.identity import ProcessId
    return pause(s, ProcessId.of(s.server.process.pid)) and s.server.ask("GET", "api/status") is not None

def fill_the_disk(s: Scene) -> bool:
    home = s.place.root/"home"
    if not home.is_mount(): return False
    ballast = fill(home)
    try:
        full = os.statvfs(home).f_bavail == 0
        time.sleep(s.draw.uniform(.5, 2.5))  # the length of the drought is the fault
    finally: ballast.unlink()
    return full

def delete_the_socket(s: Scene) -> bool:
    path = Path(s.alloc.info["socket"])
    path.unlink()
    return until(lambda: path.exists(), 5, "the socket is bound again")

def delete_the_connection_file(s: Scene) -> bool:
    from lepton_bench.supervisor.allocations import allocations_directory
    path = allocations_directory()/f"{s.alloc.name}.json"
    path.unlink()
    return until(lambda: path.exists(), 5, "the connection file is written again")

def set_the_clock_back(s: Scene) -> bool:
    "By an hour, for everything that was started here."
    before = s.kernel.value("__import__('time').time()")
    shift_clock(s.place, -3600.)
    landed = s.kernel.value("__import__('time').time()") < before - 3000
    s.await_steps()
    shift_clock(s.place, 0.)
    return landed

def shift_clock(place: Isolation, seconds: float) -> None:
    with (place.root/"clock").open("r+b") as file: file.write(struct.pack("d", seconds))

def corrupt_the_newest(s: Scene) -> bool:
    "The supervisor is killed; then the metrics' last bytes and the newest checkpoint are not what was written."
    from lepton_bench.store.checkpoints import latest_checkpoint
    if not kill(s.alloc.supervisor): return False
    until(lambda: s.run.status == "lost", 10, "the run is lost")
    files = sorted((s.run.directory/"metrics").glob("[0-9]*.arrow"), key=lambda p: int(p.name.split(".")[0]))
    newest = latest_checkpoint(s.run.directory)
    for path in (*[p for p in files if "system" not in p.name][-1:], *([newest/"state.pt"] if newest else [])):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(max(0, size - 6))
            file.write(s.draw.randbytes(6) if s.draw.random() < .5 else b"")
            if s.draw.random() < .5: file.write(b"torn")
            elif s.draw.random() < .5: file.truncate(max(0, size - s.draw.randrange(1, 40)))
    return True

def two_stop_and_release(s: Scene) -> bool:
    "Two clients at once stop the run, and release the allocation."
    import threading

    import lepton_bench as lb
    errors: list[BaseException] = []

    def do(code: Callable[[], Any]) -> None:
        try: code()
        except lb.BenchError as e: print("  says:", str(e).splitlines()[0])
        except BaseException as e: errors.append(e)
    threads = [threading.Thread(target=do, args=(x,)) for x in (s.run.stop, lb.get_run(s.run.id).stop, s.alloc.release)]
    for t in threads: t.start()
    do(lambda: s.kernel.run(f"a = lb.attach({s.alloc.name!r}); a.release()", check=False))
    for t in threads: t.join(60)
    if errors: raise errors[0]
    return until(lambda: not s.alloc.alive and s.run.record.finished, 30, "released")


FAULTS = {f: n for n, fs in {
    4: (kill_a_rank,), 3: (kill_the_supervisor, kill_a_sweep_kernel, kill_a_sweep_runner, corrupt_the_newest, fill_the_disk),
    2: (kill_the_private_forkserver, kill_the_sweep_driver, pause_a_rank, pause_the_supervisor, pause_the_private_forkserver, two_stop_and_release,
        delete_the_socket, delete_the_connection_file, set_the_clock_back, pause_the_sweep_driver, pause_a_sweep_kernel),
    1: (kill_a_forkserver, kill_the_kernel, kill_the_jupyter_server, pause_a_forkserver, pause_the_jupyter_server)}.items() for f in fs}


def one(scene: Scene, number: int) -> None:
    "One fault that has landed, and what is promised after it."
    for _ in range(200):
        fault = scene.draw.choices(list(FAULTS), list(FAULTS.values()))[0]
        landed = fault(scene)
        if landed: break
    else: raise Broken("no fault lands any more")
    name = fault.__name__
    try:
        if scene.sweep.record.status in ("done", "failed"): scene.start_sweep()
        elif scene.sweep.record.finished: scene.sweep = scene.sweep.resume()
        scene.await_steps()
        scene.check()
    except Exception as e: raise Broken(f"fault {number}, {name}: {e}") from e
    scene.counts[name] += 1


@contextlib.contextmanager
def scene(seed: int, broken: bool = False) -> Iterator[Scene]:
    with ExitStack() as stack:
        place = Isolation.new()
        stack.callback(place.remove)
        stack.enter_context(mounted(place.root/"home", DISK))
        kept = dict(os.environ)
        os.environ.update({**place.variables(), "LEPTON_BENCH_SIMULATED": "5", "LEPTON_BENCH_ORPHAN_GRACE": "3600"})
        stack.callback(lambda: (os.environ.clear(), os.environ.update(kept)))
        for name, content in (("clock", struct.pack("d", 0.)), ("sitecustomize.py", (CLOCK + (BREAK if broken else "")).encode())):
            (place.root/name).write_bytes(content)
        os.environ["PYTHONPATH"] = str(place.root)
        found = Scene(place, random.Random(seed))
        stack.callback(lambda: print("left behind:", *left, sep="\n  ") if (left := place.shut_down()) else None)
        stack.callback(found.tear_down)
        found.set_up()
        yield found


def main(count: int, seed: int, broken: bool = False) -> dict:
    start = time.monotonic()
    with scene(seed, broken) as found:
        for number in range(1, count + 1):
            one(found, number)
            if number % 10 == 0: print(f"{number:4} faults {time.monotonic() - start:7.1f} s", flush=True)
        found.tear_down()
        left = found.place.shut_down()
        if left: raise Broken("left behind at the end:\n  " + "\n  ".join(left))
        return {"faults": count, "seed": seed, "seconds": round(time.monotonic() - start), "by kind": dict(found.counts.most_common()),
                "checked": dict(found.checks), "attempts of the run": found.run.record.attempt + 1, "slowest allocation": round(found.slowest, 2)}


if __name__ == "__main__": print(json.dumps(main(*(int(x) for x in (*sys.argv[1:3], *("500", "1")[len(sys.argv) - 1:])))))
