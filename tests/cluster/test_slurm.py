"""Allocations on a real Slurm of three nodes: waiting, losing nodes, being requeued, preempted and cancelled, and being found again."""
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.isolation import patience
from support.slurm_cluster import SlurmCluster
from support.waiting import until

import lepton_bench as lb
from lepton_bench.api.allocate import plan, submit
from lepton_bench.display.waiting import Waiting
from lepton_bench.engines.base import get_engine
from lepton_bench.errors import AllocationError, AllocationTimeout
from lepton_bench.processes.identity import ProcessId
from lepton_bench.api.runs import get_run
from lepton_bench.supervisor.allocations import allocations_directory, list_allocations


@pytest.fixture(autouse=True)
def cluster(slurm: SlurmCluster) -> Iterator[SlurmCluster]:
    yield slurm
    for found in list_allocations():
        if found.get("job"): slurm.command("scancel", str(found["job"]), check=False)
    slurm.reset()
    for path in allocations_directory().glob("*.json"): path.unlink()


def steps(total: int, pause: float = 0.):
    "A training whose every tenth step is saved; on the way it says on which attempt and node it is."
    def train() -> tuple[int, int]:
        import os

        import torch
        import torch.distributed as dist

        import lepton_bench as lb
        state = lb.load_checkpoint() or {"step": 0}
        first = state["step"]
        print(f"from step {first} on {os.environ['SLURMD_NODENAME']}, world of {dist.get_world_size()}", flush=True)
        for step in range(first, total):
            one = torch.ones(1)
            dist.all_reduce(one)
            lb.log(step=step, world=one.item())
            if (step + 1) % 10 == 0: lb.save_checkpoint({"step": step + 1}, step + 1)
            time.sleep(pause)  # the work
        return first, dist.get_world_size()
    return train


def logged(run) -> list[int]:
    "Steps of rank 0, in order."
    table = run.metrics().to_pydict()
    return sorted(step for step, rank in zip(table["step"], table["rank"]) if rank == 0)


def job_of(alloc) -> int: return json.loads((allocations_directory()/f"{alloc.name}.json").read_text())["job"]


def test_devices_are_the_clusters(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "1")
    found = get_engine("slurm").inventory()
    assert sorted(d.id for d in found if d.kind == "simulated") == [f"n{n}.simulated-{i}" for n in (1, 2, 3) for i in (0, 1)]
    assert sum(d.kind == "cpu" for d in found) == 6
    with lb.allocate(4, engine="slurm", nodes=2) as alloc:
        def mine() -> tuple: return os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"], os.environ["LOCAL_RANK"], os.environ["GROUP_RANK"]
        expected = [(node, "0,1", local, number) for number, node in (("0", "n1"), ("1", "n2")) for local in ("0", "1")]
        assert alloc.launch(mine).results(timeout=patience(60)) == expected
        assert alloc.info["labels"] == ["n1:sim-0", "n1:sim-1", "n2:sim-0", "n2:sim-1"] and alloc.info["shared_folder"] is True


def test_slurms_own_words_are_passed_on(cluster: SlurmCluster) -> None:
    with lb.allocate(2, engine="slurm", kind="cpu", partition="high", time=7, nodes=2, flags=["--comment=ours"]) as alloc:
        found = cluster.job(job_of(alloc))
        assert (found["Partition"], found["TimeLimit"], found["NumNodes"], found["Comment"]) == ("high", "00:07:00", "2", "ours")
    with pytest.raises(AllocationError, match=r"no option partitoin. It has: partition=None, account=None"): lb.allocate(1, engine="slurm", partitoin="high")
    with pytest.raises(AllocationError, match="invalid partition specified: nowhere"): lb.allocate(1, engine="slurm", kind="cpu", partition="nowhere")
    with pytest.raises(lb.BenchError, match="cannot priority"): lb.allocate(1, engine="slurm", priority=3)
    assert not list(allocations_directory().iterdir()), "what was refused leaves nothing"


