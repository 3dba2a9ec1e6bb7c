"""The Slurm that other tests stand on (see slurm_cluster.py) does what they take for granted."""
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.slurm_cluster import PACKAGE, SlurmCluster, missing

pytestmark = pytest.mark.usefixtures("clean")

WRITES_SIGNALS = f"""\
#!{sys.executable}
import os, signal
signals = signal.SIGUSR1, signal.SIGTERM
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("begin", os.environ.get("SLURM_RESTART_COUNT", 0), flush=True)
got = None
while got != signal.SIGTERM: print(signal.Signals(got := signal.sigwait(signals)).name, flush=True)
"""


@pytest.fixture
def clean(slurm: SlurmCluster) -> Iterator[None]:
    "No test leaves a job to the next one, nor a node that is down."
    yield
    slurm.reset()


@pytest.fixture
def jobs(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    "Where batch jobs are submitted from, and so where their output is."
    monkeypatch.chdir(slurm.root/"jobs")
    return slurm.root/"jobs"


def test_a_step_runs_on_every_node(slurm: SlurmCluster) -> None:
    assert sorted(slurm.command("srun", "-N3", "printenv", "SLURMD_NODENAME").split()) == ["n1", "n2", "n3"]


def test_gpus_are_handed_out(slurm: SlurmCluster) -> None:
    assert slurm.command("srun", "--gres=gpu:2", "printenv", "CUDA_VISIBLE_DEVICES") == "0,1\n"
    assert slurm.command("srun", "-N3", "--gres=gpu:1", "printenv", "CUDA_VISIBLE_DEVICES") == "0\n"*3
    with pytest.raises(RuntimeError, match="Requested node configuration is not available"): slurm.command("srun", "--gres=gpu:3", "true")


def test_a_step_inside_a_batch_job_shares_its_gpus(slurm: SlurmCluster, jobs: Path) -> None:
    step = "srun --overlap -N3 --ntasks-per-node=1 --gres=gpu:2 bash -c 'echo $SLURM_NODEID $CUDA_VISIBLE_DEVICES'"
    job = slurm.submit(f"srun --overlap -N3 --ntasks-per-node=1 --gres=gpu:2 sleep 100 & {step}; kill $!", "-N3", "--gres=gpu:2")
    slurm.wait(lambda: len(slurm.output(job).splitlines()) >= 3)
    assert sorted(slurm.output(job).splitlines()[:3]) == ["0 0,1", "1 0,1", "2 0,1"]


def test_a_job_is_seen_and_cancelled(slurm: SlurmCluster, jobs: Path) -> None:
    job = slurm.submit("echo begin; exec sleep 100", "-N2", "--job-name=quiet")
    slurm.wait(lambda: "begin" in slurm.output(job))
    assert slurm.command("squeue", "--noheader", "--format=%i %j %T %D") == f"{job} quiet RUNNING 2\n"
    assert any(command == "sleep 100" for command in slurm.processes("n1").values())
    slurm.command("scancel", str(job))
    slurm.wait(lambda: slurm.command("squeue", "--noheader") == "")
    assert slurm.job(job)["JobState"] == "CANCELLED"
    slurm.wait(lambda: not any("sleep" in command for command in slurm.processes().values()))


def test_a_signal_reaches_the_batch_script(slurm: SlurmCluster, jobs: Path) -> None:
    # the warning of --time=1 --signal=B:USR1@60 would come 0 to 30 s after the start, and no option makes that sooner: see slurm_cluster.py
    job = slurm.submit(WRITES_SIGNALS, "--time=1", "--signal=B:USR1@60")
    slurm.wait(lambda: "begin 0" in slurm.output(job))
    slurm.command("scancel", "--batch", "--signal=USR1", str(job))
    slurm.wait(lambda: "SIGUSR1" in slurm.output(job))
    assert slurm.job(job)["JobState"] == "RUNNING"


def test_a_job_of_high_requeues_one_of_main(slurm: SlurmCluster, jobs: Path) -> None:
    low = slurm.submit(WRITES_SIGNALS, "-N3", "--gres=gpu:2", "--open-mode=append")
    slurm.wait(lambda: "begin 0" in slurm.output(low))
    high = slurm.submit("true", "-N3", "--gres=gpu:2", "--partition=high")
    slurm.wait(lambda: slurm.job(high)["JobState"] == "COMPLETED")
    slurm.wait(lambda: slurm.job(low)["Reason"] == "BeginTime")
    assert (slurm.job(low)["JobState"], slurm.job(low)["Restarts"]) == ("PENDING", "1")
    slurm.begin_now(low)
    slurm.wait(lambda: "begin 1" in slurm.output(low))
    assert slurm.output(low).index("SIGTERM") < slurm.output(low).index("begin 1")


def test_a_node_without_its_slurmd_is_down_and_comes_back(slurm: SlurmCluster) -> None:
    slurm.kill_slurmd("n2")
    slurm.wait(lambda: slurm.nodes()["n2"].startswith("down"), 20)
    assert (slurm.nodes()["n1"], slurm.nodes()["n3"]) == ("idle", "idle")
    slurm.start_slurmd("n2")
    slurm.wait_idle(5)
    assert slurm.command("srun", "-w", "n2", "printenv", "SLURMD_NODENAME") == "n2\n"


def test_a_job_goes_on_without_a_node_that_lost_its_power(slurm: SlurmCluster, jobs: Path) -> None:
    step = "srun --no-kill --kill-on-bad-exit=0 --wait=0 --ntasks-per-node=1 bash -c 'echo on $SLURMD_NODENAME; exec sleep 100'"
    job = slurm.submit(step, "-N3", "--no-kill")
    slurm.wait(lambda: slurm.output(job).count("on n") == 3)
    slurm.kill_node("n2")
    assert not slurm.processes("n2")
    slurm.declare_down("n2")
    slurm.wait(lambda: slurm.job(job)["NodeList"] == "n[1,3]")
    assert slurm.job(job)["JobState"] == "RUNNING"
    assert sum(command == "sleep 100" for command in slurm.processes().values()) == 2


def test_jobs_outlive_their_controller(slurm: SlurmCluster, jobs: Path) -> None:
    job = slurm.submit("echo begin; exec sleep 100", "-N2")
    slurm.wait(lambda: "begin" in slurm.output(job))
    slurm.stop_slurmctld()
    with pytest.raises(RuntimeError, match="Unable to contact slurm controller"): slurm.command("squeue")
    slurm.start_slurmctld()
    assert slurm.job(job)["JobState"] == "RUNNING"


def test_two_clusters_never_meet_and_nothing_is_left(slurm: SlurmCluster, jobs: Path) -> None:
    with SlurmCluster(nodes=1) as other:
        assert not set(other._ports) & set(slurm._ports)
        other.submit("exec sleep 100", "--output=/dev/null")
        other.wait(lambda: "sleep 100" in other.processes().values())
        assert slurm.command("squeue", "--noheader") == "" and not any("sleep" in command for command in slurm.processes().values())
    assert not other.processes() and not other.root.exists()


def test_a_process_that_slurm_cannot_end_is_found(slurm: SlurmCluster, jobs: Path) -> None:
    other = SlurmCluster(nodes=1).start()
    other.submit("(setsid sleep 100 &)", "--output=/dev/null")
    other.wait(lambda: "sleep 100" in other.processes().values() and not other.command("squeue", "--noheader"))
    with pytest.raises(AssertionError, match="sleep 100"): other.stop()
    assert not other.processes() and not other.root.exists()


def test_where_there_is_no_slurm_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert missing() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"apt install {PACKAGE}" in missing()
