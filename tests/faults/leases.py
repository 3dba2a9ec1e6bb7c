"""Leases under stress: many processes of two users take and give simulated devices through the queue, and are killed and stopped at random.

    python tests/faults/leases.py --seconds 60 --processes 64 --seed 1

Prints numbers and violations as JSON; the exit status is 1 if there was a violation. `--break` spoils the workbench on purpose, to show that
the witness sees it. The judgement is `witness.py`'s, from a log that every process writes; besides, each holder proves live that it is alone
by a marker that knows nothing of flock: a symbolic link, made only if there is none, whose target names its owner.
"""
import argparse
import fcntl
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import witness  # noqa: E402

import lepton_bench.resources.leases as leases  # noqa: E402
import lepton_bench.resources.policy as policy  # noqa: E402
import lepton_bench.resources.queue as queue  # noqa: E402
from lepton_bench.processes.identity import children, set_parent_death_signal, set_subreaper  # noqa: E402
from lepton_bench.resources.leases import Holder, holder_of  # noqa: E402
from lepton_bench.resources.queue import Request, Waiter, waiting  # noqa: E402

DEVICES, OTHER_UID = 8, 54321
IDLE, WAITING, HOLDING = range(3)
PF_EXITING = 0x4  # linux/sched.h: set before the kernel closes a dying process's files, and with them gives up its locks
BREAKS = ("lock", "ledger", "order", "reserve", "leak")


class Log:
    "A file to which every process appends whole lines, so that a kill in the next instruction loses none."
    def __init__(self, path: Path): self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def __call__(self, event: str, **more: Any) -> None:
        os.write(self.fd, (json.dumps({"e": event, "pid": os.getpid(), "t": time.monotonic(), **more}) + "\n").encode())


# --- the live marker ---

def _stat(pid: int) -> list[str]:
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError: return []


def _lives(owner: str) -> bool:
    "Whether the process `pid:start time` lives and is not dying."
    pid, start = owner.split(":")
    found = _stat(int(pid))
    return bool(found) and found[19] == start and found[0] not in "ZX" and not int(found[6]) & PF_EXITING


def claim(mark: Path, me: str) -> str | None:
    "Makes the marker; the living owner that was there, if any. A dead owner's is removed."
    while True:
        try:
            os.symlink(me, mark)
            return None
        except FileExistsError:
            try: owner = os.readlink(mark)
            except FileNotFoundError: continue  # given back this instant
            if _lives(owner): return owner
            try: os.unlink(mark)
            except FileNotFoundError: return f"somebody who removed the marker of the dead {owner} at the same time"


# --- one process ---

def listen(log: Log) -> None:
    "Lets the log know when this process decides and what it took; decides nothing itself."
    ledger, take = queue._ledger, queue._take

    @contextmanager
    def noted_ledger(holder: Holder, wait: float) -> Iterator[Any]:
        with ledger(holder, wait) as lock:
            log("decides" if lock else "undecided", id=holder.label)
            yield lock
            if lock: log("decided", id=holder.label)

    def noted_take(devices: Any, holder: Holder) -> Any:
        found = take(devices, holder)
        if found: log("took", id=holder.label, devices=[lease.device_id for lease in found])
        elif devices: log("missed", id=holder.label, devices=[d.id for d in devices])
        return found
    queue._ledger, queue._take = noted_ledger, noted_take


def spoil(how: str | None) -> None:
    "Breaks the workbench in this process."
    if how == "lock":  # two can have it
        shared = lambda fd, op: fcntl.flock(fd, op & ~fcntl.LOCK_EX | fcntl.LOCK_SH if op & fcntl.LOCK_EX else op)
        leases.fcntl = argparse.Namespace(**{**vars(fcntl), "flock": shared})
    elif how == "ledger":  # all decide at once
        @contextmanager
        def free_for_all(holder: Holder, wait: float) -> Iterator[Any]: yield True
        queue._ledger = free_for_all
    elif how == "order": queue.in_order = policy.in_order = lambda tickets: sorted(tickets, key=lambda t: -t.since)
    elif how == "reserve":  # who has to wait keeps nothing free
        real_grant = queue.grant

        def greedy(free: Any, tickets: Any, *more: Any) -> Any:
            grants, left = {}, list(free)
            for ticket in queue.in_order(tickets):
                grants |= (new := real_grant(left, [ticket], *more))
                left = [d for d in left if d not in new.get(ticket.id, ())]
            return grants
        queue.grant = greedy


