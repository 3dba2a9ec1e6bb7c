"""Ranks on other hosts: one agent per node, each with one simulated device, on this host and without a scheduler."""
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hosts import all_gone, hosts
from support.isolation import patience
from support.live_kernel import Kernel
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import AllocationError, BenchError
from lepton_bench.client.connection import connect
from lepton_bench.store.checkpoints import list_checkpoints
from lepton_bench.processes.channel import Client, encode
from lepton_bench.processes.remote_channel import Keys, Link, read_keys

SIMULATED = ["env", "LEPTON_BENCH_SIMULATED=1"]
# an agent that does not start while a file of its node's name is there
HELD = ["sh", "-c", 'while [ -e "$0" ]; do sleep .05; done; exec "$@"']


@pytest.fixture(scope="module")
def two() -> Iterator:
    "Two nodes for whatever does no harm to them."
    with hosts(["n1", "n2"], 2, SIMULATED) as found: yield found


@pytest.fixture
def alloc(two):
    until(lambda: two[0].info["state"] == "idle" and not two[0].info["missing"], "idle", patience(30))
    return two[0]


def reached(folder: Path, count: int) -> None:
    until(lambda: len(list(folder.glob("there-*"))) == count, f"{count} ranks that are there", patience(30))


def train(folder: str, steps: int, hold: int, every: int = 10) -> tuple[int, int]:
    "Each step an all_reduce; at one step of the first attempt every rank says that it is there, and waits for its end."
    import torch
    import torch.distributed as dist
    state = lb.load_checkpoint() or {"step": 0}
    for step in range(state["step"], steps):
        total = torch.ones(1)
        dist.all_reduce(total)
        lb.log(step=step, total=total.item())
        if step == hold and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            Path(folder, f"there-{dist.get_rank()}").touch()
            while True: time.sleep(.01)
        if (step + 1) % every == 0: lb.save_checkpoint({"step": step + 1}, step + 1)
    return state["step"], dist.get_world_size()


def steps(run, rank: int) -> list[int]: return [p["step"] for p in run.metrics().to_pylist() if p["rank"] == rank]


# --- what works as on one host ----------------------------------------------------------------------

def test_ranks_stand_on_both_nodes_and_know_their_place(alloc):
    def place() -> tuple:
        import torch
        import torch.distributed as dist
        total = torch.tensor([float(dist.get_rank() + 1)])
        dist.all_reduce(total)
        return total.item(), *(int(os.environ[n]) for n in ("RANK", "GROUP_RANK", "GROUP_WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")), os.getpid()
    first, again = alloc.launch(place).results(patience(30)), alloc.launch(place).results(patience(30))
    assert [f[:-1] for f in first] == [(3., 0, 0, 2, 0, 1), (3., 1, 1, 2, 0, 1)] and [f[-1] for f in first] == [f[-1] for f in again], "and they stay warm"
    assert alloc.info["labels"] == ["n1:sim-0", "n2:sim-0"] and alloc.info["ranks"].keys() == {"0", "1"}


def test_metrics_logs_and_checkpoints_arrive_once(alloc):
    def work() -> str:
        import torch.distributed as dist
        for step in range(3000):
            lb.log(step=step, loss=step / 2)
            if step % 1000 == 999: lb.save_checkpoint({"step": step}, step)
        print("the end of", dist.get_rank())
        return "x" * 300_000
    run = alloc.launch(work)
    assert [len(r) for r in run.results(patience(30))] == [300_000] * 2
    assert [steps(run, rank) for rank in range(2)] == [list(range(3000))] * 2
    assert [run.logs(rank) for rank in range(2)] == ["the end of 0", "the end of 1"]
    assert [c.name for c in list_checkpoints(run.directory)] == ["step-999", "step-1999", "step-2999"]
    assert not list((run.directory/"rings").iterdir()) and run.record.devices == ["n1.sim-0", "n2.sim-0"]


def test_a_checkpoint_counts_only_after_the_metrics_before_it(alloc):
    def work() -> int:
        for step in range(200): lb.log(step=step, a=1.)
        lb.save_checkpoint({}, 1)
        from lepton_bench.metrics.storage import read_metrics
        return read_metrics(Path(os.environ["TORCHELASTIC_ERROR_FILE"]).parent.parent).num_rows
    assert alloc.launch(work).result(patience(30)) == 400, "those of both ranks were in the file when the save returned"


