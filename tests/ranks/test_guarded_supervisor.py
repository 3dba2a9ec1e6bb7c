"""Malformed requests over the real socket: the sender is told, or the run fails with that reason; the supervisor goes on with everything else."""
import json
import os
import sys
from collections.abc import Iterator

import pytest

import lepton_bench as lb
from lepton_bench.client.connection import ask, connect
from lepton_bench.errors import BenchError
from lepton_bench.supervisor.allocations import allocations_directory

CONTEXT = {"context": "mine", "context_data": json.dumps({"env": dict(os.environ), "cwd": os.getcwd(), "sys_path": sys.path})}
OPTIONS = {"process_group": False, "max_restarts": 0, "retry_exceptions": False}


@pytest.fixture(scope="module")
def alloc() -> Iterator:
    before = os.environ.get("LEPTON_BENCH_SIMULATED")
    os.environ["LEPTON_BENCH_SIMULATED"] = "1"
    with lb.allocate(1, name="guarded") as found: yield found
    if before is None: del os.environ["LEPTON_BENCH_SIMULATED"]
    else: os.environ["LEPTON_BENCH_SIMULATED"] = before


def log() -> str: return (allocations_directory()/"guarded"/"supervisor.log").read_text()


def goes_on(alloc) -> None:
    "Two launches, one after the other: between them the once-a-second steps have had their turn."
    def two_looks():
        import time
        end = time.monotonic() + 1.5
        while time.monotonic() < end: time.sleep(.05)
        return 3
    assert alloc.launch(two_looks).result(60) == 3
    assert alloc.launch(len, "abc").result(60) == 3


def test_an_owner_that_is_no_process_is_refused(alloc):
    client = connect("guarded")
    with pytest.raises(BenchError, match="pid"):
        ask(client, "adopt", owner={"boot_id": alloc_boot(), "pid": "x", "start_time": 1})
    client.close()
    goes_on(alloc)


def alloc_boot() -> str:
    from lepton_bench.processes.identity import ProcessId
    return ProcessId.me().boot_id


def test_sources_that_are_no_text_cost_only_the_copy_of_the_source(alloc):
    client = connect("guarded")
    found = ask(client, "launch", kind="script", name="wrong", target="/nowhere.py", args=[], options=OPTIONS, arguments="", parameters={}, sources={"cell": 5},
                labels={}, **CONTEXT)
    status = ask(client, "wait", run=os.path.basename(found["directory"]), timeout=60)["status"]
    client.close()
    assert status == "failed", "its script is missing"
    goes_on(alloc)


def test_a_launch_whose_context_is_of_the_wrong_kind_ends_as_failed(alloc):
    "The environment is a list inside: sending it to the ranks, or what comes after, fails for this run only."
    client = connect("guarded")
    context = {"context": "odd", "context_data": json.dumps({"env": {"A": []}, "cwd": os.getcwd(), "sys_path": [5]})}
    found = ask(client, "launch", kind="script", name="odd", target="/nowhere.py", args=[], options=OPTIONS, arguments="", parameters={}, sources={}, labels={},
                **context)
    status = ask(client, "wait", run=os.path.basename(found["directory"]), timeout=60)["status"]
    client.close()
    assert status == "failed"
    goes_on(alloc)


def test_a_cell_without_a_kind_is_refused(alloc):
    client = connect("guarded")
    with pytest.raises(BenchError, match="kind"): ask(client, "cell", cell="x", ranks=[0], **CONTEXT)
    client.close()
    goes_on(alloc)
