"""An agent, and the supervisor's side of many, meet steps that fail: each is said once, and what it does not concern goes on."""
import os
import signal
from pathlib import Path

import pytest
from support.waiting import until

from lepton_bench.agents.agent import Agent, RankHandle
from lepton_bench.agents.remote_nodes import RemoteNodes
from lepton_bench.errors import BenchError
from lepton_bench.processes.channel import Stream, frame, readable, stream_pair
from lepton_bench.processes.identity import ProcessId
from lepton_bench.processes.remote_channel import Link, ServerSocket, new_keys
from lepton_bench.store.runs import log_path


class TwoRanks:
    "An agent with two ranks of which the test holds the other ends, and a run in progress."
    def __init__(self, folder: Path, log_cap: int = 0):
        ours, theirs = stream_pair()
        self.forkserver, self.told, self.said = Stream(theirs), [], []
        self.agent = Agent(ours, {}, lambda header, payload: self.told.append(header), folder, log_cap)
        self.agent.guard.say = self.said.append
        pairs = [stream_pair() for _ in range(2)]
        self.ends = [Stream(theirs) for _, theirs in pairs]
        self.agent.ranks = {rank: RankHandle(rank, ours, process=ProcessId.me(), running=True) for rank, (ours, _) in enumerate(pairs)}
        self.agent.run = {"directory": str(folder), "attempt": 0, "rings": str(folder)}
        self.agent.sample_at = float("inf")

    def close(self) -> None:
        for handle in self.agent.ranks.values(): handle.stream.close()
        for stream in (*self.ends, self.forkserver, self.agent.forkserver): stream.close()


@pytest.fixture
def two(tmp_path):
    found = TwoRanks(tmp_path, log_cap=1)
    yield found
    found.close()


def test_a_log_that_cannot_be_cut_does_not_stop_the_clock(two, tmp_path):
    for rank in (0, 1):
        log_path(tmp_path, rank).parent.mkdir(parents=True, exist_ok=True)
    log_path(tmp_path, 0).mkdir()  # the path of a log is a folder: it cannot be opened for writing
    (log_path(tmp_path, 0)/"file").write_bytes(b"x"*100_000)
    for n in range(200): (log_path(tmp_path, 0)/f"{'long-name'*10}-{n}").touch()  # folders take blocks too
    log_path(tmp_path, 1).write_bytes(b"x"*1_000_000)
    os.sync()
    for _ in range(3):
        two.agent._last_slow = 0.
        two.agent.tick()
    said = [text for text in two.said if "rank 0" in text]
    assert len(said) == 1 and "IsADirectoryError" in said[0] and "Traceback" in said[0], "said once, with its traceback"
    assert not [text for text in two.said if "rank 1" in text]


def test_a_rank_that_sends_no_message_is_killed_and_the_other_goes_on(two):
    two.ends[0].sock.send(b"\xff"*100)
    two.ends[1].sock.send(frame({"op": "ready", "rank": 1}))
    for handle in two.agent.ranks.values(): two.agent.on_readable(handle.stream)
    killed, _ = two.forkserver.receive()
    assert (killed["op"], killed["signal"]) == ("signal", signal.SIGKILL)
    assert [h["op"] for h in two.told] == ["ready"] and two.agent.ranks[0].stream not in two.agent.sources()
    assert len(two.said) == 1 and "rank 0" in two.said[0]


def test_news_of_the_forkserver_that_lacks_something_is_left_out(two):
    two.forkserver.send({"op": "exited"})
    two.forkserver.send({"op": "exited", "rank": 1, "pid": os.getpid(), "status": 3})
    until(lambda: two.agent.on_readable(two.agent.forkserver) or two.told, timeout=10)
    assert [(h["op"], h["rank"], h["status"]) for h in two.told] == [("exited", 1, 3)]


def test_an_unknown_message_is_named(two):
    with pytest.raises(BenchError, match="knows no message 'dance'"): two.agent.receive({"op": "dance"})


class Unplaced:
    "An engine whose scheduler does not answer."
    def start(self, nodes): raise OSError("srun: cannot reach the controller")
    def ended(self): raise OSError("squeue: cannot reach the controller")
    def close(self): pass


@pytest.fixture
def remote():
    keys, secret = new_keys()
    found = RemoteNodes(ServerSocket(keys, secret), ["n1", "n2"], Unplaced())
    links = {name: Link(["127.0.0.1"], found.exchange.port, keys, name) for name in ("n1", "n2")}
    found.said = []
    found.guard.say = found.said.append
    yield found, links
    for x in (*links.values(), found.exchange): x.close()


def hello(name): return {"op": "hello", "node": name, "versions": {}, "executable": "python", "devices": [], "cores": 1}


def hear(remote_nodes, condition):
    def step():
        for source in readable(remote_nodes.sources(), .1): remote_nodes.on_readable(source)
        return condition()
    return until(step, timeout=20)


def test_a_malformed_message_of_one_node_leaves_the_other(remote):
    remote_nodes, links = remote
    links["n1"].send({"op": "hello"})  # who says it is missing
    links["n1"].send({**hello("n1"), "devices": 7})
    links["n2"].send(hello("n2"))
    hear(remote_nodes, lambda: remote_nodes.nodes["n2"].state == "there")
    hear(remote_nodes, lambda: len(remote_nodes.said) == 2)
    assert all("Traceback" in text for text in remote_nodes.said)


def test_an_engine_that_fails_does_not_end_the_watch(remote):
    remote_nodes, links = remote
    for name in links: links[name].send(hello(name))
    hear(remote_nodes, lambda: all(n.state == "there" for n in remote_nodes.nodes.values()))
    remote_nodes.lose(remote_nodes.nodes["n2"], "silent for 31 s")
    for _ in range(3): remote_nodes.watch()
    assert remote_nodes.nodes["n1"].state == "there" and remote_nodes.nodes["n1"].asked is not None, "n1 is still looked after"
    assert "cannot reach the controller" in remote_nodes.missing() and remote_nodes.nodes["n2"].again < float("inf"), "n2 will be asked for again"
    assert len(remote_nodes.said) == 2, "what fails in the same way is said once"