def test_who_waits_is_told_why_and_can_give_up(cluster: SlurmCluster) -> None:
    blocker = cluster.submit("sleep 600", "--output=/dev/null", "--nodes=3", "--ntasks=6", "--time=10")
    cluster.wait(lambda: cluster.job(blocker)["JobState"] == "RUNNING")

    class Hearing(Waiting):
        said: list[str] = []
        def say(self, text: str) -> None: self.said.append(text)
        def check(self) -> None:
            if any("1 ahead" in text and "expected to start 20" in text for text in self.said): raise KeyboardInterrupt
    ahead = cluster.submit("true", "--output=/dev/null", "--nodes=3", "--ntasks=6", "--time=10")
    engine, hearing = get_engine("slurm"), Hearing()
    with pytest.raises(KeyboardInterrupt): submit(engine, plan(3, engine, kind="cpu", options={"nodes": 3, "time": 5}), hearing)
    assert "waits in partition main" in hearing.said[0] and not list_allocations() and not list(allocations_directory().iterdir())
    with pytest.raises(AllocationTimeout, match=r"job \d+ did not start within 1 s: job \d+ waits in partition main"):
        lb.allocate(3, engine="slurm", kind="cpu", nodes=3, timeout=1)
    assert set(cluster.command("squeue", "--noheader", "--format=%A").split()) == {str(blocker), str(ahead)}, "jobs that nobody wants are cancelled"


