"""A real network between hosts: three network namespaces, an agent in each, the supervisor in the first; and cables that are cut, bad or missing."""
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.hosts import all_gone, hosts
from support.isolation import patience
from support.network import Network, need_network
from support.waiting import until
from cluster.test_remote_nodes import steps

import lepton_bench as lb

NAMES = ["n1", "n2", "n3"]


@pytest.fixture(scope="module", autouse=True)
def _here() -> None: need_network()


@pytest.fixture
def network() -> Iterator[Network]:
    found = Network(NAMES)
    try: yield found
    finally: found.close()
    assert not found.left()


@pytest.fixture
def three(network: Network) -> Callable[..., AbstractContextManager]:
    "An allocation of three devices, one in each namespace."
    def start(**more: object) -> AbstractContextManager:
        return hosts(NAMES, 3, [*network.within("{node}"), "env", "LEPTON_BENCH_SIMULATED=1"], around=network.within("n1"), **more)
    return start


def train(folder: str) -> tuple[int, int]:
    "A step each twentieth of a second, and every tenth a checkpoint, until a file says that it is enough."
    import torch
    import torch.distributed as dist
    state = lb.load_checkpoint() or {"step": 0}
    step, enough = state["step"], 0.
    while not enough:
        wish = torch.tensor([1., float(Path(folder, "enough").exists())])
        dist.all_reduce(wish)
        assert wish[0] == dist.get_world_size()
        enough = wish[1].item()
        lb.log(step=step, total=wish[0].item())
        Path(folder, f"step-{dist.get_rank()}").write_text(str(step))
        step += 1
        if step % 10 == 0: lb.save_checkpoint({"step": step}, step)
        time.sleep(.05)
    return state["step"], step


def at_step(folder: Path, rank: int = 0) -> int:
    try: return int((folder/f"step-{rank}").read_text())
    except (OSError, ValueError): return -1  # it is just being written


def begin(alloc, folder: Path, max_restarts: int = 0, least: int = 15):
    "A run, some steps from its beginning."
    run = alloc.options(max_restarts=max_restarts).launch(train, str(folder))
    until(lambda: at_step(folder) >= least, f"step {least}", patience(30))
    return run


def complete(run, results: list[tuple[int, int]], ranks: int = 3) -> None:
    "Every step of every rank is there once, in order."
    last = {r[1] for r in results}
    assert len(last) == 1 and len(results) == ranks
    for rank in range(ranks): assert steps(run, rank) == list(range(*last)), f"rank {rank}"


def test_ranks_use_the_interface_that_leads_to_the_supervisor(three, network):
    def where() -> tuple:
        import torch
        import torch.distributed as dist
        dist.all_reduce(torch.ones(1))
        return tuple(os.environ.get(n) for n in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "MASTER_ADDR", "GROUP_RANK"))
    with three() as (alloc, _):
        assert alloc.launch(where).results(patience(30)) == [("eth0", "eth0", network.address("n1"), str(n)) for n in range(3)]


def test_a_cable_that_is_unplugged_for_20_seconds_costs_time_and_nothing_else(three, network, tmp_path):
    "TCP delivers what was under way: this is no restart. (It tries again after 12.6 and 25.4 seconds; the setting node_silence is 30.)"
    with three() as (alloc, found):
        run = begin(alloc, tmp_path)
        agents, before, begun = found.agents(), at_step(tmp_path), time.monotonic()
        network.unplug("n3")
        until(lambda: "node n3: silent for" in alloc.info["missing"], "a word about the silent node", 5)
        assert "node n1" not in alloc.info["missing"] and "node n2" not in alloc.info["missing"]
        time.sleep(max(0., begun + 20 - time.monotonic()))  # the cable's time, nobody waits for anything
        assert "node n3: silent for" in alloc.info["missing"] and run.status == "running" and at_step(tmp_path) <= before + 3
        network.plug_in("n3")
        until(lambda: at_step(tmp_path) > before + 10, "more steps", patience(15))
        (tmp_path/"enough").touch()
        complete(run, run.results(patience(20)))
        assert run.record.attempt == 0 and found.agents() == agents and not alloc.info["missing"]