def work(folder: Path, me: int, seed: int, shared: mmap.mmap, log: Log, how: str | None) -> None:
    "Ask, wait, hold, give back, until told to end."
    chance, name, left = random.Random(seed), f"{os.getpid()}:{_stat(os.getpid())[19]}", []
    while not shared[0]:
        request = Request(chance.choice((1, 1, 1, 2, 2, 3, 5, 8)), priority=chance.choice((0, 0, 0, 0, 1)))
        waiter = Waiter(request, Holder.me(f"worker-{me}"))
        waiter.holder = Holder(**{**vars(waiter.holder), "label": waiter.id})
        log("ask", uid=os.getuid(), id=waiter.id, since=waiter.since, count=request.count, priority=request.priority)
        shared[2*me + 1] = WAITING
        gives_up = time.monotonic() + (chance.uniform(0, 2) if chance.random() < .05 else 1e9)
        while not (found := waiter.step()) or not isinstance(found, list):
            if shared[0] or time.monotonic() > gives_up: break
            time.sleep(found.pause*chance.uniform(.5, 1))
        if not isinstance(found, list):
            log("quits", id=waiter.id)
            waiter.close()
            continue
        shared[2*me + 2] = sum(1 << int(lease.device_id[4:]) for lease in found)
        shared[2*me + 1] = HOLDING
        marks = [folder/"marks"/lease.device_id for lease in found]
        for mark in marks:
            if other := claim(mark, name): log("violation", what=f"{mark.name}: {name} and {other} at once")
        if how == "leak" and not left: left.append(subprocess.Popen(["sleep", "20"], pass_fds=[found[0].fd]))
        time.sleep(chance.uniform(0, .08))
        for mark in marks:
            if os.readlink(mark) != name: log("violation", what=f"{mark.name}: the marker of {name} was taken away")
            os.unlink(mark)
        shared[2*me + 1] = IDLE
        log("gives", id=waiter.id)
        for lease in found: lease.close()
        log("gave", id=waiter.id)


def start(folder: Path, me: int, seed: int, uid: int, shared: mmap.mmap, log: Log, how: str | None) -> int:
    "Forks one process; every second one is the other user's."
    parent = os.getpid()
    if pid := os.fork(): return pid
    try:
        if uid >= 0 and me % 2:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        set_parent_death_signal(signal.SIGKILL, parent)
        spoil(how)
        listen(log)
        work(folder, me, seed, shared, log, how)
    except BaseException as e:
        log("violation", what=f"worker {me} failed: {type(e).__name__}: {e}")
    finally: os._exit(0)


# --- the one who kills and stops ---

def recovered(pid: int, devices: int, bound: float) -> float:
    "Seconds until none of these devices is held by the dead process any more; infinite if they still are at the bound."
    begin = time.monotonic()
    for d in (d for d in range(DEVICES) if devices >> d & 1):
        while (holder := holder_of(f"sim-{d}")) and holder.process.pid == pid:
            if time.monotonic() - begin > bound: return float("inf")
            time.sleep(.002)
    return time.monotonic() - begin


