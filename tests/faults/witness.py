"""Judges a log of the stress test: who asked, decided, took and gave back when, by one monotonic clock, and who was killed or stopped.

It knows the promise, not the code. All devices are alike here, and the promise of the queue is then this:

* no device is held by two at once, and no two decide at once;
* the order is priority, then time of asking. Somebody is served only if, after that, the free devices still suffice for everybody before him who
  waits (and is not stopped). So one who asked later may be served first only while those before him merely have not looked yet;
* nobody waits without need: who looks while the free devices suffice for all before him and himself gets his.

What cannot be known from outside is taken in the accused's favour: a process that is being killed may or may not hold its devices still.
"""
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

NEVER = float("inf")


@dataclass
class CellRequest:
    "One request from asking to giving back."
    id: str
    pid: int
    count: int
    key: tuple  # the place in line
    asked: float
    decisions: list[list[float]] = field(default_factory=list)  # [begin, end] under the ledger
    devices: list[str] = field(default_factory=list)
    missed: set[float] = field(default_factory=set)  # begins of decisions in which a device was snatched, or looked at
    took: float = NEVER
    gone: list[float] = field(default_factory=lambda: [NEVER, NEVER])  # left the line at the earliest, at the latest
    back: list[float] = field(default_factory=lambda: [NEVER, NEVER])  # devices given back at the earliest, at the latest

    def certainly_waits(self, begin: float, end: float) -> bool:
        return bool(self.decisions) and self.decisions[0][1] <= begin and self.gone[0] >= end

    def maybe_waits(self, begin: float, end: float) -> bool:
        return bool(self.decisions) and self.decisions[0][0] <= end and self.gone[1] >= begin


def read(events: Iterable[dict[str, Any]]) -> tuple[list[CellRequest], dict[int, list[list[float]]], list[str]]:
    "Turns, times of being stopped by pid, violations that were seen live."
    turns: dict[str, CellRequest] = {}
    now: dict[int, CellRequest] = {}  # each process's present turn
    stops: dict[int, list[list[float]]] = {}
    seen: list[str] = []
    for e in sorted(events, key=lambda e: e["t"]):
        what, t, turn = e["e"], e["t"], turns.get(e.get("id", "")) or now.get(e.get("whom", e["pid"]))
        if what == "violation": seen.append(e["what"])
        elif what == "ask": turns[e["id"]] = now[e["pid"]] = CellRequest(e["id"], e["pid"], e["count"], (-e["priority"], e["since"], e["id"]), t)
        elif what == "stops": stops.setdefault(e["whom"], []).append([t, NEVER])
        elif what == "wakes": stops[e["whom"]][-1][1] = t
        elif turn is None: continue
        elif what == "decides": turn.decisions.append([t, NEVER])
        elif what == "decided": turn.decisions[-1][1] = t
        elif what == "missed": turn.missed.add(turn.decisions[-1][0])
        elif what == "took":
            turn.devices, turn.took = e["devices"], t
            turn.gone = [turn.decisions[-1][0] if turn.decisions else t, t]
        elif what == "quits": turn.gone = [t, NEVER]
        elif what == "gives": turn.back[0] = t
        elif what == "gave": turn.back[1] = t
        elif what in ("kills", "reaped"): _ended(turn, int(what == "reaped"), t)
    _close_quitters(turns.values())
    return list(turns.values()), stops, seen


def _ended(turn: CellRequest, end: int, t: float) -> None:
    "A kill bounds everything that was not over."
    turn.gone[end], turn.back[end] = min(turn.gone[end], t), min(turn.back[end], t)
    if end and turn.decisions: turn.decisions[-1][1] = min(turn.decisions[-1][1], t)


def _close_quitters(turns: Iterable[CellRequest]) -> None:
    "Who gave up was out of the line before he asked again."
    by_pid: dict[int, CellRequest] = {}
    for turn in turns:
        before = by_pid.get(turn.pid)
        if before and before.gone[1] == NEVER: before.gone[1] = turn.asked
        by_pid[turn.pid] = turn


def overlaps(spans: Iterable[tuple[float, float, str]], what: str) -> list[str]:
    "Spans that should follow each other, and do not."
    found, last = [], (-NEVER, -NEVER, "")
    for span in sorted(spans):
        if span[0] < last[1]: found.append(f"{what}: {last[2]} until {last[1]:.6f}, {span[2]} from {span[0]:.6f}")
        last = max(last, span, key=lambda s: s[1])
    return found