def test_a_script_sees_what_torchrun_would_have_set(alloc, tmp_path):
    script = tmp_path/"train.py"
    script.write_text("import os, sys, torch, torch.distributed as dist\ndist.init_process_group('gloo')\nx = torch.ones(1)\ndist.all_reduce(x)\n"
                      "print(sys.argv[1], x.item(), os.environ['GROUP_RANK'], __name__)\n")
    run = alloc.launch(str(script), args=["here"])
    assert run.wait(patience(40)).status == "done", run.logs()
    assert [run.logs(rank) for rank in range(2)] == ["here 2.0 0 __main__", "here 2.0 1 __main__"]


def test_another_process_attaches_launches_and_waits(alloc):
    code = f"import lepton_bench as lb, os\nalloc = lb.attach({alloc.name!r})\nprint(alloc.launch(os.getpid).results(30))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=patience(60))
    assert said.returncode == 0, said.stderr
    assert [p["pid"] for p in alloc.info["ranks"].values()] == json.loads(said.stdout.splitlines()[-1])


def test_stacks_and_stop(alloc, tmp_path):
    def hang_here(folder: str) -> None:
        import torch.distributed as dist
        Path(folder, f"there-{dist.get_rank()}").touch()
        if dist.get_rank() == 0: dist.barrier()
        while True: time.sleep(.01)
    run = alloc.launch(hang_here, str(tmp_path))
    reached(tmp_path, 2)
    stacks = run.stacks(patience(5))
    assert "hang_here" in str(stacks) and "barrier" in str(stacks) and stacks.odd == [1], stacks
    begun = time.monotonic()
    assert run.stop().status == "stopped" and time.monotonic() - begun < patience(10)
    assert alloc.launch(os.getpid).wait(patience(30)).status == "done"


def test_cells_on_ranks(alloc):
    kernel = Kernel()
    try:
        kernel.run(f"import lepton_bench as lb\nalloc = lb.attach({alloc.name!r})")
        kernel.run("%%ranks\nimport os\nx = torch.tensor([float(rank + 1)])\ndist.all_reduce(x)")
        assert kernel.run("%%ranks\nx.item(), os.environ['GROUP_RANK']") == "[0] (3.0, '0')\n[1] (3.0, '1')\n"
        assert kernel.run("%%ranks 1\nprint('here')\nrank") == "[1] here\n[1] 1\n"
        assert "ZeroDivisionError" in kernel.run("%%ranks\n1/(1 - rank)", check=False)
    finally: kernel.close()


# --- who may speak ----------------------------------------------------------------------------------

class Touch:
    "Makes a file when it is unpickled."
    def __init__(self, path: Path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)


def dealer(curve: tuple[str, str, str] | None, port: int):
    import zmq
    context = zmq.Context()
    sock = context.socket(zmq.DEALER)
    sock.setsockopt(zmq.LINGER, 0)
    if curve: sock.curve_serverkey, sock.curve_publickey, sock.curve_secretkey = (k.encode() for k in curve)
    sock.connect(f"tcp://127.0.0.1:{port}")
    return context, sock


