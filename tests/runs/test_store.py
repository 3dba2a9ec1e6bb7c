"""A run's record and the listing of runs: concurrent writers and readers, damage, a full disk, thousands of runs."""
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from support.small_disk import fill, small_disk

from lepton_bench.errors import BenchError, DamagedError
from lepton_bench.processes.identity import ProcessId
from lepton_bench.store.runs import RunWriter, capture_source, find_run, git_commit, list_runs, new_record, new_run_id, read_run, runs_directory

fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEPTON_BENCH_HOME", str(tmp_path/"home"))
    return tmp_path/"home"


def make(name: str = "cnn", **known) -> RunWriter:
    id = new_run_id()
    return RunWriter(runs_directory()/id, new_record(id, name, **known)).create()


def test_round_trip() -> None:
    writer = make(world_size=2, devices=["cpu-0", "cpu-1"], parameters={"lr": .1, "nan": float("nan"), "path": Path("x")}, arguments="lr=.1")
    writer.update(status="running", supervisor=ProcessId.me().to_dict(), restarts=[{"attempt": 1, "time": 5., "reason": "killed"}])
    found = read_run(writer.directory)
    assert (found.status, found.world_size, found.devices, found.restarts[0]["reason"]) == ("running", 2, ["cpu-0", "cpu-1"], "killed")
    assert found.parameters["lr"] == .1 and found.parameters["path"] == "x" and not found.finished and found.duration is None
    assert found.user and found.host == socket.gethostname() and found.cwd == os.getcwd()


def test_parameters_that_json_has_no_word_for() -> None:
    numpy = pytest.importorskip("numpy")
    writer = make(parameters={"a": numpy.float32(.5), "b": {(1, 2): 3}, "c": {1, 2}})
    assert read_run(writer.directory).parameters["a"] == .5


def test_one_writer_and_known_fields() -> None:
    writer = make()
    with pytest.raises(BenchError, match="exists already"): RunWriter(writer.directory, writer.record).create()
    with pytest.raises(BenchError, match="statuss.*status"): writer.update(statuss="done")


def ids(queue) -> None: queue.put([new_run_id() for _ in range(200)])


def test_ids_are_unique_and_sorted_across_processes() -> None:
    queue = fork.Queue()
    workers = [fork.Process(target=ids, args=(queue,)) for _ in range(4)]
    for w in workers: w.start()
    found = [queue.get(timeout=30) for _ in workers]
    for w in workers: w.join(10)
    assert all(part == sorted(part) for part in found)
    assert len({i for part in found for i in part}) == 800


def update_for_ever(directory: Path) -> None:
    writer = RunWriter(directory, read_run(directory))
    i = 0
    while True:
        i += 1
        writer.update(steps=i, reason="x" * (i % 5000))


def test_a_reader_never_sees_half_a_record_and_a_kill_leaves_a_whole_one() -> None:
    directory = make().directory
    process = fork.Process(target=update_for_ever, args=(directory,))
    process.start()
    seen = set()
    end = time.monotonic() + 20
    while len(seen) < 300 and time.monotonic() < end:
        record = read_run(directory)
        if record.steps: assert len(record.reason) == record.steps % 5000
        seen.add(record.steps)
    process.kill()
    process.join(10)
    assert len(seen) >= 300 and read_run(directory).steps >= max(s or 0 for s in seen)
    assert [r.id for r in list_runs()] == [directory.name]  # also with a half-written file beside it


def test_a_dead_supervisor_means_lost() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        writer = make(status="running", supervisor=ProcessId.of(process.pid).to_dict())
        assert read_run(writer.directory).status == "running"
        process.kill()
    assert read_run(writer.directory).status == "lost" == list_runs()[0].status
    assert json.loads(writer.path.read_text())["status"] == "running"  # derived, never written
    writer.update(status="done")
    assert read_run(writer.directory).status == "done"


def test_another_hosts_supervisor_cannot_be_judged() -> None:
    writer = make(status="running", supervisor=ProcessId("another-boot", 1, 1).to_dict(), host="another-host")
    assert read_run(writer.directory).status == "running"
    writer.update(host=socket.gethostname())  # this host, but before its reboot
    assert read_run(writer.directory).status == "lost"


DAMAGE = [b"", b"{", b"[]", b"null", b"17", b'{"id": 5, "status": "done"}', b'{"id": "x", "status": "dancing"}', b"\xff\xfe\x00", b'{"id": "x"}',
          b'{"id": "x", "status": "done", "name": 5}', b'{"id": "x", "status": "done", "created": "now"}',
          b'{"id": "x", "status": "running", "supervisor": {"pid": "one"}}', b'{"id": "x", "status": "running", "supervisor": 7}']


@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_record_is_named_and_does_not_hide_the_others(content: bytes) -> None:
    before, bad, after = make(), make(), make()
    bad.path.write_bytes(content)
    with pytest.raises(DamagedError, match="run.json.*untouched"): read_run(bad.directory)
    found = list_runs()
    assert [r.id for r in found] == [after.directory.name, bad.directory.name, before.directory.name]
    assert found[1].status == "damaged" and "run.json" in found[1].reason and abs(found[1].created - time.time()) < 100


def test_every_cut_of_a_record() -> None:
    writer = make()
    whole = writer.path.read_bytes()
    for cut in range(len(whole)):
        writer.path.write_bytes(whole[:cut])
        with pytest.raises(DamagedError): read_run(writer.directory)