def _killed_deciding(turn: CellRequest) -> bool: return bool(turn.decisions) and not turn.devices and turn.decisions[-1][1] == turn.gone[1] < NEVER


def unfair(turns: list[CellRequest], stops: dict[int, list[list[float]]], devices: int) -> tuple[list[str], list[str]]:
    "Who was served before his turn; who was sent away without need."
    early, needless, active = [], [], list[CellRequest]()
    coming = sorted((t for t in turns if t.decisions), key=lambda t: t.decisions[0][0], reverse=True)
    for begin, end, mine in sorted(((b, e, t) for t in turns for b, e in t.decisions), key=lambda d: d[:2]):
        while coming and coming[-1].decisions[0][0] <= end: active.append(coming.pop())
        active = [t for t in active if max(t.gone[1], t.back[1] if t.devices or _killed_deciding(t) else -NEVER) >= begin]
        before = [t for t in active if t is not mine and t.key < mine.key]
        if mine.devices and begin <= mine.took <= end:
            owed = [t for t in before if t.certainly_waits(begin, mine.took) and not any(a <= end and b >= begin for a, b in stops.get(t.pid, ()))]
            held = sum(len(t.devices) for t in active if t is not mine and t.took <= begin and t.back[0] >= mine.took)
            if sum(t.count for t in owed) + mine.count > devices - held:
                early.append(f"{mine.id} (wants {mine.count}) served at {mine.took:.6f} with at most {devices - held} free, "
                             f"while {', '.join(f'{t.id} (wants {t.count})' for t in owed[:3])} had to wait")
        elif end < mine.gone[0] and begin not in mine.missed:
            if any(_killed_deciding(t) and t.decisions[-1][0] <= end and t.gone[1] >= begin for t in active): continue  # may have held anything
            maybe_held = {d for t in active for d in t.devices if t.decisions[-1][0] <= end and t.back[1] >= begin}
            owed_at_most = sum(t.count for t in before if t.maybe_waits(begin, end))
            if owed_at_most + mine.count <= devices - len(maybe_held):
                needless.append(f"{mine.id} (wants {mine.count}) was sent away at {begin:.6f}, "
                                f"with {devices - len(maybe_held)} free and {owed_at_most} owed")
    return early, needless


def judge(events: list[dict[str, Any]], devices: int) -> dict[str, Any]:
    "Numbers, and everything that breaks the promise."
    turns, stops, found = read(events)
    served = [t for t in turns if t.devices]
    names = sorted({d for t in served for d in t.devices})
    for name in names: found += overlaps([(t.took, t.back[0], t.id) for t in served if name in t.devices], f"{name} held twice")
    decisions = [(b, min(e, t.gone[0] if t.gone[0] >= b and not t.devices else e), t.id) for t in turns for b, e in t.decisions]
    found += overlaps(decisions, "two decide at once")
    early, needless = unfair(turns, stops, devices)
    kinds = {"before his turn": early, "without need": needless}
    found += [f"{kind}: {line}" for kind, lines in kinds.items() for line in lines]
    found += [f"{t.id} took {t.devices} and wanted {t.count}" for t in served if len(set(t.devices)) != t.count]
    waits = {p: [t.took - t.asked for t in served if t.key[0] == -p] for p in sorted({-t.key[0] for t in turns})}
    most, uid = Counter(name for t in served for name in t.devices), {e["id"]: e["uid"] for e in events if e["e"] == "ask"}
    return {"requests": len(turns), "grants": len(served), "by user": dict(Counter(uid[t.id] for t in served)), "decisions": len(decisions),
            "missed": sum(len(t.missed) for t in turns),
            "undecided": sum(e["e"] == "undecided" for e in events), "by device": [most[name] for name in names],
            "longest wait by priority": {p: round(max(w), 3) for p, w in waits.items() if w},
            "median wait by priority": {p: round(sorted(w)[len(w)//2], 3) for p, w in waits.items() if w},
            "longest decision": round(max((e - b for b, e, _ in decisions if e < NEVER), default=0.), 3), "violations": found}