def test_a_waiting_allocation_is_listed_and_released_by_others(cluster: SlurmCluster) -> None:
    cluster.submit("sleep 600", "--output=/dev/null", "--nodes=3", "--ntasks=6")
    asker = subprocess.Popen([sys.executable, "-c", "import lepton_bench as lb; lb.allocate(3, engine='slurm', kind='cpu', nodes=3, name='patient')"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: [a["state"] for a in list_allocations() if a.get("job")] == ["waiting"], "the asker has submitted its job")
    asker.kill()
    asker.wait()
    assert [(a["name"], a["state"]) for a in list_allocations()] == [("patient", "waiting")], "it waits with Slurm, whether its asker lives or not"
    done = subprocess.run([Path(sys.executable).with_name("lepton-bench"), "release", "--all"], capture_output=True, text=True, timeout=60)
    assert "patient: waits no longer" in done.stdout, done
    assert not list_allocations() and len(cluster.command("squeue", "--noheader").splitlines()) == 1


def test_a_second_kernel_follows_and_takes_over(cluster: SlurmCluster) -> None:
    alloc = lb.allocate(3, engine="slurm", kind="cpu", nodes=3)
    run = alloc.launch(steps(100, .05))
    until(lambda: len(logged(run)) > 5, "the run has begun")
    other = f"""
import lepton_bench as lb
from lepton_bench.api.runs import get_run
found = [a for a in lb.allocations()][0]
alloc, run = lb.attach(found["name"]), get_run({run.id!r})
assert found["engine"] == "slurm" and run.status == "running", run.status
assert run.wait(timeout={patience(60)}).status == "done"
print(run.results(), run.metrics().num_rows, run.logs(rank=2).strip(), alloc.launch(lambda: 7).result(timeout=60))
alloc.release()
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("LEPTON_BENCH_SOCKETS")} | {"LEPTON_BENCH_SOCKETS": f"/tmp/lb-other-{os.getpid()}"}
    done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, timeout=patience(120), env=env)
    assert done.stdout.strip() == "[(0, 3), (0, 3), (0, 3)] 300 from step 0 on n3, world of 3 7", done
    assert not alloc.alive and logged(run) == list(range(100))


def test_an_agent_that_is_gone_is_named_and_replaced(cluster: SlurmCluster) -> None:
    with lb.allocate(3, engine="slurm", kind="cpu", nodes=3) as alloc:
        run = alloc.options(max_restarts=1).launch(steps(120, .05))
        until(lambda: len(logged(run)) > 15, "a checkpoint is there")
        agent = next(pid for pid, command in cluster.processes("n2").items() if "engines.slurm_job agent" in command and os.getpgid(pid) == pid)
        os.kill(agent, 9)
        until(lambda: run.record.attempt == 1, "the next attempt has begun", 20)
        assert "node n2 was lost" in run.record.restarts[0]["reason"]
        first, world = run.results(timeout=patience(60))[0]
        assert world == 3 and first >= 10 and logged(run) == list(range(120))


def test_with_min_ranks_a_run_goes_on_smaller_when_a_node_dies(cluster: SlurmCluster) -> None:
    alloc = lb.allocate(3, engine="slurm", kind="cpu", nodes=3, min_ranks=2)
    run = alloc.options(max_restarts=2).launch(steps(160, .05))
    until(lambda: len(logged(run)) > 15, "a checkpoint is there")
    cluster.kill_node("n3")
    assert run.wait(timeout=patience(60)).status == "done", run.record
    first, world = run.results()[0]
    assert first >= 10 and world == 2 and "node n3 was lost" in run.record.restarts[0]["reason"] and run.record.world_size == 2
    assert "n3" in alloc.info["missing"] and logged(run) == list(range(160))
    alloc.release()


def test_a_warning_leads_to_a_checkpoint_a_requeue_and_the_rest_of_the_run(cluster: SlurmCluster) -> None:
    alloc = lb.allocate(3, engine="slurm", kind="cpu", nodes=3, time=30)
    run = alloc.launch(steps(300, .05))
    waiting = alloc.options(name="next").launch(steps(3))
    until(lambda: len(logged(run)) > 12, "it is under way")
    job = job_of(alloc)
    cluster.command("scancel", "--batch", "--signal=USR1", str(job))  # what Slurm sends before the time limit; no test waits for minutes
    cluster.wait(lambda: cluster.job(job)["JobState"] == "PENDING" and int(cluster.job(job)["Restarts"]) == 1)
    saved = run.record.checkpoint
    assert saved and saved >= 20 and (run.status, waiting.status) == ("waiting", "waiting") and "time limit" in run.record.reason
    assert [(a["name"], a["state"]) for a in list_allocations()] == [(alloc.name, "waiting")]
    cluster.begin_now(job)
    assert run.wait(timeout=patience(90)).status == "done" and run.results()[0][0] == saved, "it goes on from the checkpoint it was asked for"
    assert logged(run) == list(range(300)) and run.record.attempt == 1 and waiting.results(timeout=patience(30))[0] == (0, 3)
    again = lb.attach(alloc.name)
    assert again.launch(lambda: 5).result(timeout=patience(60)) == 5
    again.release()


def test_preemption_is_slurms_and_the_run_comes_back(cluster: SlurmCluster) -> None:
    alloc = lb.allocate(3, engine="slurm", kind="cpu", nodes=3, cpus=2)
    run = alloc.launch(steps(150, .05))
    until(lambda: len(logged(run)) > 12, "it is under way")
    job, important = job_of(alloc), cluster.submit("sleep 2", "--output=/dev/null", "--nodes=3", "--ntasks=6", "--partition=high")
    cluster.wait(lambda: cluster.job(important)["JobState"] in ("RUNNING", "COMPLETED") and cluster.job(job)["JobState"] == "PENDING")
    assert run.status in ("waiting", "lost") and run.record.ended is None
    cluster.begin_now(job)
    assert run.wait(timeout=patience(90)).status == "done" and run.results()[0][0] >= 10 and logged(run) == list(range(150))
    lb.attach(alloc.name).release()


def test_a_second_stop_kills_at_once(cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "Of ranks on two nodes that do not listen: a stop says whom it waits for, and the next one does not wait."
    monkeypatch.setenv("LEPTON_BENCH_STOP_GRACE", "1000")
    def deaf() -> None:
        import os
        from pathlib import Path
        while True:
            try:
                (Path(str(tmp_path))/f"begun-{os.environ['RANK']}").touch()
                time.sleep(60)
            except KeyboardInterrupt: pass
    with lb.allocate(2, engine="slurm", kind="cpu", nodes=2) as alloc:
        run = alloc.launch(deaf)
        until(lambda: all((tmp_path/f"begun-{r}").exists() for r in (0, 1)), "the ranks' beginning", 60)
        first = threading.Thread(target=run.stop, daemon=True)
        first.start()
        until(lambda: alloc.info["stopping"] == [0, 1], "word of who is waited for")
        assert run.stop(timeout=patience(30)).status == "stopped"
        first.join(patience(30))
        assert not first.is_alive() and alloc.launch(os.getpid).results(timeout=patience(60))


def test_a_server_calls_a_run_waiting_whose_supervisor_died_with_its_node(cluster: SlurmCluster) -> None:
    "The scheduler starts the job again: that is no loss, and nobody who looks takes the allocation away meanwhile."
    from lepton_bench.server.watchers import AllocationsLook, DetailsLook, RunsLook
    alloc = lb.allocate(2, engine="slurm", kind="cpu", nodes=2, name="again")
    run, look, runs, seen = alloc.launch(steps(400, .02)), AllocationsLook(), RunsLook(), list[str]()
    details = DetailsLook(run.id, waiting=look.waiting)

    def row() -> dict:
        found = {a["name"]: a for a in look.look()}
        for one in runs.look(named=look.runs(), waiting=look.waiting())[0]:
            if one["id"] == run.id and seen[-1:] != [one["status"]]: seen.append(one["status"])
        return found.get("again", {})
    until(lambda: row()["state"] == "running" and (logged(run) or [0])[-1] > 20, "it trains")
    job, node = job_of(alloc), cluster.job(job_of(alloc))["BatchHost"]
    cluster.kill_node(node)
    cluster.declare_down(node)
    until(lambda: row()["state"] == "waiting" and seen[-1] == "waiting", "it waits", 40)
    assert row()["job"] == job and row()["devices"] == [] and f"when job {job} of slurm starts again" in look.waiting()[run.id]
    assert details.look()["status"] == "waiting"
    until(lambda: row() and look.returning.asked > 0 and cluster.job(job)["JobState"] == "PENDING", "Slurm was asked, and has it in line", 40)
    cluster.begin_now(job)
    until(lambda: row() and seen[-1] == "done", "it goes on to its end, on the nodes that are left", 60)
    assert seen[seen.index("running"):] == ["running", "waiting", "running", "done"], seen
    assert run.result(timeout=patience(10))[0] >= 20
    alloc.release()


def test_scancel_from_outside_ends_everything_cleanly(cluster: SlurmCluster) -> None:
    alloc = lb.allocate(3, engine="slurm", kind="cpu", nodes=3)
    run = alloc.launch(steps(10_000, .05))
    until(lambda: len(logged(run)) > 5, "it is under way")
    job = job_of(alloc)
    cluster.command("scancel", str(job))
    assert run.wait(timeout=patience(20)).status == "stopped" and len(logged(run)) == run.metrics().num_rows // 3
    until(lambda: not alloc.alive and not list_allocations(), "the allocation is gone")
    cluster.wait(lambda: not [c for c in cluster.processes().values() if "lepton_bench" in c])
    cluster.wait(lambda: cluster.job(job)["JobState"] == "CANCELLED")


def test_a_job_whose_nodes_cannot_be_used_says_why(cluster: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AllocationError, match=r"node n1: Slurm has given GPUs 0, and the driver shows 0"): lb.allocate(1, engine="slurm")
    other = tmp_path/"torch-1.0.0.dist-info"
    other.mkdir()
    (other/"METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(AllocationError, match=r"node n\d has torch 1.0.0 where the notebook has 2"): lb.allocate(1, engine="slurm", kind="cpu")
    assert not list_allocations()


def test_the_keys_are_nobody_elses(cluster: SlurmCluster) -> None:
    with lb.allocate(2, engine="slurm", kind="cpu") as alloc:
        folder = allocations_directory()/alloc.name
        secrets = json.loads((folder/"keys.json").read_text())
        assert {p.name: p.stat().st_mode & 0o077 for p in (folder, folder/"keys.json", folder/"spec.json", folder/"link.json")} == dict.fromkeys(
            (alloc.name, "keys.json", "spec.json", "link.json"), 0)
        for pid in cluster.processes():
            for what in ("cmdline", "environ"): assert not any(s.encode() in Path(f"/proc/{pid}/{what}").read_bytes() for s in secrets.values())
        assert not any(s in cluster.command("scontrol", "show", "job", str(job_of(alloc))) for s in secrets.values())
        assert ProcessId.from_dict(alloc.info["supervisor"]).beat == str(folder/"beat")
        assert get_run(alloc.launch(os.getpid).wait(timeout=patience(60)).id).status == "done"
