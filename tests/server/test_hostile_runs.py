"""A run's folder from somewhere else: it is listed, shown and removed whatever is in it, nothing is executed, no other file is touched or shown."""
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.isolation import Isolation

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.headless.plan import Plan, Set, plan_path, write_plan
from lepton_bench.server.actions import remove_run
from lepton_bench.server.sweeps import again
from lepton_bench.server.watchers import DetailsLook, RunsLook
from lepton_bench.server.frames import answer, encode
from lepton_bench.server.log_reader import LogReader
from lepton_bench.server.series_cache import SeriesCache
from lepton_bench.server.run_files import csv_pieces, rank_log, read_lines, read_source, run_folder, search_log
from lepton_bench.processes.identity import ProcessId
from lepton_bench.supervisor.recorder import what_was_launched
from lepton_bench.api.runs import as_run
from lepton_bench.client.run import Run, cell_output
from lepton_bench.store.checkpoints import load_latest
from lepton_bench.store.runs import RunWriter, new_record, source_directory

SECRET = "-----BEGIN PRIVATE KEY-----"
ID = "20260101-000000-abcd"
CLI = Path(sys.executable).with_name("lepton-bench")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")

TRAIN = """
import lepton_bench as lb
def train():
    print("hello")
    for k in range(200): lb.log(loss=1/(k + 1), step=k)
    lb.save_checkpoint({"weights": [1., 2.]}, 5)
    lb.record("accuracy", .5)
    return 7
with lb.allocate(1) as alloc: print(alloc.launch(train).wait(60).directory)
"""


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The folder of a run as it really is."
    place, script, kept = Isolation.new(), tmp_path_factory.mktemp("real")/"train.py", tmp_path_factory.mktemp("kept")/"run"
    script.write_text(TRAIN)
    try:
        done = subprocess.run([sys.executable, script], env={**place.environment(), "LEPTON_BENCH_SIMULATED": "1"}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        shutil.copytree(done.stdout.split()[-1], kept)
        assert not place.shut_down()
    finally: place.remove()
    return kept


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LEPTON_BENCH_HOME", str(tmp_path/"home"))
    (tmp_path/"home"/"runs").mkdir(parents=True)
    return tmp_path/"home"/"runs"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path/"id_rsa").write_text(f"{SECRET}\nsekrit\n")
    return tmp_path/"id_rsa"


def shown(id: str) -> str:
    "Everything that pages, cells and shells show of a run; only errors with words are allowed."
    run, found = Run(run_folder(id)), list[str]()
    def show(look: Callable[[], Any]) -> None:
        try: found.append(repr(look()))
        except BenchError as e: found.append(str(e))
    looks: list[Callable[[], Any]] = [
        lb.runs, lb.runs()._repr_html_, lambda: encode(RunsLook().look()[0]), lambda: encode(DetailsLook(id).look()), lambda: repr(lb.get_run(id)),
        lambda: search_log(rank_log(id, 0), ""), lambda: read_lines(rank_log(id, 0), 0, 1000), lambda: LogReader(id, "0").read(),
        lambda: encode(read_source(run_folder(id))), lambda: encode(cell_output(run)), run.logs, run.metrics, lambda: b"".join(csv_pieces(run.metrics())),
        lambda: answer(SeriesCache(), {"run": id, "want": {}}), lambda: answer(SeriesCache(), {"run": id, "system": True, "want": {}}),
        lambda: load_latest(run.directory)]
    for look in looks: show(look)
    return "\n".join(found)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "a pipe": lambda path, secret: os.mkfifo(path), "a link to a secret": lambda path, secret: path.symlink_to(secret),
    "a link to zeros": lambda path, secret: path.symlink_to("/dev/zero"), "a folder": lambda path, secret: path.mkdir(),
    "nothing readable": lambda path, secret: path.write_bytes(random.Random(1).randbytes(5000))}


