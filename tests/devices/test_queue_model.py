"""The queue against a model of its promise: hypothesis makes up people who ask, look, give back, leave and die, on real lock files.

The promise, in the model's own words: who looks gets what he asked for if there is enough for him that nobody before him could use; what he gets
would have served nobody before him; and when all give back, everybody is served. A second machine tries the pure policy with hosts of all kinds.
"""
import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.leasing import shared_folder

import lepton_bench.resources.queue as queue
from lepton_bench.resources.devices import Device
from lepton_bench.resources.leases import Holder, Lease, holder_of
from lepton_bench.resources.policy import grant
from lepton_bench.resources.queue import Request, Ticket, Waiter, WaitState, waiting

GIB = 1 << 30
HOST = [*(Device(f"cuda-{i}", "cuda", i, "Imaginary", memory_total=total*GIB, memory_used=0) for i, total in enumerate((80, 80, 24, 24))),
        *(Device(f"cpu-{i}", "cpu", i, "Imaginary") for i in range(2))]
REQUESTS = st.builds(Request, st.integers(1, 2), kind=st.sampled_from(("cuda", "cpu")), priority=st.integers(0, 2)) \
    | st.builds(Request, st.integers(1, 4), kind=st.just("cuda"), priority=st.integers(0, 2)) \
    | st.builds(Request, st.integers(1, 2), kind=st.just("cuda"), memory=st.just(60*GIB), priority=st.integers(0, 2))
ANY = st.randoms(use_true_random=False)
# making a failing example smaller takes minutes on real files
bounded = settings(phases=[Phase.generate], max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, database=None)


def fits(device: Device, request: Request) -> bool:
    "The model's own reading of a request."
    return device.kind == request.kind and (device.memory_total or 0) >= (request.memory or 0)


def owed_nothing(request: Request, before: list[Request], free: list[Device]) -> bool:
    "Whether enough fits that nobody before could use."
    return sum(fits(d, request) and not any(fits(d, r) for r in before) for d in free) >= request.count


def check_gain(given: list[Device], request: Request, before: list[Request], free: list[Device]) -> None:
    "What somebody got is what he asked for, was free, and is not missed by those before him."
    assert len({d.id for d in given}) == len(given) == request.count and all(d in free and fits(d, request) for d in given)
    rest = [d for d in free if d not in given]
    for r in before:  # whoever before him could use some of it still finds enough without it
        if any(fits(d, r) for d in given): assert sum(fits(d, r) for d in rest) >= r.count


