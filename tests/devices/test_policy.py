"""Who gets which devices: the grants without a time are those of the first, simple version; with times nobody's start is put off.

`simple_grant` is that first version, kept as the reference. The simulated hosts run thousands of requests through arrivals, early ends and limits.
"""
import random
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import lepton_bench.resources.policy as policy
from lepton_bench.errors import DeviceError
from lepton_bench.resources.devices import Device
from lepton_bench.resources.policy import Line, grant, guaranteed_start, in_order
from lepton_bench.resources.request import Request, Ticket, fits, could_use
from lepton_bench.resources.request import check_possible, parse_limit

GIB = 1 << 30


def device(n: int, kind: str = "cuda", total: int = 80, used: int = 0, index: int | None = None) -> Device:
    return Device(f"{kind}-{n}", kind, n if index is None else index, "Imaginary", memory_total=total*GIB, memory_used=used*GIB)


def ticket(n: int, request: Request, since: float = 0.) -> Ticket: return Ticket(f"t{n:03}", request, since, "ada", 1000, 1)


def simple_grant(free, tickets):
    "The policy as it was written first: every waiting request reserves every free device that it could use."
    left, grants = sorted(free, key=lambda d: (d.memory_free or 0, d.kind, d.index)), {}
    for t in in_order(tickets):
        fitting = [d for d in left if fits(d, t.request)]
        if len(fitting) >= t.request.count:
            fitting = fitting[:t.request.count]
            grants[t.id] = tuple(fitting)
        left = [d for d in left if d not in fitting]
    return grants


devices = st.lists(st.tuples(st.sampled_from(["cuda", "cuda", "cpu"]), st.sampled_from([8, 40, 80, 85]), st.sampled_from([0, 0, 5]), st.integers(0, 3)),
                   max_size=12).map(lambda found: [device(n, *f) for n, f in enumerate(found)])
requests = st.builds(Request, st.integers(1, 5), kind=st.sampled_from([None, "cuda", "cuda", "cpu"]), priority=st.integers(-1, 1),
                     memory=st.sampled_from([None, None, 0, 10*GIB, 60*GIB]))
lines = st.lists(st.tuples(requests, st.integers(0, 3)), max_size=12).map(lambda found: [ticket(n, r, since) for n, (r, since) in enumerate(found)])


@settings(max_examples=400, deadline=None)
@given(devices, lines, st.data())
def test_without_a_time_the_grants_are_those_of_the_simple_version(free, line, data):
    held = data.draw(st.lists(st.tuples(st.just(device(99)), st.none()), max_size=4))
    assert grant(free, line) == simple_grant(free, line) == grant(free, line, held, now=50.)


@pytest.mark.parametrize("waits", [False, True])
def test_the_cost_grows_with_the_requests_and_not_with_requests_times_devices(monkeypatch, waits):
    "Counted, not timed: looks at a device for a request, and comparisons of two devices."
    looks, compared = 0, 0

    def counted(d, request):
        nonlocal looks
        looks += 1
        return could_use(d, request)

    def equal(self, other):
        nonlocal compared
        compared += 1
        return self is other
    free = [device(n) for n in range(20_000)]
    line = [ticket(n, Request(1 + n % 8, time=60.)) for n in range(2000)] + [ticket(2000, Request(20_001, priority=waits))]
    held = [(device(20_000), 3600.)]
    monkeypatch.setattr(policy, "fits", counted)
    monkeypatch.setattr(Device, "__eq__", equal)
    served = grant(free, line, held)
    assert len(served) == 2000 and looks < 10*len(line) and compared == 0


# --- hosts on which time passes ---

class Host:
    "Requests that arrive, run, and end at their limit or before; the policy decides at every event."
    def __init__(self, devices, arrivals, durations, undeclared=()):
        self.devices, self.arrivals, self.durations, self.undeclared = devices, arrivals, durations, set(undeclared)
        self.running: dict[str, tuple[float, float | None, tuple[Device, ...]]] = {}  # real end, declared end, devices
        self.started: dict[str, float] = {}
        self.promised: dict[str, float] = {}  # the earliest guarantee that each had while it was the first in line

    def run(self, timed: bool = True) -> "Host":
        now, waits = 0., []
        events = sorted({t.since for t in self.arrivals})
        for _ in range(10_000):
            self.running = {id: r for id, r in self.running.items() if r[0] > now}
            waits += [t for t in self.arrivals if t.since == now]
            self.decide(now, waits, timed)
            waits = [t for t in waits if t.id not in self.started]
            later = [e for e in events if e > now] + [r[0] for r in self.running.values()]
            if not later: break
            now = min(later)
        return self

    def decide(self, now, waits, timed):
        busy = {d.id for _, _, used in self.running.values() for d in used}
        free = [d for d in self.devices if d.id not in busy]
        held = [(d, end if timed else None) for _, end, used in self.running.values() for d in used]
        line = waits if timed else [replace(t, request=replace(t.request, time=None)) for t in waits]
        grants = grant(free, line, held, now) if timed else simple_grant(free, line)
        given = [d.id for used in grants.values() for d in used]
        assert len(given) == len(set(given)) and set(given) <= {d.id for d in free}
        if line and (head := in_order(line)[0]).id not in grants:
            start = guaranteed_start(Line(free, held, now), head.request)
            if start is not None: self.promised[head.id] = min(start, self.promised.get(head.id, start))
        for t in waits:
            if t.id in grants:
                end = now + t.request.time if t.request.time and t.id not in self.undeclared else None
                self.started[t.id], self.running[t.id] = now, (now + self.durations[t.id], end, grants[t.id])