def test_who_has_not_the_keys_gets_nothing_and_is_not_heard(alloc, two, tmp_path):
    import zmq
    keys, spent = read_keys(two[1].folder/"keys.json"), tmp_path/"unpickled"
    mine = [k.decode() for k in zmq.curve_keypair()]
    ports = {"clients": alloc.info["link"]["port"], "agents": json.loads((two[1].folder/"link.json").read_bytes())["port"]}
    launch = {"op": "launch", "number": 1, "sequence": 0, "kind": "function", "name": "evil", "options": {"process_group": True, "max_restarts": 0,
              "retry_exceptions": False}, "arguments": "", "parameters": {}, "sources": {}, "labels": {}, "target": None, "args": [], "context": "x",
              "context_data": json.dumps({"env": {}, "cwd": "/", "sys_path": []})}
    hello = {"op": "hello", "number": 1, "sequence": 0, "node": "n1", "versions": {}, "executable": "", "devices": [], "cores": 1}
    before, agents = len(lb.runs()), two[1].agents()

    def answered(curve, port: int) -> bool:
        context, sock = dealer(curve, port)
        try:
            for header in (launch, hello): sock.send_multipart([encode(header), pickle.dumps(Touch(spent))])
            return bool(sock.poll(1000))
        finally: sock.close(); context.term()
    for port in ports.values():
        for curve in (None, (keys.server, *mine), (mine[0], keys.public, keys.secret)): assert not answered(curve, port)
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"\xff\0\0\0\0\0\0\0\x01\x7f" + os.urandom(500))
            raw.settimeout(1)
            try: assert len(raw.recv(4096)) < 100, "no more than a greeting"
            except OSError: pass
    assert len(lb.runs()) == before and two[1].agents() == agents and not spent.exists()
    assert alloc.launch(os.getpid).wait(patience(30)).status == "done", "and nobody was harmed"
    # the same words from somebody who has the keys are heard
    before = len(lb.runs())
    assert answered((keys.server, keys.public, keys.secret), ports["clients"])
    until(lambda: len(lb.runs()) == before + 1, "its run", patience(10))
    until(spent.exists, "the function of somebody with the keys", patience(20))


def test_a_client_with_other_keys_gets_no_answer_and_says_so(alloc, two):
    import zmq
    keys, where = read_keys(two[1].folder/"keys.json"), alloc.info["link"]
    other = Keys(keys.server, *(k.decode() for k in zmq.curve_keypair()))
    client = Client(None, alloc.supervisor, f"allocation {alloc.name!r}", lambda seconds: Link(where["hosts"], where["port"], other, timeout=seconds))
    with pytest.raises(AllocationError, match="did not answer 'describe' within 2"): client.request("describe", timeout=2)
    client.close()


def test_keys_that_others_can_read_are_refused(alloc, two):
    path = two[1].folder/"keys.json"
    path.chmod(0o644)
    try:
        with pytest.raises(BenchError, match=r"not trusted.*mode 644"): connect(alloc.name).request("describe")
    finally: path.chmod(0o600)
    connect(alloc.name).request("describe")


def test_ports_are_those_that_the_setting_names(monkeypatch):
    "The supervisor's two, and the store's of every process group."
    first = 20_000 + os.getpid() % 10_000
    monkeypatch.setenv("LEPTON_BENCH_PORTS", f"{first}-{first + 40}")
    def store_port() -> int: return int(os.environ["MASTER_PORT"])
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        ports = {alloc.info["link"]["port"], json.loads((found.folder/"link.json").read_bytes())["port"]}
        ports |= set(alloc.launch(store_port).results(patience(30)))
        alloc.restart()
        ports |= set(alloc.launch(store_port).results(patience(30)))
        assert len(ports) >= 3 and ports <= set(range(first, first + 41)), ports


# --- versions ---------------------------------------------------------------------------------------

def test_a_node_with_another_torch_is_refused_with_both_versions(tmp_path):
    import torch
    other = tmp_path/"n2"/"torch-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other/"METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    with pytest.raises(AssertionError) as caught, hosts(["n1", "n2"], 2, [*SIMULATED, f"PYTHONPATH={tmp_path}/{{node}}"]): pass
    said = str(caught.value)
    assert said.startswith("failed") and f"node n2 has torch 9.9.9 where the notebook has {torch.__version__}" in said and sys.executable in said, said


# --- ends -------------------------------------------------------------------------------------------

def test_release_ends_everything():
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        alloc.launch(os.getpid).wait(patience(30))
        everybody = [p for node in ("n1", "n2") for p in found.family(node)]
        assert len(everybody) >= 6 and all(p.exists() for p in found.places)
        alloc.release()
        assert found.process.wait(patience(10)) == 0 and not all_gone(everybody, patience(5)) and not any(p.exists() for p in found.places)
        assert not found.folder.exists() and not found.file() and alloc.name not in [a["name"] for a in lb.allocations()]


def test_release_ends_also_an_agent_that_is_stopped():
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        alloc.launch(os.getpid).wait(patience(30))
        everybody = [p for node in ("n1", "n2") for p in found.family(node)]
        os.kill(found.agents()["n2"].pid, signal.SIGSTOP)
        begun = time.monotonic()
        alloc.release()
        assert found.process.wait(patience(20)) == 0 and time.monotonic() - begun < patience(20), "by itself, not killed by us"
        assert not all_gone(everybody, patience(5)) and not any(p.exists() for p in found.places)


