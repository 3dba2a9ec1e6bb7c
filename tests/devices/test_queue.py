"""Who is next: the policy as a pure function, and the waiters around it with real locks and real deaths."""
import json
import os
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.leasing import OTHER_UID, Child, ask, needs_root, shared_folder, until

import lepton_bench.resources.queue as queue
from lepton_bench.errors import DeviceError
from lepton_bench.resources.devices import Device, DeviceProcess
from lepton_bench.resources.leases import Holder, holder_of, pack_description, try_lease
from lepton_bench.resources.request import fits
from lepton_bench.resources.policy import grant, in_order
from lepton_bench.resources.queue import Request, Ticket, Waiter, WaitState, waiting, waits_on_itself
from lepton_bench.resources.request import check_possible

GIB = 1 << 30


def device(i: int, kind: str = "cuda", total: int = 80, used: int = 0) -> Device:
    return Device(f"{kind}-{i}", kind, i, "Imaginary", memory_total=total*GIB, memory_used=used*GIB)


def ticket(id: str, count: int, since: float = 0., **request) -> Ticket:
    return Ticket(id, Request(count, **request), since, "ada", 1000, 1)


# --- the policy, without files or processes ---

@st.composite
def hosts(draw) -> list[Device]:
    return [device(i, draw(st.sampled_from(["cuda", "cuda", "cpu"])), draw(st.sampled_from([8, 40, 80])), draw(st.sampled_from([0, 0, 5])))
            for i in range(draw(st.integers(0, 7)))]


@st.composite
def lines(draw) -> list[Ticket]:
    return [ticket(f"t{i}", draw(st.integers(1, 5)), draw(st.integers(0, 3)), priority=draw(st.integers(-1, 1)),
                   kind=draw(st.sampled_from([None, None, "cuda", "cpu"])), memory=draw(st.sampled_from([None, None, 10*GIB, 60*GIB])))
            for i in range(draw(st.integers(0, 7)))]


many = settings(max_examples=300, deadline=None)


@many
@given(hosts(), lines())
def test_never_twice_and_only_what_was_asked_for(free, line):
    grants, by_id = grant(free, line), {t.id: t for t in line}
    given_away = [d.id for devices in grants.values() for d in devices]
    assert len(given_away) == len(set(given_away)) and set(given_away) <= {d.id for d in free}
    for id, devices in grants.items():
        request = by_id[id].request
        assert len(devices) == request.count
        assert all(request.kind in (None, d.kind) and (d.memory_free or 0) >= (request.memory or 0) for d in devices)


@many
@given(hosts(), lines())
def test_priority_then_first_come(free, line):
    "A ticket's lot depends on those before it and on nobody else, and nobody waits without need."
    order = in_order(line)
    assert order == sorted(line, key=lambda t: (-t.request.priority, t.since, t.id))
    whole = grant(free, line)
    for i, t in enumerate(order):
        assert grant(free, order[:i + 1]).get(t.id) == whole.get(t.id)
        before = grant(free, order[:i])
        if len(before) == i and t.id not in whole:  # all before it were served, and still it waits
            taken = {d.id for devices in before.values() for d in devices}
            assert sum(d.id not in taken and fits(d, t.request) for d in free) < t.request.count


@many
@given(hosts(), lines())
def test_backfill_takes_nothing_that_somebody_ahead_could_use(free, line):
    grants, order = grant(free, line), in_order(line)
    for i, head in enumerate(order):
        if head.id in grants: continue
        for later in order[i + 1:]: assert not any(fits(d, head.request) for d in grants.get(later.id, ()))