@pytest.mark.filterwarnings("ignore:Metrics are damaged", "ignore:System metrics are damaged", "ignore:The checkpoint")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_none(kind: str, real_run: Path, runs: Path, secret: Path) -> None:
    files = sorted(p.relative_to(real_run) for p in real_run.rglob("*") if p.is_file())
    assert {"run.json", "logs/rank-0.log", "metrics/0.arrow", "results/rank-0.pkl", "source/launch.json", "values.jsonl"} <= set(map(str, files))
    for file in files:
        shutil.copytree(real_run, runs/ID)
        (runs/ID/file).unlink()
        KINDS[kind](runs/ID/file, secret)
        found, start = shown(ID), time.monotonic()
        assert SECRET not in found and "sekrit" not in found, file
        for verb in (Run(runs/ID).result, lambda: what_was_launched(runs/ID)):
            with contextlib.suppress(BenchError): verb()
        if file.name == "run.json": shutil.rmtree(runs/ID)  # without a record it might be just being made
        else: remove_run(ID)
        assert time.monotonic() - start < 30 and not (runs/ID).exists() and secret.exists(), file


def test_a_folder_that_is_a_link(real_run: Path, runs: Path, secret: Path, tmp_path: Path) -> None:
    "Logs and sources through a folder that leads elsewhere; and a record that would take all memory."
    shutil.copytree(real_run, runs/ID)
    elsewhere = tmp_path/"elsewhere"
    for name in ("logs", "source"):
        shutil.move(runs/ID/name, elsewhere/name)
        (runs/ID/name).symlink_to(elsewhere/name)
        for path in list((elsewhere/name).iterdir()): path.write_text(SECRET)
    assert SECRET not in shown(ID)
    os.truncate(runs/ID/"run.json", 1 << 36)
    assert [r.status for r in lb.runs()] == ["damaged"]
    (runs/ID/"logs").unlink()
    assert SECRET not in shown(ID)


@pytest.mark.filterwarnings("ignore:Metrics are damaged", "ignore:System metrics are damaged", "ignore:The checkpoint", "ignore:.*is no ring")
def test_damaged_bytes(real_run: Path, runs: Path) -> None:
    draw, files = random.Random(3), sorted(p.relative_to(real_run) for p in real_run.rglob("*") if p.is_file() and p.suffix not in (".pkl", ".pt"))
    for _ in range(120):
        shutil.copytree(real_run, runs/ID)
        data = bytearray((path := runs/ID/draw.choice(files)).read_bytes())
        for _ in range(draw.randrange(1, 8)): data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < .3: del data[draw.randrange(len(data)):]
        path.write_bytes(data)
        try: shown(ID)
        except Exception as e: raise AssertionError(f"{path.name}: {bytes(data[:2000])!r}") from e
        shutil.rmtree(runs/ID)


DEEP: list = []
for _ in range(300): DEEP = [DEEP]
NESTED: list[dict[str, Any]] = [
    {"progress": 7}, {"progress": [1]}, {"progress": {"0": 5}}, {"progress": {"0": [1]}}, {"progress": {"x": [1, 2]}}, {"values": [1]}, {"values": "x"},
    {"output": 7}, {"sets": "x"}, {"unsent": 7}, {"system": {"0": 7}}, {"stall": 7}]
NONSENSE: list[dict[str, Any]] = [
    {"world_size": 10**9}, {"world_size": 0}, {"world_size": "two"}, {"created": float("nan")}, {"created": float("inf")}, {"ended": -1e300},
    {"started": [1]}, {"name": None}, {"devices": {"a": 1}}, {"devices": [7]}, {"extra": []}, {"restarts": 7}, {"restarts": [7]}, {"status": "perfect"},
    {"id": 7}, {"parameters": "lr"}, {"parameters": {"lr": DEEP}}, {"steps": 10**400}, {"checkpoint": float("nan")}, {"attempt": 10**300},
    {"attempt": -1}, {"supervisor": {}}, {"status": "running", "supervisor": {"boot_id": 1, "pid": float("inf"), "start_time": 2}},
    {"error": {"traceback": 7}}, {"error": {"log": 7}}, {"error": {"rank": "x", "code": []}},
    *({"extra": extra, "kind": kind} for extra in NESTED for kind in ("function", "notebook", "sweep"))]