def test_odd_things_in_the_folder() -> None:
    writer = make()
    runs_directory().joinpath("notes.txt").write_text("mine")
    runs_directory().joinpath("my-notes").mkdir()  # empty: a run being made
    runs_directory().joinpath("other").mkdir()
    runs_directory().joinpath("other", "data.bin").write_text("?")
    (writer.directory.parent/"20200101-000000-0000").mkdir()
    (writer.directory.parent/"20200101-000000-0000"/"run.json").mkdir()
    assert {r.id: r.status for r in list_runs()} == {writer.directory.name: "waiting", "other": "damaged", "20200101-000000-0000": "damaged"}
    with pytest.raises(BenchError, match="no run.json"): read_run(runs_directory()/"my-notes")


def test_fields_of_other_versions() -> None:
    writer = make()
    content = json.loads(writer.path.read_text())
    del content["stalled"]
    writer.path.write_text(json.dumps({**content, "mood": "good"}))
    assert read_run(writer.directory).stalled == 0.


def test_a_copied_folder_is_a_run_of_its_own() -> None:
    writer = make()
    shutil.copytree(writer.directory, runs_directory()/"20200101-000000-0000")
    assert [r.id for r in list_runs()] == [writer.directory.name, "20200101-000000-0000"]


def test_a_full_disk_keeps_the_old_record_and_the_next_update_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path/"disk", 1 << 20) as disk:
        monkeypatch.setenv("LEPTON_BENCH_HOME", str(disk))
        writer = make()
        ballast = fill(disk)
        writer.update(status="running", reason="x" * 10_000)
        assert "No space" in writer.problem and read_run(writer.directory).status == "waiting"
        assert sorted(p.name for p in writer.directory.glob("*.tmp")) == []
        ballast.unlink()
        writer.update(steps=5)
        found = read_run(writer.directory)
        assert writer.problem is None and (found.status, found.steps) == ("running", 5)


def test_a_home_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEPTON_BENCH_HOME", "/proc/nowhere")
    with pytest.raises(BenchError, match="LEPTON_BENCH_HOME"): new_run_id()
    assert list_runs() == []


@pytest.mark.alone
def test_five_thousand_runs_list_fast() -> None:
    content = json.dumps(asdict(make(status="done", parameters={"lr": .1}).record), indent=1)
    for i in range(5000):
        folder = runs_directory()/f"20200101-000000-{i:04x}"
        folder.mkdir()
        (folder/"run.json").write_text(content.replace('"name": "cnn"', f'"name": "cnn-{i}"'))

    def bare() -> float:  # what opening and parsing cost in any case
        start = time.perf_counter()
        for folder in runs_directory().iterdir(): json.loads((folder/"run.json").read_bytes())
        return time.perf_counter() - start

    def ours() -> float:
        start = time.perf_counter()
        assert len(list_runs()) == 5001
        return time.perf_counter() - start
    pairs = [(ours(), bare()) for _ in range(5)]
    assert min(o / b for o, b in pairs) < 3, pairs  # a listing is not much more than opening and parsing
    assert [r.id for r in list_runs(limit=3)][1:] == ["20200101-000000-1387", "20200101-000000-1386"]
    assert find_run("cnn-17").name == "20200101-000000-0011"


def test_finding() -> None:
    first, second = make("cnn"), make("cnn")
    other = make("resnet")
    assert find_run("cnn") == second.directory and find_run(first.directory.name) == first.directory
    assert find_run("resnet") == other.directory
    with pytest.raises(BenchError, match="start of 3 runs"): find_run(first.directory.name[:8])
    with pytest.raises(BenchError, match="Near: resnet"): find_run("resnt")
    with pytest.raises(BenchError, match="no run"): find_run("")
    with pytest.raises(BenchError, match="no run"): find_run("../..")


def test_finding_where_there_is_nothing() -> None:
    with pytest.raises(BenchError, match="none yet"): find_run("cnn")


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_commit_as_git_says_it(tmp_path: Path) -> None:
    def git(*words: str, at: Path) -> str:
        return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=at, check=True, capture_output=True, text=True).stdout.strip()
    repository, tree = tmp_path/"repository", tmp_path/"tree"
    repository.mkdir()
    git("init", "-q", at=repository)
    assert git_commit(repository) is None
    for _ in range(2): git("commit", "-q", "--allow-empty", "-m", "x", at=repository)
    (repository/"src").mkdir()
    assert git_commit(repository/"src") == git("rev-parse", "HEAD", at=repository)
    git("pack-refs", "--all", at=repository)
    assert git_commit(repository) == git("rev-parse", "HEAD", at=repository)
    git("worktree", "add", "-q", "-b", "branch/with/slashes", str(tree), "HEAD~1", at=repository)
    assert git_commit(tree) == git("rev-parse", "HEAD", at=tree) != git_commit(repository)
    git("checkout", "-q", "--detach", "HEAD~1", at=repository)
    assert git_commit(repository) == git("rev-parse", "HEAD", at=repository)
    assert git_commit(tmp_path) is None
    (repository/".git"/"HEAD").write_bytes(b"\xff\xff")
    assert git_commit(repository) is None


def test_source(tmp_path: Path) -> None:
    script = tmp_path/"train.py"
    script.write_text("print(1)\n")
    kept = capture_source(make().directory, cells={"../../evil": "a = 1", "": "b", "<ipython-input-1>": "c"}, script=script, arguments="--lr .1",
                          versions={"torch": "2"}, cwd=tmp_path)
    names = sorted(p.name for p in kept.iterdir())
    assert names == ["00-evil.py", "01-cell.py", "02-ipython-input-1.py", "arguments.txt", "environment.json", "train.py"]
    assert json.loads((kept/"environment.json").read_text()) == {"git_commit": None, "versions": {"torch": "2"}}
