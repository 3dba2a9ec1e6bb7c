"""Closed doors: what comes in that is none of ours is refused, and harms nobody."""
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.runs.store import RunWriter, new_record

FUZZ = Path(__file__).parent/"faults"/"fuzz_channel.py"


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


# a folder that came from somewhere else

HOSTILE = [{"world_size": 10**9}, {"world_size": 0}, {"world_size": "two"}, {"created": float("nan")}, {"created": float("inf")}, {"ended": -1e300},
           {"started": [1]}, {"name": None}, {"devices": {"a": 1}}, {"extra": []}, {"restarts": 7}, {"status": "perfect"}, {"id": 7}, {"parameters": "lr"},
           {"status": "running", "supervisor": {"boot_id": 1, "pid": float("inf"), "start_time": 2}},
           {"name": "<img src=x onerror=alert(1)>", "arguments": "\x1b]0;title\x07"}]


@pytest.fixture
def runs_of_others(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("LEPTON_BENCH_HOME", str(tmp_path/"home"))
    (tmp_path/"home"/"runs").mkdir(parents=True)
    return tmp_path/"home"/"runs"


def test_records_that_make_no_sense_are_listed_as_damaged(runs_of_others):
    from lepton_bench.jupyter.observations import DetailsLook, RunsLook
    good = asdict(new_record("20260101-000000-ffff", "good", status="done"))
    for k, change in enumerate(HOSTILE):
        (folder := runs_of_others/f"20260101-000000-{k:04x}").mkdir()
        (folder/"run.json").write_text(json.dumps({**good, "id": folder.name, **change}))
    for k, text in enumerate(("[" * 100_000, "", "7", '"x"', '{"id": "a"', "\0" * 100)):
        (folder := runs_of_others/f"20260101-000001-{k:04x}").mkdir()
        (folder/"run.json").write_text(text)
    found = {r.id: r.status for r in lb.runs()}
    assert len(found) == len(HOSTILE) + 6 and [s for s in found.values() if s != "damaged"] == ["done"], found
    text = repr(lb.runs()) + lb.runs()._repr_html_()
    assert "<img" not in lb.runs()._repr_html_() and "damaged" in text
    look = RunsLook()
    rows = look.look()[0]
    while look.unread: rows += look.look()[0]
    assert {row["id"] for row in rows} == set(found)
    for id in found:
        with contextlib.suppress(BenchError): DetailsLook(id).look()


def test_links_and_pipes_in_a_run_lead_nowhere(runs_of_others, tmp_path):
    from lepton_bench.jupyter.actions import remove_run
    from lepton_bench.jupyter.run_files import NotThere, rank_log, read_source
    secret = tmp_path/"id_rsa"
    secret.write_text("-----BEGIN PRIVATE KEY-----")
    (tmp_path/"precious").mkdir()
    (tmp_path/"precious"/"thesis.tex").write_text("all of it")
    id = "20260101-000000-abcd"
    run = RunWriter(runs_of_others/id, new_record(id, "train", status="done", world_size=3)).create().directory
    (run/"source").mkdir()
    (run/"logs"/"rank-0.log").symlink_to(secret)
    os.mkfifo(run/"logs"/"rank-1.log")
    (run/"logs"/"rank-2.log").write_text("mine")
    (run/"source"/"train.py").symlink_to(secret)
    (run/"source"/"real.py").write_text("print()")
    os.mkfifo(run/"source"/"pipe.py")
    (run/"checkpoints").symlink_to(tmp_path/"precious")
    for rank in (0, 1):
        with pytest.raises(NotThere): rank_log(id, rank)
    assert rank_log(id, 2).read_text() == "mine"
    assert [f["name"] for f in read_source(run)["files"]] == ["real.py"]
    remove_run(id)
    assert not run.exists() and secret.exists() and (tmp_path/"precious"/"thesis.tex").read_text() == "all of it"


@pytest.mark.parametrize("name", ["..", "../..", "/etc", "a/b", "%2e%2e", ".", "", "x" * 300, "a\nb", "-rf", "~"])
def test_names_that_lead_elsewhere_are_nobodys(runs_of_others, name, tmp_path):
    from lepton_bench.jupyter.actions import release_allocation
    from lepton_bench.run import get_run
    (tmp_path/"home"/"run.json").write_text(json.dumps(asdict(new_record("home", "home", status="done"))))
    for verb in (get_run, lb.attach, release_allocation, lambda n: lb.allocate(1, name=n)):
        with pytest.raises(BenchError): verb(name)
    if name not in ("..", "/etc", "-rf"): return  # one command of each kind is enough
    for verb in ("logs", "stop", "resume", "stacks", "release"):
        done = subprocess.run([Path(sys.executable).with_name("lepton-bench"), verb, "--", name], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.strip(), done