def imagine(seed: int, exact: bool):
    "A host, requests that it can meet, and how long each really runs."
    chance = random.Random(seed)
    host = [device(n, "cuda", chance.choice((40, 80, 80))) for n in range(chance.randint(2, 7))] + [device(n, "cpu", 8) for n in range(chance.randint(0, 2))]
    arrivals, durations = [], {}
    while len(arrivals) < 25:
        limit = float(chance.randint(1, 12))
        request = Request(chance.randint(1, 6), kind=chance.choice(("cuda", "cuda", "cuda", "cpu")), memory=chance.choice((None, None, 60*GIB)),
                          time=limit if exact or chance.random() < .7 else None)
        if sum(could_use(d, request) for d in host) < request.count: continue
        t = ticket(len(arrivals), request, float(chance.randint(0, 30)))
        arrivals.append(t)
        durations[t.id] = limit if exact else float(chance.randint(1, int(limit))) if request.time else float(chance.randint(1, 20))
    return host, arrivals, durations


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_nobody_starts_later_than_without_backfill_when_runs_take_their_whole_time(seed):
    better = 0
    for number in range(seed, seed + 20):
        with_times, without = Host(*imagine(number, exact=True)).run(), Host(*imagine(number, exact=True)).run(timed=False)
        assert with_times.started.keys() == without.started.keys()
        heads = with_times.promised
        for id in heads: assert with_times.started[id] <= heads[id]
        better += sum(without.started.values()) - sum(with_times.started.values())
    assert better > 0  # it is worth its while


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_the_head_starts_by_its_guarantee_though_others_end_early_or_say_nothing(seed):
    promises = 0
    for number in range(seed, seed + 20):
        host = Host(*imagine(number, exact=False)).run()
        assert len(host.started) == 25  # everybody is served in the end
        promises += len(host.promised)
        for id, latest in host.promised.items(): assert host.started[id] <= latest, (number, id)
    assert promises > 10


@pytest.mark.parametrize("seed", range(0, 200, 20))
def test_no_start_at_all_is_later_where_all_devices_of_a_kind_are_equal(seed):
    """Not only the head's. Where cards differ, a request that starts earlier may find other cards free and take a larger one, which
    somebody after it would have had: no policy without a plan for all of time can rule that out, and only guarantees hold."""
    for number in range(seed, seed + 20):
        host, arrivals, durations = imagine(number, exact=True)
        host = [replace(d, memory_total=80*GIB) for d in host]
        with_times, without = Host(host, arrivals, durations).run(), Host(host, arrivals, durations).run(timed=False)
        assert all(with_times.started[id] <= start for id, start in without.started.items()), number


def test_two_that_wait_are_both_kept_from_longer_ones():
    "The second in line is protected too: what goes ahead is back before either could start."
    free, held = [device(0)], [(device(1), 10.), (device(2), 100.)]
    line = [ticket(0, Request(3)), ticket(1, Request(2, time=5.), 1.), ticket(2, Request(1, time=50.), 2.), ticket(3, Request(1, time=9.), 3.)]
    assert set(grant(free, line, held)) == {"t003"}


def test_a_short_one_goes_past_any_number_that_wait_for_the_same():
    free, held = [device(0)], [(device(n), 100.) for n in range(1, 8)]
    line = [ticket(0, Request(8)), ticket(1, Request(8), 1.), ticket(2, Request(1), 2.), ticket(3, Request(1, time=50.), 3.)]
    assert set(grant(free, line, held)) == {"t003"}


@pytest.mark.parametrize("limit", ["x", "1:00:00", 0, -1, float("nan"), float("inf"), True, [5], 1e300])
def test_a_time_that_makes_no_sense(limit):
    with pytest.raises(DeviceError, match="is not a number of seconds above 0"): parse_limit(limit)
    with pytest.raises(DeviceError, match="time="): check_possible(Request(1, time=limit), [device(0)])
