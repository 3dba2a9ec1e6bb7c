"""The server extension's addresses, against their description: complete, and whatever comes, nothing breaks."""
import contextlib
import os
import random
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
import yaml
from hypothesis import strategies
from isolation import Isolation
from jupyter_process import JupyterProcess
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from websocket import ABNF, WebSocketException, create_connection

import lepton_bench
from lepton_bench.jupyter.server import ROUTES

DESCRIPTION = Path(lepton_bench.__file__).parent/"jupyter"/"openapi.yaml"
EXAMPLES = int(os.environ.get("LEPTON_BENCH_FUZZ", 6))  # of each operation, of what fits and of what does not
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
QUIET = hypothesis.settings(derandomize=True, database=None, deadline=None, max_examples=EXAMPLES, suppress_health_check=list(hypothesis.HealthCheck),
                            phases=[hypothesis.Phase.generate])


def described() -> dict[str, Any]: return yaml.safe_load(DESCRIPTION.read_text())


def test_every_address_is_described():
    there = set()
    for path, handler in ROUTES:
        if path == "ws": continue
        shape = re.sub(r"\([^)]*\)", "{}", path).replace("\\", "")
        there |= {(method, f"/{shape}") for method in ("get", "post", "put", "patch", "delete") if method in vars(handler)}
    said = {(method, re.sub(r"{\w+}", "{}", path)) for path, methods in described()["paths"].items() for method in methods if method != "parameters"}
    assert said == there


@pytest.fixture(scope="module")
def place() -> Iterator[Isolation]:
    found = Isolation.new()
    yield found
    left = found.shut_down()
    found.remove()
    assert not left, left


@pytest.fixture(scope="module")
def server(place: Isolation) -> Iterator[JupyterProcess]:
    with JupyterProcess(place, env={"LEPTON_BENCH_SIMULATED": "2"}) as found:
        yield found
        for request in list_of(found, "requests"): ask(found, "DELETE", f"api/requests/{request['id']}")
        for name in [a["name"] for a in list_of(found, "allocations")]: ask(found, "POST", f"api/allocations/{name}/release")


def ask(server: JupyterProcess, method: str, path: str, body: Any = None) -> None:
    with contextlib.suppress(OSError): server.ask(method, path, body)  # it may have ended by itself


def list_of(server: JupyterProcess, topic: str) -> list[dict]:
    with server.page(topic) as page:
        page.until(lambda: topic in page.tables)
        return list(page.tables[topic].values())


def make_runs(place: Isolation, server: JupyterProcess) -> list[str]:
    "Runs of several kinds and states; nobody runs them."
    from lepton_bench.runs.store import RunWriter, new_record
    home, ids = Path(place.variables()["LEPTON_BENCH_HOME"])/"runs", []
    home.mkdir(exist_ok=True)
    for status, kind in (("done", "function"), ("failed", "script"), ("stopped", "notebook"), ("lost", "sweep"), ("running", "function")):
        ids.append(f"20260101-000000-{len(ids):04x}")
        RunWriter(home/ids[-1], new_record(ids[-1], "train", kind=kind, status=status)).create()
        (home/ids[-1]/"logs"/"rank-0.log").write_text("one\ntwo\n")
    return ids


def test_whatever_is_asked_is_answered_as_described(server: JupyterProcess, place: Isolation):
    ids = make_runs(place, server)
    found = {name: part for name, part in described().items() if name != "security"}  # who has no token is another test's business
    schema = schemathesis.openapi.from_dict(found)
    schema.config.update(base_url=f"http://127.0.0.1:{server.port}{server.base_url}lepton-bench")
    known = {"id": strategies.sampled_from(ids), "rank": strategies.just("0"), "action": strategies.sampled_from(["release", "restart"])}
    asked = 0
    for operation in (one.ok() for one in schema.get_all_operations()):
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try: cases = operation.as_strategy(generation_mode=mode)
            except schemathesis.errors.InvalidSchema: continue

            @QUIET
            @hypothesis.given(case=cases, data=strategies.data())
            def fuzz(case: schemathesis.Case, data: Any) -> None:
                nonlocal asked
                for name, values in known.items():  # two of three ask for something that is there
                    if name not in (case.path_parameters or {}) or (name != "action" and not data.draw(strategies.integers(0, 2))): continue
                    case.path_parameters[name] = data.draw(values)  # no address of ours has another action
                case.call_and_validate(checks=CHECKS, headers={"Authorization": f"token {server.token}"}, timeout=60)
                asked += 1
            with contextlib.suppress(hypothesis.errors.Unsatisfiable): fuzz()  # an operation for which nothing is wrong
    assert asked > 16 * EXAMPLES and server.process.poll() is None
    assert not problems(server)


