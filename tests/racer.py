"""The race of test_lease_race.py: a clean Python (no torch, one thread) that forks racers, kills them at random, and reports.

    python racer.py FOLDER SECONDS SEED OTHER_UID     FOLDER has `leases` and `marks`, open to all; OTHER_UID -1: one user only

A racer that got devices proves that it is alone on each by a marker of its own, which knows nothing of flock: a symbolic link, made
atomically and only if there is none (as a file is by O_EXCL), whose target names its owner. A marker of a dead owner is left over from a
kill -9 and is removed; one of a living owner is a violation.
"""
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from lepton_bench.processes import set_parent_death_signal
from lepton_bench.resources.leases import Holder
from lepton_bench.resources.queue import Request, Waiter

RACERS, DEVICES = 8, 3
PF_EXITING = 0x4  # linux/sched.h: set before the kernel closes a dying process's files, and with them gives up its locks


def stat(pid: int) -> list[str]:
    try: return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError: return []


def lives(owner: str) -> bool:
    "Whether the process `pid:start time` lives and is not dying."
    pid, start = owner.split(":")[:2]
    found = stat(int(pid))
    return bool(found) and found[19] == start and found[0] not in "ZX" and not int(found[6]) & PF_EXITING


def claim(mark: Path, me: str) -> str | None:
    "Makes the marker; the living owner that was there, if any."
    while True:
        try:
            os.symlink(me, mark)
            return None
        except FileExistsError:
            try: owner = os.readlink(mark)
            except FileNotFoundError: continue  # given back this instant, although we have the lease: the next look will tell
            if lives(owner): return owner
            try: os.unlink(mark)
            except FileNotFoundError: return f"somebody who removed the marker of the dead {owner} at the same time"


def note(folder: Path, line: str) -> None:
    "One line for the referee, whole whatever happens to us."
    fd = os.open(folder/"log", os.O_WRONLY | os.O_APPEND)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)


def race(folder: Path, number: int, seed: int) -> None:
    "Take devices, prove exclusivity, give back, for ever."
    chance, me = random.Random(seed), f"{os.getpid()}:{stat(os.getpid())[19]}"
    while True:
        request = Request(chance.choice((1, 1, 2, 3)), priority=chance.choice((0, 0, 1)))
        with Waiter(request, Holder.me(f"racer-{number}")) as waiter:
            while not isinstance(leases := waiter.step(), list): time.sleep(chance.uniform(0, .004))
        marks = [folder/"marks"/lease.device_id for lease in leases]
        for mark in marks:
            if other := claim(mark, me): note(folder, f"VIOLATION {mark.name}: {me} and {other}")
        time.sleep(chance.uniform(0, .006))
        for mark in marks:
            if os.readlink(mark) != me: note(folder, f"VIOLATION {mark.name}: the marker of {me} was taken away")
            os.unlink(mark)
            note(folder, f"held {os.getuid()} {mark.name}")
        for lease in leases: lease.close()


def start(folder: Path, number: int, seed: int, uid: int) -> int:
    "Forks one racer; odd numbers are the other user's."
    parent = os.getpid()
    if pid := os.fork(): return pid
    try:
        if uid >= 0 and number % 2:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        set_parent_death_signal(signal.SIGKILL, parent)
        race(folder, number, seed)
    except BaseException as e: note(folder, f"VIOLATION racer {number} failed: {type(e).__name__}: {e}")
    finally: os._exit(1)


def main(folder: Path, seconds: float, seed: int, uid: int) -> dict:
    (folder/"log").touch()
    (folder/"log").chmod(0o666)
    chance, kills = random.Random(seed), 0
    racers = {n: start(folder, n, seed + n, uid) for n in range(RACERS)}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(.01, .1))
        victim = chance.randrange(RACERS)
        os.kill(racers[victim], signal.SIGKILL)  # our own child, not waited for yet
        os.waitpid(racers[victim], 0)
        kills += 1
        racers[victim] = start(folder, victim, seed + RACERS*kills + victim, uid)
    for pid in racers.values(): os.kill(pid, signal.SIGKILL)
    ended = time.monotonic()
    for pid in racers.values(): os.waitpid(pid, 0)
    return {"kills": kills, "ended": ended, "heavy": [m for m in ("torch", "numpy") if m in sys.modules]}


if __name__ == "__main__": print(json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
