"""`lepton-bench doctor --engine slurm` on a real Slurm of three nodes, also with trouble that was made."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hosts import hosts
from support.isolation import patience
from support.network import Network, need_network
from support.slurm_cluster import SlurmCluster, which

import lepton_bench as lb
from lepton_bench.doctor.cluster import Questions, ask_ranks
from lepton_bench.doctor.findings import judge_folder
from lepton_bench.doctor.probes import HERE, await_mark, leave_mark

BENCH = str(Path(sys.executable).parent/"lepton-bench")
HOME = Path(os.environ["LEPTON_BENCH_HOME"])


@pytest.fixture(autouse=True)
def nothing_is_left(slurm: SlurmCluster) -> Iterator[None]:
    yield
    slurm.wait(lambda: not slurm.command("squeue", "--noheader").strip())  # completing jobs are there, too
    assert not lb.allocations() and not list(HOME.glob("doctor-*"))


def doctor(*words: object, **more) -> subprocess.CompletedProcess:
    command = [BENCH, "doctor", "--engine", "slurm", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL, **more)


def rows(output: str) -> dict[str, str]:
    "Check -> its line and those below it."
    parts = re.split(r"(?m)^(?=ok  |warning|problem)", output)
    return {part.split()[1]: part for part in parts if part}


def advice(row: str) -> str: return row.partition("what to do: ")[2].strip()


def test_a_cluster_that_is_fit(slurm: SlurmCluster) -> None:
    done = doctor("-n", 3, "--kind", "cpu")
    assert done.returncode == 0, done
    number = r"\d+\.\d+"
    expected = [
        r"ok       slurm        (\S+) here, \1 in the controller, 3 nodes: 3 idle",
        rf"ok       job          job \d+ on n1:cpu-0, n2:cpu-0, n3:cpu-0 after {number} s",
        r"ok       software     python 3\.\S+, torch \S+, lepton_bench \S+, here and on n1, n2, n3",
        rf"ok       folder       {re.escape(str(HOME))} \(\w+\): what is written here is read on n1, n2, n3, and what is written there here",
        r"ok       devices      CPU slots: \d+ cores on every node",
        r"ok       network      interface and address of each node, and the supervisor's that it reaches",
        *(rf" {{22}}n{i}: (\S+) (\d+\.\d+\.\d+\.\d+)( \(\S+ Gbit/s\))? -> \d+\.\d+\.\d+\.\d+" for i in (1, 2, 3)),
        r"ok       connections  TCP from each node to each other one: 6 of 6",
        rf"ok       all_reduce   gloo, 3 ranks: latency {number} ms \(8 B\), bus bandwidth {number} GB/s \(16 MiB\)",
        *(rf" {{22}} *{size} +{number} ms +{number} GB/s" for size in ("8 B", "64 KiB", "1 MiB", "16 MiB")),
        rf"ok       clocks       within {number} ms of this host's: n1, n2, n3, the file system",
        r"ok       release      job \d+ has ended"]
    lines = done.stdout.splitlines()
    assert [bool(re.fullmatch(pattern, line)) for pattern, line in zip(expected, lines)] == [True]*len(expected) and len(lines) == len(expected), done.stdout
    times, bandwidth = [float(line.split()[2]) for line in lines[11:15]], float(lines[14].split()[4])
    assert 0 < times[0] < times[3]
    assert bandwidth == pytest.approx((1 << 24)/times[3]*1e3*2*2/3/1e9, rel=.01, abs=.001), "as nccl-tests defines it, for three ranks"
    assert not list((HOME/"runs").glob("*")) and "Traceback" not in done.stderr


def test_gpus_that_slurm_has_given_and_json(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "1")
    done = doctor("--json", "--option", "partition=high")
    found = {c["check"]: c for c in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0 and {c["state"] for c in found.values()} == {"ok"}
    assert list(found) == ["slurm", "job", "software", "folder", "devices", "network", "connections", "all_reduce", "clocks", "release"]
    assert found["devices"]["found"] == "Slurm has given 1 GPU on every node; they are simulated, no driver is asked"
    assert re.match(r"job \d+ waits in partition high|$", done.stderr)


def test_another_torch_on_the_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    folder = tmp_path/"torch-9.9.9.dist-info"
    folder.mkdir()
    (folder/"METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    done = doctor("--kind", "cpu", "--option", f"flags=--export=ALL,PYTHONPATH={tmp_path}")
    found = rows(done.stdout)
    assert done.returncode == 1 and list(found) == ["slurm", "job"], done
    assert re.match(r"problem  job          node n\d has torch 9\.9\.9 where the notebook has \S+ \(its Python is \S+\)", found["job"])
    assert "same Python and torch" in advice(found["job"])


def test_a_node_that_is_gone(slurm: SlurmCluster) -> None:
    slurm.kill_slurmd("n3")
    try:
        slurm.wait(lambda: slurm.nodes()["n3"].startswith("down"), 60)
        done = doctor("-n", 3, "--kind", "cpu", "--timeout", 3)
    finally: slurm.reset()
    found = rows(done.stdout)
    assert done.returncode == 1 and list(found) == ["slurm", "job"], done
    assert found["slurm"].startswith("warning") and "3 nodes: 2 idle, 1 down; not usable: n3 (down*)" in found["slurm"]
    assert advice(found["slurm"]) == "sinfo -R says why"
    assert re.match(r"problem  job          job \d+ did not start within 3 s: job \d+ waits in partition main \(.*(DOWN|ReqNodeNotAvail).*\)", found["job"])
    assert "It is cancelled." in found["job"] and "-n takes fewer nodes" in advice(found["job"])


@pytest.fixture
def hidden_home(slurm: SlurmCluster) -> Iterator[str]:
    "A node that has an empty file system where the home of lepton_bench is."
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode: pytest.skip("no mount of its own can be had here (unshare --mount)")
    slurm.kill_slurmd("n1")
    mount = f'mount -t tmpfs none "{HOME}" && exec "$@"'
    slurm._daemon("n1", "unshare", "--mount", "sh", "-c", mount, "sh", which("slurmd"), "-D", "-N", "n1")
    slurm.wait_idle()
    yield "n1"
    slurm.kill_slurmd("n1")
    slurm.reset()


def test_a_folder_that_a_node_does_not_have(slurm: SlurmCluster, hidden_home: str) -> None:
    done = doctor("-n", 3, "--kind", "cpu")
    found = rows(done.stdout)
    assert done.returncode == 1 and list(found) == ["slurm", "job", "folder"], done
    assert found["job"].startswith("problem") and advice(found["job"]) == "see below"
    assert re.match(rf"problem  folder       {re.escape(str(HOME))} \(\w+\): {hidden_home} does not see what was written here\n", found["folder"])
    assert advice(found["folder"]).startswith("set LEPTON_BENCH_HOME")


def test_two_folders_where_there_should_be_one(tmp_path: Path) -> None:
    "Another process with another folder at the same path, as a host that has not mounted it."
    folder = tmp_path/"home"/"doctor"
    folder.mkdir(parents=True)
    mark = leave_mark(folder, HERE)
    code = f"import json; from lepton_bench.doctor.probes import answer_mark; print(json.dumps(answer_mark({str(folder)!r}, 'n1', .1)))"

    def elsewhere(*before: str) -> dict:
        return json.loads(subprocess.run([*before, sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout)
    same = elsewhere()
    assert judge_folder(folder.parent, mark, {"n1": same}, {"n1": await_mark(folder, "n1", 0.)}).state == "ok"
    (folder/"n1").unlink()
    other = elsewhere("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{folder}" && exec "$@"', "sh")
    assert other["mount"] == {"kind": "tmpfs", "source": "none", "point": str(folder)} and other["wrote"]
    found = judge_folder(folder.parent, mark, {"n1": other}, {"n1": await_mark(folder, "n1", .1)})
    assert found.state == "problem" and "n1 does not see what was written here" in found.found
    half = {**other, "read": mark}  # it reads ours, and what it writes stays there
    assert "what n1 wrote is not seen here" in judge_folder(folder.parent, mark, {"n1": half}, {"n1": await_mark(folder, "n1", .1)}).found


def test_an_interface_that_nodes_do_not_have(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib7")
    done = doctor("--kind", "cpu")
    found = rows(done.stdout)
    assert done.returncode == 1 and found["network"].startswith("problem  network      no interface ib7 with an IPv4 address (there: "), done
    assert "GLOO_SOCKET_IFNAME" in advice(found["network"])
    assert found["all_reduce"].startswith("problem") and "no process group: rank 0 on n1: there is no interface ib7" in found["all_reduce"]
    assert all(found[name].startswith("ok") for name in ("connections", "clocks", "release")), "the rest was looked at all the same"
    assert (kept := re.search(r"run (\S+) \(doctor\) failed", found["all_reduce"])) and lb.get_run(kept[1]).status == "failed"
    assert [p.name for p in (HOME/"runs").iterdir()] == [kept[1]]
    shutil.rmtree(HOME/"runs"/kept[1])


def test_nodes_that_do_not_reach_each_other(tmp_path: Path) -> None:
    "Three hosts on a real network, two of which are apart."
    need_network()
    names = ["n1", "n2", "n3"]
    network = Network(names)
    (folder := tmp_path/"home"/"doctor").mkdir(parents=True)
    try:
        network.part("n2", "n3")
        with hosts(names, 3, [*network.within("{node}"), "env", "LEPTON_BENCH_SIMULATED=1"], around=network.within("n1"), warm=False) as (alloc, _):
            questions = Questions(alloc)
            found = {f.check: f for f in ask_ranks(questions, folder)}
        questions.forget()
    finally: network.close()
    wrong = found.pop("connections")
    assert wrong.state == "problem" and wrong.found == "TCP from each node to each other one: 4 of 6" and "no firewall may be between" in wrong.advice
    assert wrong.details == [f"n2 -> n3: {network.address('n3')}: timed out", f"n3 -> n2: {network.address('n2')}: timed out"]
    assert found.pop("all_reduce").found == "not tried: ranks do not reach each other"
    assert {check: f.state for check, f in found.items()} == {"software": "ok", "folder": "ok", "devices": "ok", "network": "ok", "clocks": "ok"}
    assert found["network"].details == [f"{name}: eth0 {network.address(name)} (10 Gbit/s) -> {network.address('n1')}" for name in names]


@pytest.mark.parametrize("moment", ["job", "network"])
def test_ended_in_the_middle_it_gives_its_nodes_back(slurm: SlurmCluster, moment: str) -> None:
    before = set((HOME/"runs").glob("*"))
    process = subprocess.Popen([BENCH, "doctor", "--engine", "slurm", "--kind", "cpu"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    with process:
        for line in process.stdout or ():
            if line.startswith(f"ok       {moment}"): break
        assert slurm.command("squeue", "--noheader").strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience(30)) == 130
    assert set((HOME/"runs").glob("*")) == before


def test_what_a_person_gets_wrong(slurm: SlurmCluster) -> None:
    def said(*words: object) -> str:
        done = doctor(*words)
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done
        return done.stderr if done.returncode == 2 else done.stdout
    assert "how many nodes is said by -n" in said("--option", "nodes=2")
    assert "an option of an engine is given as name=value" in said("--option", "gpu")
    assert "engine 'slurm' has no option partitoin" in said("--option", "partitoin=gpu")
    assert "4 are to be looked at" in said("-n", 4)
    unknown = rows(said("--option", "partition=nope", "--kind", "cpu"))["job"]
    assert "invalid partition specified: nope" in unknown and "sinfo" in advice(unknown)


def test_without_slurm(tmp_path: Path) -> None:
    done = doctor(env={**os.environ, "PATH": str(tmp_path)})
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith('lepton-bench: this host has no sbatch, srun, squeue, scontrol, scancel, sinfo: engine "slurm" works on a login node')
    done = subprocess.run([BENCH, "doctor", "-n", "3"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "belong to doctor --engine slurm" in done.stderr