def problems(server: JupyterProcess) -> list[str]:
    "What of the server's log should not be there, and what stands around it."
    lines = server.log.read_text().splitlines()
    found = [k for k, line in enumerate(lines) if any(words in line for words in ("Uncaught exception", "Exception in", "never retrieved"))]
    return ["\n".join(lines[max(0, k - 3):k + 25]) for k in found[:3]]


DEEP = "[" * 5000 + "]" * 5000
TEXTS = ["", "null", "[]", "7", '"text"', "{", DEEP, '{"op": "subscribe"}', '{"op": 7}', '{"op": "nothing"}', '{"op": "subscribe", "topic": {}}',
         '{"op": "subscribe", "topic": "run/../.."}', '{"op": "subscribe", "topic": "logs/x/y"}', '{"op": "unsubscribe", "topic": "never"}',
         '{"op": "subscribe", "topic": "logs/20260101-000000-0000/0", "since": {"version": 1' + "0" * 400 + "}}",
         '{"op": "series"}', '{"op": "series", "id": 1, "run": [], "want": 3}', '{"op": "subscribe", "topic": "runs", "since": 1e308}',
         '{"op": "series", "id": {}, "run": "x", "names": 7, "want": {"width": -1}}', '{"op": "resume", "epoch": 7, "since": {"runs": "x"}}',
         '{"op": "series", "id": 2, "run": "20260101-000000-0000", "system": "yes", "want": {"width": 1e300, "range": ["a", null], "smooth": "much"}}']


def test_a_page_that_talks_nonsense_harms_nobody_else(server: JupyterProcess):
    draw, address = random.Random(7), f"ws://127.0.0.1:{server.port}{server.base_url}lepton-bench/ws"
    header = [f"Authorization: token {server.token}"]
    before = server.resident
    with server.page("requests", "devices") as other:
        other.until(lambda: "devices" in other.tables)
        for _ in range(20):
            connection = create_connection(address, timeout=20, header=header)
            with contextlib.suppress(WebSocketException, OSError):  # it may be closed on us
                for _ in range(100):
                    kind = draw.randrange(4)
                    if kind == 0: connection.send(draw.randbytes(draw.randrange(200)), ABNF.OPCODE_BINARY)
                    elif kind == 1: connection.send(draw.choice(TEXTS)[:draw.randrange(1, 12_000)])
                    elif kind == 2: connection.send(draw.choice(TEXTS))
                    elif draw.random() < .98: connection.send("x" * draw.randrange(100_000))
                    else: connection.sock.sendall(draw.randbytes(draw.randrange(1, 20)))  # no frame at all
            with contextlib.suppress(WebSocketException, OSError): connection.close(timeout=1)
        for _ in range(10):  # and pages that hang up in the middle of a frame
            with socket.create_connection(("127.0.0.1", server.port)) as raw:
                raw.sendall(b"GET " + server.base_url.encode() + b"lepton-bench/ws HTTP/1.1\r\nUpgrade: websocket\r\n" + secrets.token_bytes(50))
        name = f"after-{time.time_ns()}"[:39]
        server.ask("POST", "api/requests", {"count": 2, "name": name})
        other.until(lambda: any(row["name"] == name for row in other.tables.get("requests", {}).values()))
    assert server.process.poll() is None and not problems(server)
    assert server.resident < before + (100 << 20), "what was sent is not kept"