def torment(folder: Path, options: argparse.Namespace, uid: int, log: Log) -> dict[str, Any]:
    "Starts everybody, kills and stops until time is up, lets the rest end by themselves."
    shared, chance = mmap.mmap(-1, 2*options.processes + 3), random.Random(options.seed)
    begin = lambda n, seed: start(folder, n, seed, uid, shared, log, options.spoiled)
    workers = {n: begin(n, options.seed*100_003 + n) for n in range(options.processes)}
    stopped: dict[int, float] = {}
    kills, stops, slowest = {IDLE: 0, WAITING: 0, HOLDING: 0}, 0, 0.

    def wake(due: float) -> None:
        for n in [n for n, until in stopped.items() if until <= due]:
            os.kill(workers[n], signal.SIGCONT)
            log("wakes", whom=workers[n])
            del stopped[n]

    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(.02, .12))
        wake(time.monotonic())
        wanted = chance.choice((WAITING, HOLDING))
        victim = chance.choice([n for n in workers if shared[2*n + 1] == wanted] or list(workers))
        if chance.random() < .25:
            if victim not in stopped and len(stopped) < 4:
                log("stops", whom=workers[victim])
                os.kill(workers[victim], signal.SIGSTOP)
                stopped[victim], stops = time.monotonic() + chance.uniform(.05, 1.5), stops + 1
            continue
        log("kills", whom=workers[victim])
        os.kill(workers[victim], signal.SIGKILL)  # our own child, not waited for yet
        os.waitpid(workers[victim], 0)
        log("reaped", whom=workers[victim])
        stopped.pop(victim, None)
        kills[shared[2*victim + 1]] += 1
        devices, shared[2*victim + 1], shared[2*victim + 2] = shared[2*victim + 2], IDLE, 0
        slowest = max(slowest, recovered(workers[victim], devices, options.bound))
        if slowest > options.bound: log("violation", what=f"a device of the killed {workers[victim]} is not free after {options.bound} s")
        workers[victim] = begin(victim, options.seed*100_003 + sum(kills.values())*1009 + victim)
    shared[0] = 1
    wake(float("inf"))
    _gather(workers, log)
    return {"kills while idle, waiting, holding": list(kills.values()), "stops": stops, "slowest recovery": round(slowest, 4)}


def _gather(workers: dict[int, int], log: Log, bound: float = 30.) -> None:
    "Waits for everybody to end; who does not is killed, which is a violation."
    end, left = time.monotonic() + bound, set(workers.values())
    while left and time.monotonic() < end:
        left -= {pid for pid in left if os.waitpid(pid, os.WNOHANG)[0]}
        time.sleep(.01)
    for pid in left:
        log("violation", what=f"{pid} did not end within {bound} s")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def remains(folder: Path) -> list[str]:
    "What is left that should not be: tickets, locks, files, processes."
    locks = ["ledger", *(f"sim-{i}" for i in range(DEVICES))]
    found = [f"ticket of {t}" for t in waiting(sweep=True)] + [f"{name} is held by {h}" for name in locks if (h := holder_of(name))]
    expected = {f"lepton_bench.{name}.lock" for name in locks}
    for pid in children(os.getpid()):  # orphans come to us: see set_subreaper
        found.append(f"process {pid}: {Path(f'/proc/{pid}/cmdline').read_text()!r}")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found + [f"file {p.name}" for p in (folder/"leases").iterdir() if p.name not in expected]


def main(options: argparse.Namespace) -> dict[str, Any]:
    uid = OTHER_UID if os.getuid() == 0 else -1
    if uid < 0: print("NOT ROOT: there is one user only, the half under a second uid is skipped", file=sys.stderr)
    set_subreaper()
    folder = Path(tempfile.mkdtemp(prefix="lb-stress-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        os.umask(0)
        for name, mode in (("leases", 0o1777), ("marks", 0o777)): (folder/name).mkdir(mode=mode)
        os.environ |= {f"LEPTON_BENCH_{name}": str(value)
                       for name, value in (("LEASES", folder/"leases"), ("SIMULATED", DEVICES), ("HOME", folder/"home"))}
        log = Log(folder/"log")
        said = torment(folder, options, uid, log)
        said |= witness.judge([json.loads(line) for line in (folder/"log").read_text().splitlines()], DEVICES)
        said["violations"] += [f"left behind: {what}" for what in remains(folder)]
        return {"users": 1 + (uid >= 0), "seed": options.seed, "heavy": [m for m in ("torch", "numpy") if m in sys.modules], **said}
    finally:
        if options.log: shutil.copy(folder/"log", options.log)
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bound", type=float, default=2., help="seconds in which a killed holder's devices have to be free")
    parser.add_argument("--break", dest="spoiled", choices=BREAKS, help="spoil the workbench, to see that it is noticed")
    parser.add_argument("--log", help="keep the log in this file")
    report = main(parser.parse_args())
    violations = report.pop("violations")
    print(json.dumps({**report, "violations": len(violations), "first": violations[:10]}, indent=1))
    sys.exit(bool(violations))