def test_a_node_that_is_cut_off_for_longer_is_lost_and_the_run_goes_on_when_it_is_back(three, network, tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_NODE_SILENCE", "4")
    with three() as (alloc, found):
        run, family = begin(alloc, tmp_path, max_restarts=1), found.family("n3")
        network.cut("n3")
        until(lambda: run.record.restarts, "the loss of a node", patience(9))
        assert "node n3 was lost (silent for" in run.record.restarts[0]["reason"] and "node n3: silent for" in alloc.info["missing"]
        assert all(p.alive() for p in family), "the agent that was cut off hopes for a while longer"
        network.mend("n3")
        assert not all_gone(family, patience(10)), "it and its ranks end when it hears what has happened"
        until(lambda: alloc.info["state"] == "running" and not alloc.info["missing"] and len(alloc.info["ranks"]) == 3, "three ranks", patience(20))
        (tmp_path/"enough").touch()
        results = run.results(patience(20))
        complete(run, results)
        assert results[0][0] >= 10 and results[0][0] % 10 == 0 and run.record.attempt == 1, "from a checkpoint"


def test_with_fewer_ranks_the_run_goes_on_at_once_and_who_is_cut_off_ends_by_itself(three, network, tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_NODE_SILENCE", "4")
    with three(min_ranks=2) as (alloc, found):
        run, family = begin(alloc, tmp_path, max_restarts=1), found.family("n3")
        network.cut("n3")
        until(lambda: run.record.restarts and run.record.world_size == 2, "two ranks", patience(12))
        before = at_step(tmp_path)
        until(lambda: at_step(tmp_path) > before + 5, "more steps", patience(8))
        assert not all_gone(family, patience(10)), "twice the silence, then nobody could stop its ranks any more"
        assert "the supervisor was silent for" in (found.folder/"agent-n3.log").read_text() and "node n3" in alloc.info["missing"]
        (tmp_path/"enough").touch()
        complete(run, run.results(patience(20)), ranks=2)
        network.mend("n3")
        until(lambda: not alloc.info["missing"], "the node's return", patience(20))
        alloc.restart()
        assert len(alloc.launch(os.getpid).results(patience(30))) == 3


def test_a_slow_cable_that_loses_packets(three, network, tmp_path):
    "50 ms each way, and every twentieth packet is lost."
    network.worsen("n3", .05, .05)

    def work() -> float:
        import torch
        import torch.distributed as dist
        total = torch.ones(1)
        for step in range(100):
            if step % 25 == 0: dist.all_reduce(total)
            lb.log(step=step, loss=step / 2)
            if step % 40 == 39: lb.save_checkpoint({"step": step}, step)
        return total.item()
    with three() as (alloc, found):
        run = alloc.launch(work)
        assert run.results(patience(35)) == [81.] * 3 and run.record.attempt == 0
        assert [steps(run, rank) for rank in range(3)] == [list(range(100))] * 3
        assert {p["value"] for p in run.metrics().to_pylist()} == {step / 2 for step in range(100)}
        assert sorted(p.name for p in (run.directory/"checkpoints").iterdir()) == ["step-39", "step-79"]


def test_nodes_that_do_not_reach_each_other_are_named_within_a_set_time(three, network, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_GROUP_TIMEOUT", "5")
    network.part("n2", "n3")
    with three() as (alloc, _):
        run = alloc.launch(os.getpid)
        reason = run.wait(patience(60)).record.reason
        assert run.status == "failed"
        two, three_ = (f"rank {n - 1} on n{n} ({network.address(f'n{n}')}, eth0)" for n in (2, 3))
        assert f"{two} does not reach {three_}" in reason and f"{three_} does not reach {two}" in reason and "rank 0" not in reason, reason
        assert "(tried for 5 s)" in reason and "GLOO_SOCKET_IFNAME" in reason and "NCCL_SOCKET_IFNAME" in reason and "restart" in reason
        assert alloc.info["broken"] == reason
        network.unite("n2", "n3")
        alloc.restart()

        def late() -> tuple:
            import torch
            import torch.distributed as dist
            if dist.get_rank() == 1: time.sleep(7)
            dist.all_reduce(total := torch.ones(1))
            return total.item(), dist.distributed_c10d._get_default_store().timeout.total_seconds()
        assert alloc.launch(late).results(patience(40)) == [(3., 1800.)] * 3, "the limit held for forming the group; a collective has torch's own"