ODD: list[dict[str, Any]] = [
    {"name": "<img src=x onerror=alert(1)>", "arguments": "<script>alert(2)</script>", "reason": "</td><b>"},
    {"name": "\x1b]0;title\x07\x1b[2J", "reason": "\x1b[31m\na\rb"}, {"name": "n" * 1_000_000}, {"name": "\u202egnp.exe"},
    {"name": "\ud800", "arguments": "\udcff", "reason": "\udfff", "parameters": {"\ud800": "\udfff"}}, {"status": "failed", "error": {}},
    {"status": "failed", "error": {"type": "\ud800"}}, {"world_size": 1000, "kind": "\x1b"}, {"parent": "../..", "kind": "notebook"},
    {"kind": "sweep", "extra": {"sets": {}, "best": 7}}, {"extra": {"values": {"\ud800": [{}], "b": None}}}, {"status": "running", "allocation": "../evil"}]
TEXTS = ["[" * 100_000, "", "7", '"x"', '{"id": "a"', "\0" * 100, '{"status": "done", "id": ' + "9" * 5000 + "}"]
NAMES = [b"20260103-a\nb", b"20260103-\xff", b"20260103-<img src=x onerror=alert(1)>", b"20260103-\x1b[2J", b"20260103-" + b"\xc3\xa9" * 100,
         b"20260103-\"'&quot;"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_records_that_make_no_sense_are_listed_as_damaged_and_odd_ones_as_they_are(runs: Path) -> None:
    good = asdict(new_record("20260101-000000-ffff", "good", status="done"))
    def make(name: str | bytes, text: str) -> None:
        os.mkdir(folder := os.fsencode(runs) + b"/" + os.fsencode(name))
        with open(folder + b"/run.json", "w") as file: file.write(text)
    for k, change in enumerate(NONSENSE): make(f"20260101-000000-{k:04x}", json.dumps({**good, **change}))
    for k, text in enumerate(TEXTS): make(f"20260101-000001-{k:04x}", text)
    for k, change in enumerate(ODD): make(f"20260102-000000-{k:04x}", json.dumps({**good, **change}))
    for name in NAMES: make(name, json.dumps(good))
    found = {r.id: r.status for r in lb.runs()}
    assert len(found) == len(NONSENSE) + len(TEXTS) + len(ODD) + len(NAMES)
    assert {id for id, status in found.items() if status == "damaged"} == {id for id in found if id.startswith("20260101")}
    everything = lb.runs()
    everything.shown = 1000
    text, page = repr(everything), everything._repr_html_()
    assert "\x1b" not in text + page and "\u202e" not in text and "<img" not in page and "<script" not in page and len(text.splitlines()) == len(found) + 1
    text.encode(), page.encode()
    look = RunsLook()
    rows = look.look()[0]
    while look.unread: rows += look.look()[0]
    assert {row["id"] for row in rows} == set(found) and encode(rows).encode()
    for id in found:
        html = "" if found[id] in ("damaged", "running") else cell_output(Run(runs/id))["text/html"]
        assert "<img" not in html and "<script" not in html
        if id.isprintable(): shown(id)
    for command in ("runs", "runs --json", "logs 20260102-000000-0001", "logs no-such-\x1b[2J"):
        done = subprocess.run([CLI, *command.split()], capture_output=True, timeout=60)
        assert b"Traceback" not in done.stderr and b"\x1b" not in done.stdout + done.stderr, (command, done.stderr)


def test_only_the_link_goes_where_a_run_is_one(real_run: Path, runs: Path, tmp_path: Path) -> None:
    "A run may lie on another disk. What a link leads to, beside it or inside, is not removed with it."
    shutil.copytree(real_run, tmp_path/"disk"/ID)
    (tmp_path/"precious").mkdir()
    (tmp_path/"precious"/"thesis.tex").write_text("all of it")
    (runs/ID).symlink_to(tmp_path/"disk"/ID)
    assert lb.runs()[0].status == "done" and "hello" in shown(ID)
    remove_run(ID)
    assert (tmp_path/"disk"/ID/"run.json").exists() and list(runs.iterdir()) == []
    shutil.copytree(real_run, runs/ID)
    (runs/ID/"checkpoints"/"more").symlink_to(tmp_path/"precious")
    remove_run(ID)
    assert list(runs.iterdir()) == [] and (tmp_path/"precious"/"thesis.tex").read_text() == "all of it"


def test_nothing_goes_on_where_a_link_would_be_written_through(real_run: Path, runs: Path, secret: Path) -> None:
    shutil.copytree(real_run, runs/ID)
    record = {**json.loads((runs/ID/"run.json").read_text()), "status": "failed"}
    (runs/ID/"run.json").write_text(json.dumps(record))
    assert what_was_launched(runs/ID)[1]
    shutil.move(runs/ID/"checkpoints", runs.parent/"large-disk")
    (runs/ID/"checkpoints").symlink_to(runs.parent/"large-disk")
    assert what_was_launched(runs/ID)[1]
    (runs/ID/"logs"/"rank-1.log").symlink_to(secret)
    with pytest.raises(BenchError, match="has a link in its folder: logs/rank-1.log"): what_was_launched(runs/ID)


def test_a_manifest_names_only_what_is_beside_it(real_run: Path, runs: Path, secret: Path) -> None:
    shutil.copytree(real_run, runs/ID)
    manifest = next((runs/ID/"checkpoints").glob("step-*"))/"manifest.json"
    for name in ("../../../../id_rsa", str(secret), ".."):
        manifest.write_text(json.dumps({"step": 5, "files": {name: "0" * 64}}))
        with pytest.raises(BenchError, match="damaged"): load_latest(runs/ID)


class Marks:
    "Unpickling it leaves a trace."
    def __init__(self, path: Path) -> None: self.path = path
    def __reduce__(self) -> tuple: return Path.touch, (self.path,)


@root_only
def test_what_another_user_wrote_is_shown_and_not_executed(real_run: Path, runs: Path, tmp_path: Path) -> None:
    import pickle

    import torch
    trace, other = tmp_path/"executed", 12345
    shutil.copytree(real_run, runs/ID)
    for path in ((runs/ID/"results"/"rank-0.pkl"), source_directory(runs/ID)/"payload.pkl"): path.write_bytes(pickle.dumps(Marks(trace)))
    checkpoint = next((runs/ID/"checkpoints").glob("step-*"))
    torch.save(Marks(trace), checkpoint/"state.pt")
    from lepton_bench.store.checkpoints import checksum
    (checkpoint/"manifest.json").write_text(json.dumps({"step": 5, "files": {"state.pt": checksum(checkpoint/"state.pt")}}))
    mine = tmp_path/"mine.pkl"
    mine.write_bytes(pickle.dumps(Marks(trace)))
    for path in [runs/ID, *(runs/ID).rglob("*")]: os.chown(path, other, other)
    assert "hello" in shown(ID)
    for verb in (Run(runs/ID).result, lambda: what_was_launched(runs/ID)):
        with pytest.raises(BenchError, match="another user"): verb()
    (runs/ID/"results"/"rank-0.pkl").unlink()
    (runs/ID/"results"/"rank-0.pkl").symlink_to(mine)  # a file of mine, chosen by him
    with pytest.raises(BenchError): Run(runs/ID).result()
    assert not trace.exists()
    remove_run(ID)
    assert list(runs.iterdir()) == []


@root_only
def test_a_sweep_of_another_user_is_not_gone_on_with(runs: Path, tmp_path: Path) -> None:
    notebook = tmp_path/"evil.ipynb"
    notebook.write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    sweep = RunWriter(runs/ID, new_record(ID, "evil", kind="sweep", status="failed")).create().directory
    write_plan(sweep, Plan(str(notebook), str(tmp_path/"out"), "0", [Set(0, {})]))
    os.chown(plan_path(sweep), 12345, 12345)
    with pytest.raises(BenchError, match="another user"): again(ID)
    with pytest.raises(BenchError, match="another user"): lb.get_run(ID).resume()
    assert len(list(runs.iterdir())) == 1 and lb.get_run(ID).table()


@root_only
def test_stop_ends_no_process_that_another_user_names(runs: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as mine:
        run = RunWriter(runs/ID, new_record(ID, "evil", kind="notebook", status="running", supervisor=ProcessId.of(mine.pid).to_dict())).create().directory
        os.chown(run/"run.json", 12345, 12345)
        with pytest.raises(BenchError, match="another user"): as_run(run).ask_to_stop(kill=True)
        assert mine.poll() is None
        mine.communicate(b"\n", timeout=30)
        assert mine.returncode == 0
