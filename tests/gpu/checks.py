"""Checks of lepton_bench on a real GPU.   python tests/gpu/checks.py [--cpu] [name ...]

One line for each: `ok   name   what was seen`, or `FAIL name   why`; then `N passed, N failed`, and exit status 1 if anything failed. They need
torch, and what wheels.sh fetches; run.sh beside this file brings both together. With --cpu the same code runs on CPU slots (what only a GPU can
show is left out), so that the checks themselves have been tried where there is none.
"""
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import work  # noqa: E402
from support.isolation import REPOSITORY, Isolation  # noqa: E402

LIMIT = 150  # seconds for one check
MEMORY_SLACK = 300 << 20  # bytes that a driver may keep or another process may take meanwhile


class Failed(Exception):
    "What was expected and is not so."


def expect(well: Any, why: str) -> None:
    if not well: raise Failed(why)


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    "Wait, bounded, for a condition; its value."
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end: raise Failed(f"{what}: not within {seconds:g} s")
        time.sleep(.02)
    return found


@dataclass
class Bench:
    "What the checks work with."
    kind: str  # "cuda" or "cpu"
    place: Isolation

    @property
    def lb(self) -> Any:
        import lepton_bench
        return lepton_bench

    def device(self, id: str | None = None) -> Any:
        "The first device, or that one, as it is now."
        from lepton_bench.resources.devices import inventory
        return next(d for d in inventory() if d.kind == self.kind and id in (None, d.id))

    def used(self, id: str | None = None) -> int: return self.device(id).memory_used or 0

    @contextlib.contextmanager
    def allocation(self) -> Iterator[Any]:
        "One device; given back whatever happens."
        alloc = self.lb.allocate(1, kind=self.kind, timeout=30.)
        try: yield alloc
        finally: alloc.release()

    def result(self, alloc: Any, function: Callable, *args: Any) -> Any: return alloc.launch(function, *args).result(120.)

    def torchrun(self, what: str, argument: str = "") -> Any:
        "The same work under torchrun: what its rank said."
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        command = ["-m", "torch.distributed.run", "--nproc-per-node", "1", "--master-port", str(port), str(HERE/"work.py"), what, self.kind, argument]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, OMP_NUM_THREADS=self.threads))
        expect(done.returncode == 0, f"torchrun failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.split("@@")[1])

    @property
    def threads(self) -> str:
        "As many as a rank of ours has: its share of the cores."
        from lepton_bench.resources.devices import inventory, usable_cores
        return str(max(1, usable_cores() // len(inventory())))


def mib(n: float) -> str: return f"{n / 2**20:.0f} MiB"


# --- the checks ---------------------------------------------------------------------------------------

def check_inventory(bench: Bench) -> str:
    "NVML's devices are CUDA's devices."
    from lepton_bench.resources.devices import gpu_problem, inventory
    found = inventory()
    expect(found and all(d.kind == bench.kind for d in found), f"expected {bench.kind} devices, found {[(d.label, d.kind) for d in found]}")
    text = repr(bench.lb.devices())
    expect(all(d.label in text for d in found), f"lb.devices() does not list them:\n{text}")
    if bench.kind == "cpu": return f"{len(found)} CPU slots"
    expect(gpu_problem() is None, f"gpu_problem() says {gpu_problem()}")
    code = "import json, torch; p = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]; " \
           "print(json.dumps([[x.name, f'gpu-{x.uuid}'.lower(), x.total_memory] for x in p]))"
    seen = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=True).stdout)
    expect({u for _, u, _ in seen} == {d.id for d in found}, f"CUDA has {[u for _, u, _ in seen]}, the inventory {[d.id for d in found]}")
    for name, id, memory in seen:
        d = bench.device(id)
        expect(d.name == name and abs(d.memory_total - memory) < .1 * memory, f"{id}: {d.name} with {d.memory_total} bytes, for CUDA {name} with {memory}")
    d, processes = found[0], "visible" if found[0].processes is not None else "not visible from here"
    read = f"{mib(d.memory_used or 0)} used, {d.utilisation} busy, {d.power} W, {d.temperature} °C"
    return f"{len(found)} x {d.name}, {mib(d.memory_total or 0)}, {read}, processes {processes}"


def check_uuid(bench: Bench) -> str:
    "A rank sees the device that its allocation holds, by UUID, and no other."
    with bench.allocation() as alloc:
        found = bench.result(alloc, work.describe, bench.kind)
        expect(len(alloc.device_ids) == 1, f"one device was asked for, {alloc.device_ids} were given")
    if bench.kind == "cpu":
        expect(found["visible"] == "" and found["count"] == 0, f"a rank on a CPU slot sees {found}")
        return "CUDA_VISIBLE_DEVICES is empty"
    expect(found["visible"] == bench.device(alloc.device_ids[0]).uuid, f"CUDA_VISIBLE_DEVICES={found['visible']!r}, the device is {alloc.device_ids}")
    expect(found["count"] == 1 and found["uuid"].lower() == alloc.device_ids[0], f"the rank sees {found['count']} devices, the first {found['uuid']}")
    return f"CUDA_VISIBLE_DEVICES={found['visible']}, one device: {found['name']}"


def check_forkserver(bench: Bench) -> str:
    "Only ranks touch CUDA: the forkservers, the supervisor and this process do not, so that forks of them can."
    with bench.allocation() as alloc:
        rank = bench.result(alloc, work.describe, bench.kind)
        others = {pid: command for pid, command in bench.place.processes().items() if pid != rank["pid"]}
        expect(len(others) >= 2, f"a shared forkserver, a supervisor and a private forkserver were expected: {others}")
        touched = {pid: work.open_devices(pid) for pid in (os.getpid(), *others)}
    bad = {pid: files for pid, files in touched.items() if "/dev/nvidia-uvm" in files}
    expect(not bad, f"CUDA is open in {[(pid, others.get(pid, 'this process'), files) for pid, files in bad.items()]}")
    if bench.kind == "cuda": expect(rank["files"], "the rank itself has no NVIDIA device open, so this check sees nothing here")
    uvm = "/dev/nvidia-uvm" in rank["files"]
    note = "" if uvm or bench.kind == "cpu" else f" (weak: the rank's own files are {rank['files']}, without nvidia-uvm)"
    listed = bench.device().processes
    known = [p.pid for p in listed or () if p.compute and p.pid in others]
    expect(not known, f"NVML lists {known} as computing")
    return f"{len(others)} processes beside the rank, none has CUDA open{note}"


def check_world(bench: Bench) -> str:
    "A process group of one: NCCL for the device, gloo beside it, and again on the same ranks."
    with bench.allocation() as alloc:
        found = [bench.result(alloc, work.world, bench.kind) for _ in range(2)]
    for f in found: expect(f["near"] == 4 and f["far"] == 4 and f["gathered"] == [0], f"wrong results: {f}")
    backend = str(found[0]["backend"])
    expect(("nccl" if bench.kind == "cuda" else "gloo") in backend.lower(), f"the backend of the device is {backend}")
    return f"{backend}" + (f", NCCL {found[0]['nccl']}" if bench.kind == "cuda" else "")


def check_launch(bench: Bench) -> str:
    "Cold: from `allocate` to a rank past an `all_reduce`; warm: from `launch`; torchrun: from its start."
    bench.lb.allocate(1, kind=bench.kind, timeout=60.).release()  # the forkserver is up, as it is from the second allocation of a day on
    cold, warm, returned, theirs = [], [], [], []
    for _ in range(3):
        start = time.monotonic()
        with bench.allocation() as alloc: cold.append(bench.result(alloc, work.mark, bench.kind)["time"] - start)
        start = time.monotonic()
        theirs.append(bench.torchrun("mark") - start)
    with bench.allocation() as alloc:
        bench.result(alloc, work.mark, bench.kind)
        for i in range(30):
            start = time.monotonic()
            run = alloc.launch(work.mark, bench.kind, float(i))
            returned.append(time.monotonic() - start)
            warm.append(run.result(60.)["time"] - start)
    ms = {name: 1000 * statistics.median(v) for name, v in (("cold", cold), ("warm", warm), ("returned", returned), ("torchrun", theirs))}
    text = f"cold {ms['cold']:.0f} ms, warm {ms['warm']:.2f} ms (the call returns in {ms['returned']:.2f} ms), torchrun {ms['torchrun']:.0f} ms"
    expect(ms["cold"] < ms["torchrun"] and ms["warm"] < .1 * ms["torchrun"], f"not faster than torchrun: {text}")
    return text


def check_throughput(bench: Bench) -> str:
    "A training loop that logs every step, beside the same loop under torchrun, where logging does nothing."
    steps = 400 if bench.kind == "cuda" else 60
    ours, theirs = [], []
    for _ in range(3):
        with bench.allocation() as alloc: ours.append(bench.result(alloc, work.train, bench.kind, steps))
        theirs.append(bench.torchrun("train", str(steps)))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    text = f"{statistics.median(ours):,.0f} samples/s, torchrun {statistics.median(theirs):,.0f}, ratio {ratio:.3f} (median of 3 pairs)"
    expect(ratio > (.95 if bench.kind == "cuda" else .8), f"slower than under torchrun: {text}")
    return text


def check_killed(bench: Bench) -> str:
    "A rank that is killed gives its memory back, the run says how it ended, and the allocation goes on."
    path, size = bench.place.root/"held.json", 2. if bench.kind == "cuda" else .1
    alone = bench.used()
    with bench.allocation() as alloc:
        bench.result(alloc, work.mark, bench.kind)
        id, warm = alloc.device_ids[0], bench.used(alloc.device_ids[0])
        texts = []
        for how in ("killed", "stopped"):
            path.unlink(missing_ok=True)
            run = alloc.launch(work.hold, bench.kind, size, str(path))
            until(path.exists, 60, f"the rank holds {size} GiB (the run is {run.status})")
            held = json.loads(path.read_text())
            if bench.kind == "cuda":
                until(lambda: bench.used(id) > warm + .8 * size * 2**30, 10, "NVML shows the memory as used")
            start = time.monotonic()
            if how == "killed": os.kill(held["pid"], signal.SIGKILL)
            else: run.stop(kill=True)
            run.wait(30.)
            if how == "killed": expect(run.status == "failed" and "SIGKILL" in run.record.reason, f"the run is {run.status}: {run.record.reason}")
            else: expect(run.status == "stopped", f"the run is {run.status}: {run.record.reason}")
            until(lambda pid=held["pid"]: not Path(f"/proc/{pid}").exists(), 10, "the rank's process is gone")
            until(lambda: bench.used(id) < warm + MEMORY_SLACK, 20, f"the memory is back ({mib(warm)} before, {mib(bench.used(id))} now)")
            texts.append(f"{how}: back after {time.monotonic() - start:.2f} s")
            expect(bench.result(alloc, work.mark, bench.kind)["total"] == 1, "a launch after it does not work")
    until(lambda: bench.used(id) < alone + MEMORY_SLACK, 20, f"after the release the memory is back ({mib(alone)} before, {mib(bench.used(id))} now)")
    return "; ".join(texts)


def check_oom(bench: Bench) -> str:
    "Out of memory: the error names the rank, the device, what was asked and what was free, and says what to do; the next launch works."
    from lepton_bench.errors import RunError
    with bench.allocation() as alloc:
        run = alloc.launch(work.too_much, bench.kind)
        try: run.result(60.)
        except RunError as e: text = str(e)
        else: raise Failed("no error was raised")
        for words in ("rank 0", "OutOfMemoryError", "Tried to allocate", "GPU 0", "free", "alloc.restart()"):
            expect(words in text, f"{words!r} is not in the error:\n{text}")
        expect(bench.result(alloc, work.mark, bench.kind)["total"] == 1, "a launch after it does not work")
    return run.record.reason[:150]


def check_foreign(bench: Bench) -> str:
    "Somebody else's process on a GPU: seen as busy, and waited for. Where processes cannot be seen, that is said."
    if bench.kind == "cpu": return "left out: a CPU slot has no list of processes"
    from lepton_bench.errors import AllocationTimeout
    path = bench.place.root/"foreign.json"
    env = {k: v for k, v in os.environ.items() if not k.startswith("LEPTON_BENCH_")} | {"CUDA_VISIBLE_DEVICES": bench.device().uuid}
    id, free = bench.device().id, len([r for r in bench.lb.devices() if r.state == "free"])
    process = subprocess.Popen([sys.executable, str(HERE/"work.py"), "hold", "cuda", str(path)], env=env, stdin=subprocess.DEVNULL)
    try:
        until(path.exists, 60, "the foreign process holds memory")
        rows = [r for r in bench.lb.devices() if r.device.id == id]
        if rows[0].device.processes is None:
            expect("cannot be seen" in repr(bench.lb.devices()), f"lb.devices() does not say that it cannot know:\n{bench.lb.devices()!r}")
            return "processes cannot be seen from here, and lb.devices() says so"
        expect(rows[0].state == "busy (not ours)" and str(process.pid) in repr(bench.lb.devices()), f"it is not seen:\n{bench.lb.devices()!r}")
        try: bench.lb.allocate(free, kind="cuda", timeout=3.).release()
        except AllocationTimeout as e: text = str(e)
        else: raise Failed("a device on which somebody computes was granted")
    finally:
        process.kill()
        process.wait()
    until(lambda: [r.state for r in bench.lb.devices() if r.device.id == id] == ["free"], 20, "the device is free again")
    return text.splitlines()[0][:150]


def check_left(bench: Bench) -> str:
    "Nothing of ours is left: no process, lock or socket."
    from lepton_bench.processes.forkserver import shutdown_forkservers
    ended, end = shutdown_forkservers(), time.monotonic() + 15
    while (left := bench.place.leaks()) and time.monotonic() < end: time.sleep(.05)
    expect(not left, "left behind: " + "; ".join(left))
    return f"{ended} forkservers ended, nothing else was there"


CHECKS = {name.removeprefix("check_"): function for name, function in list(globals().items()) if name.startswith("check_")}


# --- running them -------------------------------------------------------------------------------------

def out_of_time(*_: object) -> None: raise Failed(f"not done after {LIMIT} s")


def attempt(name: str, bench: Bench) -> bool:
    "One check, one line."
    signal.alarm(LIMIT)
    start = time.monotonic()
    try: seen, well = CHECKS[name](bench), True
    except Exception as e: seen, well = str(e) if isinstance(e, Failed) else f"{type(e).__name__}: {e}", False
    finally: signal.alarm(0)
    lines = seen.strip().replace("\n", "\n        ")
    print(f"{'ok  ' if well else 'FAIL'} {name:<11} {lines}   [{time.monotonic() - start:.1f} s]", flush=True)
    return well


def main(arguments: list[str]) -> int:
    kind = "cpu" if "--cpu" in arguments else "cuda"
    names = [a for a in arguments if a != "--cpu"] or list(CHECKS)
    if unknown := [n for n in names if n not in CHECKS]:
        print(f"there is no check {unknown[0]!r}; the checks are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    place = Isolation.new()
    os.environ.update(place.variables())
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    sys.path.insert(0, str(REPOSITORY))
    signal.signal(signal.SIGALRM, out_of_time)
    try: passed = [attempt(name, Bench(kind, place)) for name in names]
    finally:
        with contextlib.suppress(Exception):
            from lepton_bench.processes.forkserver import shutdown_forkservers
            shutdown_forkservers()
        place.remove()
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed", flush=True)
    return int(not all(passed))


if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