def test_an_idle_allocation_is_given_back(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_IDLE_RELEASE", "2")
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        everybody = [p for node in ("n1", "n2") for p in found.family(node)]
        assert found.process.wait(patience(15)) == 0 and not all_gone(everybody, patience(5))
        assert not alloc.alive and not found.file()


# --- a node that is lost ----------------------------------------------------------------------------

def test_a_killed_agent_takes_its_ranks_along_and_the_run_goes_on_from_its_checkpoint(tmp_path):
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        run = alloc.options(max_restarts=1).launch(train, str(tmp_path), 40, 25)
        reached(tmp_path, 2)
        family, killed = found.family("n2"), time.time()
        os.kill(family[0].pid, signal.SIGKILL)
        assert not all_gone(family, patience(5)), "its ranks are gone with it"
        assert run.results(patience(40)) == [(20, 2)] * 2
        (restart,) = run.record.restarts
        assert "node n2 was lost" in restart["reason"] and restart["time"] - killed < patience(5), restart
        assert [steps(run, rank) for rank in range(2)] == [list(range(40))] * 2
        assert found.agents()["n2"] != family[0] and not alloc.info["missing"]


def test_a_run_with_fewer_ranks_goes_on_at_once_and_later_with_all_again(tmp_path):
    def work(folder: str) -> list[int]:
        import torch
        import torch.distributed as dist
        state, attempt = lb.load_checkpoint() or {"worlds": []}, int(os.environ["TORCHELASTIC_RESTART_COUNT"])
        worlds, limit = state["worlds"], 10 * (attempt + 1)
        for step in range(len(worlds), limit):
            total = torch.ones(1)
            dist.all_reduce(total)
            lb.log(step=step, world=total.item())
            worlds.append(int(total.item()))
        lb.save_checkpoint({"worlds": worlds}, limit)
        if attempt == 2: return worlds
        Path(folder, f"there-{attempt}-{dist.get_rank()}").touch()
        while not Path(folder, f"die-{attempt}").exists(): time.sleep(.01)
        os.kill(os.getpid(), signal.SIGKILL)
    hold = tmp_path/"hold-n2"
    with hosts(["n1", "n2"], 2, [*HELD, f"{tmp_path}/hold-{{node}}", *SIMULATED], min_ranks=1) as (alloc, found):
        run = alloc.options(max_restarts=2).launch(work, str(tmp_path))
        reached(tmp_path, 2)
        hold.touch()
        os.kill(found.agents()["n2"].pid, signal.SIGKILL)
        until((tmp_path/"there-1-0").exists, "the run with one rank, while its other node is away", patience(8))
        assert "node n2" in alloc.info["missing"] and run.record.world_size == 1 and "node n2 was lost" in run.record.restarts[0]["reason"]
        hold.unlink()
        until(lambda: not alloc.info["missing"], "the node's return", patience(15))
        assert run.record.world_size == 1, "a run in progress is left alone"
        (tmp_path/"die-1").touch()
        assert run.results(patience(40)) == [[2] * 10 + [1] * 10 + [2] * 10] * 2
        assert run.record.attempt == 2 and run.record.world_size == 2 and steps(run, 0) == list(range(30))


def test_points_of_a_killed_agent_are_kept(tmp_path):
    "Whatever a rank has logged is in the run, although its agent could not say it any more."
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        run, agent = alloc.launch(log_and_wait, str(tmp_path)), found.agents()["n2"]
        reached(tmp_path, 2)
        os.kill(agent.pid, signal.SIGSTOP)
        (tmp_path/"go").touch()
        until(lambda: len(list(tmp_path.glob("logged-*"))) == 2, "logged points", patience(20))
        os.kill(agent.pid, signal.SIGKILL)
        assert run.wait(patience(20)).status == "failed" and "node n2 was lost" in run.record.reason
        until(lambda: steps(run, 1) == list(range(500)), "the points of the lost rank", patience(10))
        assert steps(run, 0) == list(range(500))


def log_and_wait(folder: str) -> None:
    import torch.distributed as dist
    Path(folder, f"there-{dist.get_rank()}").touch()
    while not Path(folder, "go").exists(): time.sleep(.01)
    for step in range(500): lb.log(step=step, loss=1.)
    Path(folder, f"logged-{dist.get_rank()}").touch()
    while True: time.sleep(.01)


def test_a_stopped_agent_is_named_then_lost_and_its_successor_ends_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_NODE_SILENCE", "5")
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        run = alloc.options(max_restarts=1).launch(train, str(tmp_path), 40, 25)
        reached(tmp_path, 2)
        family = found.family("n2")
        os.kill(family[0].pid, signal.SIGSTOP)
        until(lambda: "node n2: silent for" in found.file()["missing"], "a word about the silent node", patience(5))
        assert run.results(patience(40)) == [(20, 2)] * 2 and "node n2 was lost (silent for" in run.record.restarts[0]["reason"]
        assert not all_gone(family, patience(5)), "nobody stands on the node beside the new ranks"
        assert [steps(run, rank) for rank in range(2)] == [list(range(40))] * 2


def test_an_agent_that_cannot_stay_is_named_and_asked_for_again(two, alloc):
    path, found = two[1].folder/"keys.json", two[1]
    path.chmod(0o644)
    os.kill(found.agents()["n2"].pid, signal.SIGKILL)
    until(lambda: "keys.json is not trusted" in found.file()["missing"], "why the node does not come back", patience(10))
    assert found.file()["missing"].startswith("node n2: ")
    path.chmod(0o600)
    until(lambda: not alloc.info["missing"], "the node's return", patience(15))
    assert alloc.launch(os.getpid).wait(patience(30)).status == "done"


# --- a supervisor that is lost ----------------------------------------------------------------------

def test_a_killed_supervisor_takes_agents_and_ranks_along_and_no_point_is_lost(tmp_path):
    "Nobody listens where it was: agents find that out within a few seconds, whatever the setting node_silence says."
    with hosts(["n1", "n2"], 2, SIMULATED) as (alloc, found):
        run = alloc.launch(log_and_wait, str(tmp_path))
        reached(tmp_path, 2)
        everybody = [p for node in ("n1", "n2") for p in found.family(node)]
        os.kill(found.process.pid, signal.SIGSTOP)
        (tmp_path/"go").touch()
        until(lambda: len(list(tmp_path.glob("logged-*"))) == 2, "logged points", patience(20))
        os.kill(found.process.pid, signal.SIGKILL)
        found.process.wait()
        assert not all_gone(everybody, patience(10)) and not any(p.exists() for p in found.places)
        assert run.status == "lost" and [steps(run, rank) for rank in range(2)] == [list(range(500))] * 2
        assert "supervisor is gone: nobody listens" in (found.folder/"agent-n2.log").read_text()




# --- many nodes -------------------------------------------------------------------------------------

def hold() -> None: pass


def test_a_hundred_simulated_nodes():
    "Links, keys, messages and heartbeats are real, the ranks run nothing; tests/benchmarks/fleet.py has a thousand."
    import io

    from support.simulated_nodes import LINE, simulated_nodes

    from lepton_bench.display.output import TerminalOutput, Watch
    from lepton_bench.client.run import summary_line
    with simulated_nodes(100) as (alloc, found):
        run, shown = alloc.launch(steps), io.StringIO()
        assert run.wait(patience(10)).status == "done" and run.record.world_size == 100
        Watch(run.directory, 100, lambda: summary_line(run), TerminalOutput(shown)).follow()
        lines = shown.getvalue().splitlines()
        assert lines[0] == f"[0-99] {LINE}" and len(lines) == 2 and f"run {run.id}" in lines[1]
        run = alloc.launch(hold)
        until(lambda: sum(p.stat().st_size > 0 for p in (run.directory/"logs").glob("rank-*.log")) == 100, "100 ranks that have begun", patience(10))
        assert len(alloc.info["ranks"]) == 100 and run.stop(timeout=patience(10)).status == "stopped"
        assert alloc.launch(steps).wait(patience(10)).status == "done" and not alloc.info["missing"]
        alloc.release()
        assert found.process.wait(patience(10)) == 0
