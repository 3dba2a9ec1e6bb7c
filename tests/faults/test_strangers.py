"""Closed doors: what comes in that is none of ours is refused, and harms nobody."""
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.processes.identity import ProcessId
from lepton_bench.store.runs import new_record

FUZZ = Path(__file__).with_name("fuzz_channel.py")


@pytest.mark.slow
def test_malformed_messages_for_a_supervisor_and_a_forkserver() -> None:
    done = subprocess.run([sys.executable, str(FUZZ), "4000", "1"], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


UMASK = """
import os; os.umask(0)
import lepton_bench as lb
with lb.allocate(1, name="open-door") as alloc:
    run = alloc.launch(lambda: (lb.log(loss=1.), lb.save_checkpoint({"step": 1}, 1))).wait(60)
    print(run.status, run.directory)
    print(oct(os.stat(run.directory).st_mode & 0o777), oct(os.stat(run.directory.parent.parent/"allocations").st_mode & 0o777))
    print(oct(os.stat(run.directory.parent.parent/"allocations"/"open-door.json").st_mode & 0o777))
    print(oct(os.stat(os.environ["LEPTON_BENCH_SOCKETS"]).st_mode & 0o777))
"""


def test_nobody_else_can_look_into_a_run_an_allocation_or_a_socket(new_place, tmp_path) -> None:
    "Whatever the umask: the folder of a run, the allocations and the sockets are this user's alone."
    script = tmp_path/"open_door.py"
    script.write_text(UMASK)
    env = {**new_place.environment(), "LEPTON_BENCH_SIMULATED": "1"}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=90)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("done", "0o"))]
    assert [line.split()[0] for line in lines] == ["done", "0o700", "0o600", "0o700"] and lines[1] == "0o700 0o700", done.stdout + done.stderr


SECRETS = """
import os
import lepton_bench as lb
def train(lr, hub_token): lb.log(loss=lr)
with lb.allocate(1, name="discreet") as alloc: print(alloc.launch(train, .1, hub_token="sekrit-argument").wait(60).status)
"""


def test_no_secret_is_written_down(new_place, tmp_path) -> None:
    "Neither of the environment nor of arguments; what is needed to resume is exempt, and lies in a folder that is this user's alone."
    script = tmp_path/"discreet.py"
    script.write_text(SECRETS)
    env = {**new_place.environment(), "LEPTON_BENCH_SIMULATED": "1", "MY_API_KEY": "sekrit-environment"}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=90)
    assert done.stdout.splitlines()[-1] == "done", done.stderr
    files = [p for p in new_place.root.rglob("*") if p.is_file()]
    told = [p.name for p in files if b"sekrit" in p.read_bytes()]
    assert sorted(told) == ["payload.pkl"] or sorted(told) == ["launch.json", "payload.pkl"], told
    assert "********" in next(p for p in files if p.name == "run.json").read_text()


@pytest.fixture
def runs_of_others(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("LEPTON_BENCH_HOME", str(tmp_path/"home"))
    (tmp_path/"home"/"runs").mkdir(parents=True)
    return tmp_path/"home"/"runs"


@pytest.mark.parametrize("name", ["..", "../..", "/etc", "a/b", "%2e%2e", ".", "", "x" * 300, "a\nb", "a\0b", "é" * 150, "\ud800", "../evil", "-rf", "~"])
def test_names_that_lead_elsewhere_are_nobodys(runs_of_others, name, tmp_path):
    from lepton_bench.server.actions import release_allocation
    from lepton_bench.api.runs import get_run
    (tmp_path/"home"/"run.json").write_text(json.dumps(asdict(new_record("home", "home", status="done"))))
    (tmp_path/"home"/"allocations").mkdir()
    (tmp_path/"home"/"evil.json").write_text(json.dumps({"name": "evil", "state": "idle", "socket": "/nowhere", "supervisor": ProcessId.me().to_dict()}))
    for verb in (get_run, lb.attach, release_allocation, lambda n: lb.allocate(1, name=n)):
        with pytest.raises(BenchError): verb(name)
    if name not in ("..", "/etc", "../evil", "-rf"): return  # one command of each kind is enough
    for verb in ("logs", "stop", "resume", "stacks", "release"):
        done = subprocess.run([Path(sys.executable).with_name("lepton-bench"), verb, "--", name], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.strip(), done