@many
@given(hosts(), lines(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(free, line, random):
    shuffled, crowd = free[:], line[:]
    random.shuffle(shuffled)
    random.shuffle(crowd)
    assert grant(shuffled, crowd) == grant(free, line)


def starts(devices: list[Device], line: list[Ticket], durations: dict[str, int]) -> dict[str, int]:
    "When each ticket is served if a job of ticket t runs for durations[t]: a host simulated tick by tick."
    free, running, waits, when = list(devices), [], list(line), {}
    for now in range(200):
        for over in [r for r in running if r[0] <= now]: free.extend(over[1])
        running = [r for r in running if r[0] > now]
        for id, devices_granted in grant(free, waits).items():
            when[id] = now
            running.append((now + durations[id], devices_granted))
            free = [d for d in free if d not in devices_granted]
        waits = [t for t in waits if t.id not in when]
        if not waits: break
    return when


@settings(max_examples=150, deadline=None)
@given(hosts(), lines(), st.data())
def test_nobody_is_delayed_by_those_behind(devices, line, data):
    "Fails when a waiting ticket reserves only as many devices as it asks for, or none."
    durations = {t.id: data.draw(st.integers(1, 9)) for t in line}
    with_all, order = starts(devices, line, durations), in_order(line)
    for i, t in enumerate(order): assert starts(devices, order[:i + 1], durations).get(t.id) == with_all.get(t.id)
    possible = [t for t in line if sum(fits(d, t.request) for d in devices) >= t.request.count]
    if len(possible) == len(line): assert len(with_all) == len(line)  # everybody is served in the end


@many
@given(st.integers(1, 4), st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
def test_waits_on_itself(count, free, own):
    host = [device(i) for i in range(4)]
    own = own - free
    said = waits_on_itself(Request(count), host, {f"cuda-{i}" for i in free}, {f"cuda-{i}" for i in own})
    enough_with_own = len(free) < count <= len(free) + len(own)
    never_without_own = 4 - len(own) < count
    assert said == (bool(own) and (enough_with_own or never_without_own))


@pytest.mark.parametrize("wrong, said", [
    (Request(0), "at least 1, not 0"), (Request(-2), "at least 1, not -2"), (Request(4), "4 devices cannot be had"),
    (Request(True), "whole number"), (Request(1.), "whole number"), (Request("2"), "whole number"),
    (Request(1, memory=-1), "number of bytes"), (Request(1, memory="20 GB"), "number of bytes"),
    (Request(1, memory=float("nan")), "number of bytes"), (Request(1, memory=100*GIB), "100.0 GiB free cannot be had"),
    (Request(3, memory=60*GIB), "cannot be had"),
    (Request(1, kind="tpu"), "no device of kind 'tpu'"), (Request(1, priority="high"), "priority")])
def test_impossible_requests_fail_at_once_and_list_what_exists(wrong, said):
    host = [device(0), device(1), device(2, total=24)]
    with pytest.raises(DeviceError, match=said) as e: check_possible(wrong, host)
    assert "This host has 2 cuda (gpu-0, gpu-1: Imaginary, 80.0 GiB); 1 cuda (gpu-2: Imaginary, 24.0 GiB)" in str(e.value)


# --- waiters, with real locks ---

@pytest.fixture
def folder(monkeypatch):
    "Three simulated devices, and a lease folder in which nothing but lock files may be left."
    root = Path(tempfile.mkdtemp(prefix="lb-queue-", dir="/tmp"))
    monkeypatch.setenv("LEPTON_BENCH_LEASES", str(shared_folder(root)))
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "3")
    yield root/"leases"
    left = [p.name for p in (root/"leases").iterdir() if not p.name.endswith(".lock")]
    held = [d for d in ("ledger", "sim-0", "sim-1", "sim-2") if holder_of(d)]
    shutil.rmtree(root)
    assert not left and not held


@pytest.fixture
def me() -> Holder: return Holder.me("quiet-otter", "train.ipynb")


def close(*leases) -> None:
    for lease in leases: lease.close()


def test_first_come_first_served_whoever_looks_first(folder, me):
    with Waiter(Request(3), me) as first: all_three = first.step()
    with Waiter(Request(2), me) as second, Waiter(Request(1), me) as third:
        assert isinstance(second.step(), WaitState) and isinstance(third.step(), WaitState)
        close(all_three[0])
        state = third.step()
        assert state.free == 1 and [t.id for t in state.ahead] == [second.id] and len(state.holders) == 2
        close(*all_three[1:])
        one, two = third.step(), second.step()
        assert len(one) == 1 and len(two) == 2 and not {x.device_id for x in one} & {x.device_id for x in two}
        close(*one, *two)


def test_priority_overtakes(folder, me):
    with Waiter(Request(3), me) as first: all_three = first.step()
    with Waiter(Request(1), me) as early, Waiter(Request(3, priority=1), me) as urgent:
        early.step()
        urgent.step()
        close(*all_three)
        assert [t.id for t in early.step().ahead] == [urgent.id]
        close(*urgent.step())
        close(*early.step())


def test_the_state_says_who_is_ahead_and_who_holds_what(folder, me):
    holder = replace(me, user="ada", since=time.time() - 180)
    with Waiter(Request(2), holder) as first: held = first.step()
    with Waiter(Request(3, label="sweep.ipynb"), me) as second, Waiter(Request(1), me) as third:
        second.step()
        said = str(third.step())
    close(*held)
    assert said.startswith("waiting for 1 simulated device: 1 of 3 free; ahead: ")
    assert "wants 3 simulated devices (sweep.ipynb)" in said and "sim-0 by ada (quiet-otter, train.ipynb) for 3 min" in said
    assert len(said.splitlines()) == 2


def test_an_impossible_request_never_gets_in_line(folder, me):
    with pytest.raises(DeviceError, match="3 simulated"): Waiter(Request(4), me)
    assert not waiting()


def test_devices_that_vanish_while_one_waits(folder, me, monkeypatch):
    with Waiter(Request(3), me) as first: held = first.step()
    with Waiter(Request(3), me) as waiter:
        waiter.step()
        monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")
        with pytest.raises(DeviceError, match="2 simulated"): waiter.step()
    close(*held)


@pytest.mark.parametrize("user", [None, pytest.param(OTHER_UID, marks=needs_root)])
def test_a_dead_waiters_ticket_is_skipped_and_cleared_away(folder, me, user):
    with Waiter(Request(3), me) as first: held = first.step()
    code = "waiter = Waiter(Request(3), Holder.me('x')); say(isinstance(waiter.step(), WaitState)); stay()"
    with Child(code, user) as dead:
        assert dead.hear()
        with Waiter(Request(1), me) as waiter:
            assert [t.uid for t in waiter.step().ahead] == [os.getuid() if user is None else user]
            dead.process.send_signal(signal.SIGKILL)
            until(lambda: not waiter.step().ahead)
            close(held[0])
            close(*waiter.step())
    close(*held)


def test_a_stopped_waiter_is_passed_over_and_keeps_its_place(folder, me):
    "Else one SIGSTOP keeps the devices of its ticket from everybody for ever."
    code = "waiter = Waiter(Request(3), Holder.me('x')); say(isinstance(waiter.step(), WaitState)); stay()"
    with Waiter(Request(3), me) as first: held = first.step()
    with Child(code) as other:
        assert other.hear()
        mine = Waiter(Request(1), me)
        assert len(mine.step().ahead) == 1
        close(held[0])
        assert isinstance(mine.step(), WaitState)  # kept for the other, who is first
        other.process.send_signal(signal.SIGSTOP)
        until(lambda: not waiting()[0].pid == other.process.pid)
        close(*mine.step())
        with Waiter(Request(1), me) as late:
            other.process.send_signal(signal.SIGCONT)
            until(lambda: isinstance(state := late.step(), WaitState) and [t.pid for t in state.ahead] == [other.process.pid])
    assert waiting(sweep=True) == []
    close(*held)


def test_who_is_far_back_looks_rarely(folder, me):
    "64 who look 20 times a second keep the one whose turn it is from the ledger."
    with Waiter(Request(3), me) as first: held = first.step()
    line = [Waiter(Request(1), me) for _ in range(25)]
    pauses = [w.step().pause for w in line]
    assert pauses[:2] == [.05, .1] and pauses == sorted(pauses) and pauses[-1] == 1
    for w in line: w.close()
    close(*held)


@needs_root
def test_a_dead_waiters_ticket_that_may_not_be_removed_is_skipped(folder, me):
    code = "waiter = Waiter(Request(3), Holder.me('x')); held = try_lease('sim-0', waiter.holder); waiter.step(); say(True); stay()"
    with Child(code) as dead:
        assert dead.hear()
        dead.kill()
    code = """
        with Waiter(Request(1), Holder.me('y')) as waiter: found = waiter.step()
        say(isinstance(found, list))"""
    assert ask(code, OTHER_UID) and len(list(folder.glob("*ticket*"))) == 1 and waiting(sweep=True) == []


def test_a_fork_that_outlives_the_waiter_does_not_keep_its_place(folder, me):
    code = """
        waiter = Waiter(Request(3), Holder.me('x'))
        held = try_lease('sim-0', waiter.holder)
        waiter.step(); held.close()
        child = subprocess.Popen(['sleep', '60'], pass_fds=[waiter._fd])
        say(child.pid); stay()"""
    with Child(code) as dead:
        child = dead.hear()
        assert len(waiting()) == 1
        dead.kill()
    try:
        assert waiting() == []
        with Waiter(Request(1), me) as waiter: close(*waiter.step())
    finally: os.kill(child, signal.SIGKILL)  # pid of our own grandchild, alive until here
    until(lambda: waiting(sweep=True) == [] and not list(folder.glob("*ticket*")))


def test_a_forked_copy_of_a_waiter_leaves_the_line_alone(folder, me):
    code = """
        blocker = try_lease('sim-0', Holder.me('x'))
        with Waiter(Request(3), Holder.me('x')) as waiter:
            waiter.step()
            pid = os.fork()
            if pid == 0: waiter.close(); os._exit(0)
            os.waitpid(pid, 0)
            say([t.id for t in waiting()] == [waiter.id])"""
    assert ask(code)


def test_a_ticket_that_somebody_removed_is_written_again_in_its_old_place(folder, me):
    with Waiter(Request(3), me) as first: held = first.step()
    with Waiter(Request(3), me) as early, Waiter(Request(1), me) as late:
        early.step()
        late.step()
        early.path.unlink()
        assert late.step().ahead == []
        early.step()
        assert [t.id for t in late.step().ahead] == [early.id] and [t.id for t in waiting()] == [early.id, late.id]
    close(*held)


GOOD = {"request": {"count": 3}, "since": 0., "process": None}


@pytest.mark.parametrize("change", [
    {"request": None}, {"request": {}}, {"request": {"count": 0}}, {"request": {"count": "3"}}, {"request": {"count": 3, "memory": "all"}},
    {"request": {"count": 3, "priority": "top"}}, {"request": {"count": 3, "new": 1}}, {"request": {"count": 3, "label": 5}},
    {"since": None}, {"since": float("nan")}, {"since": float("inf")}, {"process": 5},
    {"process": {"pid": 1}}, {"request": {"count": 3, "kind": []}}])
def test_nonsense_in_a_ticket_stops_nobody(folder, me, change):
    import fcntl
    content = {**GOOD, "process": me.process.to_dict(), **change}
    path = folder/"lepton_bench.ticket.0"
    with path.open("w+b") as file:
        file.write(pack_description(content))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with Waiter(Request(1), me) as waiter: close(*waiter.step())
        file.seek(0)
        file.write(pack_description({**GOOD, "process": me.process.to_dict()}))  # the same file with sense in it stands in the way
        file.flush()
        held = try_lease("sim-0", me)
        with Waiter(Request(1), me) as waiter: assert [t.id for t in waiter.step().ahead] == ["0"]
        held.close()
    path.unlink()


def test_the_line_is_kept_where_it_was_joined(folder, me, monkeypatch):
    "Settings are looked up from the working directory, which a supervisor may change."
    with Waiter(Request(3), me) as first: held = first.step()
    with Waiter(Request(1), me) as waiter:
        waiter.step()
        monkeypatch.setenv("LEPTON_BENCH_LEASES", str(folder.parent/"elsewhere"))
    monkeypatch.setenv("LEPTON_BENCH_LEASES", str(folder))
    assert not waiting() and not waiter.path.exists() and held[0].intact()
    close(*held)


def test_two_tickets_of_one_id_cannot_be(folder, me):
    "The id is the file's name, whatever is written inside."
    with Waiter(Request(3), me) as first: held = first.step()
    with Waiter(Request(1), me) as waiter:
        waiter.step()
        content = json.loads(waiter.path.read_text())
        assert "id" not in content and waiting()[0].id == waiter.id == waiter.path.name.rpartition(".")[2]
    close(*held)


@pytest.mark.alone
def test_a_stopped_process_that_decides_is_named_and_the_wait_is_bounded(folder, me):
    with Child("lock = try_lease('ledger', Holder.me('x')); say(True); stay()") as stuck, Waiter(Request(1), me) as waiter:
        stuck.hear()
        stuck.process.send_signal(signal.SIGSTOP)
        state = waiter.step(ledger_wait=.2)  # it would not come back before the other process goes on, which it does not
        assert isinstance(state, WaitState) and state.free == 3
        assert f"pid {stuck.process.pid}" in str(state) and "stopped?" in str(state)
        stuck.process.send_signal(signal.SIGKILL)
        until(lambda: isinstance(found := waiter.step(), list) and not close(*found))


def test_who_takes_devices_without_a_ticket_spoils_nothing(folder, me, monkeypatch):
    "The device is snatched between the look and the lock: nothing is kept of the half."
    real = queue.try_lease
    def snatched(device_id, holder, **more): return None if device_id == "sim-1" else real(device_id, holder, **more)
    with Waiter(Request(2), me) as waiter:
        monkeypatch.setattr(queue, "try_lease", snatched)
        assert isinstance(waiter.step(), WaitState) and not holder_of("sim-0")
        monkeypatch.setattr(queue, "try_lease", real)
        close(*waiter.step())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_gives_back_what_was_half_granted(folder, me, monkeypatch, error):
    real = queue.try_lease
    def interrupted(device_id, holder, **more):
        if device_id == "sim-1": raise error
        return real(device_id, holder, **more)
    monkeypatch.setattr(queue, "try_lease", interrupted)
    with pytest.raises(error), Waiter(Request(2), me) as waiter: waiter.step()
    assert not holder_of("sim-0") and not holder_of("ledger") and not waiting()


def test_ones_own_idle_devices_in_the_way_fail_at_once(folder, me):
    with Waiter(Request(2), me) as first: held = first.step()
    own = {lease.device_id for lease in held}
    for count in (2, 3):
        with Waiter(Request(count), me) as again, pytest.raises(DeviceError, match=r"'quiet-otter'.*attach\('quiet-otter'\).*release"):
            again.step(own_idle=own)
    with Waiter(Request(1), me) as fits: close(*fits.step(own_idle=own))
    close(*held)


# --- what NVML says counts too: simulated here, there is no GPU ---

@pytest.fixture
def gpus(folder, monkeypatch):
    "Two GPUs that do not exist, with the processes that a test puts on them."
    def put(*processes):
        cards = [replace(device(i), id=f"gpu-{i}", processes=p) for i, p in enumerate(processes)]
        monkeypatch.setattr(queue, "inventory", lambda: cards)
    return put


BOB = DeviceProcess(4711, "bob", 3*GIB, "python", True)


def test_a_device_with_a_foreign_process_is_not_free(gpus, me):
    gpus((BOB,), (replace(BOB, compute=False, name="Xorg"),))
    with Waiter(Request(2), me) as waiter:
        state = waiter.step()
        assert state.free == 1 and state.holders[0][1] is None and "gpu-0 is busy, not ours: python (bob, pid 4711)" in str(state)
        gpus((), ())
        found = waiter.step()
        assert [lease.device_id for lease in found] == ["gpu-0", "gpu-1"]
    close(*found)


def test_what_the_asking_kernel_itself_holds_is_said_not_refused(gpus, me):
    gpus((BOB,), ())
    with Waiter(Request(2), me) as waiter:
        assert isinstance(waiter.step(), WaitState)
        close(*waiter.step(ours={4711}))
        assert waiter.notes == ["gpu-0: this kernel itself uses it (3.0 GiB)."]


def test_where_processes_cannot_be_known_it_is_said(gpus, me):
    gpus(None, None)
    with Waiter(Request(1), me) as waiter:
        close(*waiter.step())
        assert waiter.notes == ["gpu-0: whether others compute on it cannot be known here."]


def test_a_ticket_for_simulated_devices_reserves_no_gpu(gpus, me):
    with Waiter(Request(3), me) as first: held = first.step()
    with Waiter(Request(3), me) as simulated:
        simulated.step()
        gpus((), ())
        with Waiter(Request(2), me) as real:
            found = real.step()
            assert [lease.device_id for lease in found] == ["gpu-0", "gpu-1"]
    close(*held, *found)
