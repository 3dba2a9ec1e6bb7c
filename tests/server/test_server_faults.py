"""One damaged file does not take the tables of the workbench with it: it is reported once, all else goes on, and it recovers when it is mended."""
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.isolation import Isolation
from support.jupyter_process import JupyterProcess

from lepton_bench.core.files import write_atomically
from lepton_bench.core.guard import Guard
from lepton_bench.processes.identity import ProcessId
from lepton_bench.server.log_reader import LogReader
from lepton_bench.server.page_connection import _read_logs
from lepton_bench.server.watchers import AllocationsLook, RunsLook
from lepton_bench.store.runs import RunWriter, new_record, new_run_id, runs_directory
from lepton_bench.supervisor.allocations import allocations_directory


@pytest.fixture(scope="module")
def server(place: Isolation) -> Iterator[JupyterProcess]:
    with JupyterProcess(place, env={"LEPTON_BENCH_SIMULATED": "2"}) as found: yield found


def make_run(**fields) -> RunWriter:
    id = new_run_id()
    return RunWriter(runs_directory()/id, new_record(id, "train", **fields)).create()


@contextmanager
def no_more_files() -> Iterator[None]:
    "All files that this process may open are in use."
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def spoil(writer: RunWriter) -> str:
    "Make a record that is JSON and no record; returns what it was."
    file = runs_directory()/writer.record.id/"run.json"
    before = file.read_text()
    write_atomically(file, json.dumps({**json.loads(before), "extra": {"progress": {"0": 5}}}).encode())
    return before


def allocation(name: str) -> dict:
    me = ProcessId.me().to_dict()
    return {"name": name, "state": "idle", "count": 1, "owner": me, "supervisor": me, "devices": ["sim-0"], "ranks": {"0": me}, "created": 1., "label": ""}


def test_a_page_goes_on_beside_damaged_files(server):
    page = server.page("runs", "allocations", "devices")
    page.until(lambda: "devices" in page.tables)
    bad, good = make_run(status="running"), make_run(status="running")
    before = spoil(bad)
    page.until(lambda: page.tables.get("runs", {}).get(good.record.id) and page.tables["runs"].get(bad.record.id))
    assert page.tables["runs"][bad.record.id]["status"] == "damaged"
    allocations_directory().mkdir(parents=True, exist_ok=True)
    for name, content in (("half", {"name": "half", "state": "idle"}), ("list", [1]), ("whole", allocation("whole"))):
        write_atomically(allocations_directory()/f"{name}.json", json.dumps(content).encode())
    page.until(lambda: "whole" in page.tables.get("allocations", {}))
    assert set(page.tables["allocations"]) == {"whole"}
    good.update(status="done")
    page.until(lambda: page.tables["runs"][good.record.id]["status"] == "done")
    write_atomically(runs_directory()/bad.record.id/"run.json", before.encode())
    write_atomically(allocations_directory()/"half.json", json.dumps(allocation("half")).encode())
    page.until(lambda: page.tables["runs"][bad.record.id]["status"] == "running" and "half" in page.tables["allocations"])
    log = server.log.read_text()
    assert log.count("reading half.json failed") == 1 and "Traceback" in log
    page.close()
    for name in ("half", "list", "whole"): os.unlink(allocations_directory()/f"{name}.json")


def test_a_log_that_cannot_be_read_now_is_tried_again(tmp_path):
    said, log = list[str](), tmp_path/"rank.log"
    guard, readers = Guard(said.append), {"log": LogReader("run", "0", path=log)}
    log.write_text("it is there")
    with no_more_files():
        assert _read_logs(readers, guard) == _read_logs(readers, guard) == {}
    assert len(said) == 1 and "reading log failed" in said[0] and "Traceback" in said[0]
    assert _read_logs(readers, guard)["log"]["text"] == "it is there"


def test_a_folder_that_cannot_be_listed_now_is_no_empty_one():
    "An error for this look, and not the news that everything has gone."
    run = make_run(status="running")
    allocations_directory().mkdir(parents=True, exist_ok=True)
    look, allocations = RunsLook(), AllocationsLook()
    assert run.record.id in {row["key"] for row in look.look()[0]}
    write_atomically(allocations_directory()/"whole.json", json.dumps(allocation("whole")).encode())
    names = {row["key"] for row in allocations.look()}
    assert "whole" in names
    run.update(steps=1)
    look.stamp = allocations.stamp = None  # the folders have changed
    with no_more_files():
        with pytest.raises(OSError): look.look()
        with pytest.raises(OSError): allocations.look()
    rows, gone = look.look()
    assert not gone and run.record.id in {row["key"] for row in rows} and {row["key"] for row in allocations.look()} == names