class People(RuleBasedStateMachine):
    "Waiters of one process; a death is what the operating system makes of it: descriptors are closed and nothing else happens."
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="lb-model-", dir="/tmp"))
        self.patches = [mock.patch.dict(os.environ, {"LEPTON_BENCH_LEASES": str(shared_folder(self.root))}),
                        mock.patch.object(queue, "inventory", lambda: HOST)]
        for patch in self.patches: patch.start()
        self.line: list[Waiter] = []  # in the order in which they asked
        self.held: dict[str, Lease] = {}

    def look(self, waiter: Waiter) -> None:
        free = [d for d in HOST if d.id not in self.held]
        place = {w: (-w.request.priority, i) for i, w in enumerate(self.line)}
        before = [w.request for w in self.line if w._fd >= 0 and place[w] < place[waiter]]
        found = waiter.step()
        if isinstance(found, WaitState):
            assert found.free == len(free) and len(found.ahead) == len(before)
            assert not owed_nothing(waiter.request, before, free), "sent away without need"
            return
        given = [next(d for d in HOST if d.id == lease.device_id) for lease in found]
        check_gain(given, waiter.request, before, free)
        self.line.remove(waiter)
        self.held |= {lease.device_id: lease for lease in found}

    @precondition(lambda self: len(self.line) < 6)
    @rule(request=REQUESTS)
    def ask(self, request: Request) -> None:
        self.line.append(Waiter(request, Holder.me("model")))
        self.look(self.line[-1])

    @precondition(lambda self: self.line)
    @rule(chance=ANY)
    def look_again(self, chance) -> None: self.look(chance.choice(self.line))

    @precondition(lambda self: self.held)
    @rule(chance=ANY)
    def give_back(self, chance) -> None: self.held.pop(chance.choice(sorted(self.held))).close()

    @precondition(lambda self: self.line)
    @rule(chance=ANY)
    def leave(self, chance) -> None:
        waiter = chance.choice(self.line)
        self.line.remove(waiter)
        waiter.close()

    @precondition(lambda self: self.line)
    @rule(chance=ANY)
    def die(self, chance) -> None:
        waiter = chance.choice(self.line)
        self.line.remove(waiter)
        os.close(waiter._fd)
        waiter._fd = -1
        assert waiter.path.exists()  # the ticket lies there, and counts for nothing

    @invariant()
    def held_is_what_was_given(self) -> None:
        assert {d.id for d in HOST if holder_of(d.id)} == set(self.held)

    @invariant()
    def in_line_are_those_who_wait(self) -> None:
        order = sorted(self.line, key=lambda w: (-w.request.priority, self.line.index(w)))
        assert [t.id for t in waiting()] == [w.id for w in order]

    def teardown(self) -> None:
        try:
            rounds = len(self.line) + 1
            for _ in range(rounds):  # all give back, whoever looks first: in each round at least one is served
                while self.held: self.held.popitem()[1].close()
                for waiter in reversed(self.line[:]): self.look(waiter)
            assert not self.line, "somebody is never served"
        finally:
            for waiter in self.line: waiter.close()
            for lease in self.held.values(): lease.close()
            for patch in self.patches: patch.stop()
            shutil.rmtree(self.root)


class Policy(RuleBasedStateMachine):
    "`grant` alone, with a host of devices that come and go and are partly used by others."
    def __init__(self) -> None:
        super().__init__()
        self.free, self.line, self.held, self.asked = list(HOST), list[Ticket](), list[Device](), 0

    @precondition(lambda self: len(self.line) < 8)
    @rule(request=REQUESTS)
    def ask(self, request: Request) -> None:
        self.asked += 1
        self.line.append(Ticket(f"{self.asked:03}", request, float(self.asked//3), "ada", 1000, 1))  # some ask at the same moment

    @precondition(lambda self: self.held)
    @rule(chance=ANY)
    def give_back(self, chance) -> None:
        self.held.remove(d := chance.choice(self.held))
        self.free.append(d)

    @precondition(lambda self: self.line)
    @rule(chance=ANY)
    def leave(self, chance) -> None: self.line.remove(chance.choice(self.line))

    @rule(chance=ANY)
    def decide(self, chance) -> None:
        "All look, in any order, each for himself, as processes do."
        for ticket in chance.sample(self.line, len(self.line)):
            order = sorted(self.line, key=lambda t: (-t.request.priority, t.since, t.id))
            before = [t.request for t in order[:order.index(ticket)]]
            given = list(grant(self.free, self.line).get(ticket.id, ()))
            if not given:
                assert not owed_nothing(ticket.request, before, self.free)
                continue
            check_gain(given, ticket.request, before, self.free)
            self.line.remove(ticket)
            self.free, self.held = [d for d in self.free if d not in given], self.held + given

    @invariant()
    def whoever_looks_first_makes_no_difference(self) -> None:
        "What one gets at his look is what the common decision gives him."
        free, line = self.free, self.line
        together = grant(free, line)
        for ticket in line:
            if (given := grant(free, line).get(ticket.id)) is None: continue
            free, line = [d for d in free if d not in given], [t for t in line if t is not ticket]
            assert given == together[ticket.id]

    def teardown(self) -> None:
        for _ in range(len(self.line) + 1):
            done = grant(HOST, self.line)
            self.line = [t for t in self.line if t.id not in done]
        assert not self.line, "somebody is never served"


TestPeople, TestPolicy = People.TestCase, Policy.TestCase
TestPeople.settings = TestPolicy.settings = bounded
