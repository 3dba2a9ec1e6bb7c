"""Runs that make room and come back, and runs that go on smaller: on this host, as on a cluster (test_slurm)."""
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.isolation import patience
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.client.run import Run
from lepton_bench.supervisor.allocations import list_allocations


@pytest.fixture(autouse=True)
def four_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "4")
    yield
    for found in list_allocations(): lb.attach(found["name"]).release()


def steps(total: int, saved: int = 10):
    def train() -> tuple[int, int]:
        import os

        import torch
        import torch.distributed as dist

        import lepton_bench as lb
        first = (lb.load_checkpoint() or {"step": 0})["step"]
        print("with", os.environ.get("COLOUR"), flush=True)
        for step in range(first, total):
            dist.all_reduce(torch.ones(1))
            lb.log(step=step, one=1)
            if (step + 1) % saved == 0: lb.save_checkpoint({"step": step + 1}, step + 1)
            time.sleep(.02)  # the work
        return first, dist.get_world_size()
    return train


def logged(run: Run) -> list[int]:
    table = run.metrics().to_pydict()
    return sorted(step for step, rank in zip(table["step"], table["rank"]) if rank == 0)


@pytest.mark.parametrize("engine", ["local", "debug"])
def test_a_preemptible_run_steps_aside_after_a_checkpoint_and_comes_back(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = lb.allocate(3, name="patient", engine="local")
    monkeypatch.setenv("COLOUR", "green")
    run = patient.options(preemptible=True).launch(steps(150))
    behind = patient.options(name="behind").launch(steps(3))
    monkeypatch.delenv("COLOUR")
    until(lambda: len(logged(run)) > 12, "it is under way")
    with lb.allocate(2, preempt=True, name="urgent", engine=engine) as urgent:
        saved = run.record.checkpoint
        assert saved and saved >= 20 and logged(run)[-1] == saved - 1, "nothing was lost: it left right after a checkpoint"
        until(lambda: run.status == "waiting" == behind.status, "it waits")
        assert run.record.reason.startswith("it has made room for urgent")
        until(lambda: [a["state"] for a in lb.allocations() if a["name"] == "patient"] == ["waiting"], "and stands in line again")
        assert urgent.launch(lambda: 7).result(timeout=patience(60)) == 7
    assert run.wait(timeout=patience(60)).status == "done" and run.results()[0] == (saved, 3) and run.record.attempt == 1
    assert logged(run) == list(range(150)) and behind.results(timeout=patience(30))[0] == (0, 3)
    assert run.logs(rank=0).split("\n")[:2] == ["with green"]*2, "it goes on in its own environment"
    assert lb.attach("patient").launch(lambda: 5).result(timeout=patience(60)) == 5


def test_what_is_not_preemptible_or_more_important_is_left_alone() -> None:
    plain, important = lb.allocate(2, name="plain"), lb.allocate(2, name="important", priority=5)
    runs = [plain.launch(steps(10_000)), important.options(preemptible=True).launch(steps(10_000))]
    for run in runs: until(lambda run=run: len(logged(run)) > 3, "it is under way")
    with pytest.raises(lb.BenchError, match="no 2 devices within 3 s"): lb.allocate(2, preempt=True, timeout=3)
    assert [run.status for run in runs] == ["running", "running"]
    for run in runs: run.stop()


def test_a_run_without_checkpoints_is_ended_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever() -> None:

        import lepton_bench as lb
        lb.log(step=0, begun=1)
        while True: time.sleep(.01)
    monkeypatch.setenv("LEPTON_BENCH_ASIDE_GRACE", "1")
    run = lb.allocate(4, name="deaf").options(preemptible=True).launch(forever)
    until(lambda: logged(run), "it is under way")
    with lb.allocate(1, preempt=True): assert run.status == "waiting"
    until(lambda: run.status == "running" and run.record.attempt == 1, "it has begun again")
    run.stop()


def test_a_waiting_run_that_is_released_stays_where_it_is() -> None:
    patient = lb.allocate(4, name="patient")
    run = patient.options(preemptible=True).launch(steps(10_000))
    until(lambda: len(logged(run)) > 12, "it is under way")
    with lb.allocate(1, preempt=True):
        until(lambda: [a["state"] for a in lb.allocations() if a["name"] == "patient"] == ["waiting"], "it stands in line")
        from lepton_bench.server.actions import release_allocation
        release_allocation("patient")
        assert not [a for a in lb.allocations() if a["name"] == "patient"]
    assert run.status == "stopped" and "released while it waited" in run.record.reason
    again = run.resume(lb.allocate(2))
    until(lambda: again.record.attempt == 1 and again.status == "running", "it can be taken up by hand")
    again.stop()


def test_min_ranks_lets_a_run_go_on_when_a_device_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LEPTON_BENCH_SIMULATED")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # the number of simulated devices can change while a supervisor lives
    (tmp_path/"lepton_bench").mkdir()
    setting = tmp_path/"lepton_bench"/"settings.ini"
    setting.write_text("[lepton_bench]\nsimulated = 3\n")
    alloc = lb.allocate(3, min_ranks=2)
    run = alloc.options(max_restarts=2).launch(steps(60))
    until(lambda: len(logged(run)) > 12, "it is under way")
    setting.write_text("[lepton_bench]\nsimulated = 2  \n")  # one has fallen off its bus
    os.kill(alloc.info["ranks"]["2"]["pid"], 9)
    assert run.results(timeout=patience(60)) == [(run.record.restarts and run.results()[0][0], 2)]*2 and run.record.world_size == 2
    assert run.results()[0][0] >= 10 and logged(run) == list(range(60)) and "sim-2: the driver does not show it" in alloc.info["missing"]
    setting.write_text("[lepton_bench]\nsimulated = 1\n")
    alloc.restart()
    with pytest.raises(BenchError, match="not all of what was granted is there: sim-1, sim-2"): alloc.launch(lambda: 1).result(timeout=patience(30))
    setting.write_text("[lepton_bench]\nsimulated = 3   \n")
    alloc.restart()
    assert alloc.launch(lambda: os.environ["WORLD_SIZE"]).results(timeout=patience(60)) == ["3"]*3
