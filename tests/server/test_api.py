"""The server extension's addresses, against their description: what fits is answered as described, and whatever else comes, nothing breaks."""
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
import schemathesis
import yaml
from hypothesis import strategies
from support.isolation import Isolation
from support.jupyter_process import JupyterProcess
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

import lepton_bench
from lepton_bench.server.actions import Request, Requests
from lepton_bench.server.run_files import NotThere
from lepton_bench.store.runs import GOING, RunWriter, new_record
from lepton_bench.supervisor.allocations import Spec

DESCRIPTION = Path(lepton_bench.__file__).parent/"server"/"openapi.yaml"
EXAMPLES = int(os.environ.get("LEPTON_BENCH_FUZZ", 30))  # of each operation, of what fits and of what does not
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
QUIET = hypothesis.settings(derandomize=True, database=None, deadline=None, max_examples=EXAMPLES, suppress_health_check=list(hypothesis.HealthCheck),
                            phases=[hypothesis.Phase.generate])
CLI = Path(sys.executable).with_name("lepton-bench")
SECRET = "-----BEGIN PRIVATE KEY-----"
NAMES = ["fuzzed-1", "fuzzed-2"]  # of allocations


def described() -> dict[str, Any]: return yaml.safe_load(DESCRIPTION.read_text())


class World:
    "A server, devices, and runs of several kinds and states."
    def __init__(self, place: Isolation, server: JupyterProcess) -> None:
        self.place, self.server, self.seen, self.runs = place, server, defaultdict[str, Counter[int]](Counter), place.root/"home"/"runs"
        found = {name: part for name, part in described().items() if name != "security"}  # who has no token is asked about below
        self.schema = schemathesis.openapi.from_dict(found)
        self.schema.config.update(base_url=f"http://127.0.0.1:{server.port}{server.base_url}lepton-bench")
        self.operations = {o.definition.raw["operationId"]: o for o in (one.ok() for one in self.schema.get_all_operations())}
        self.requests, self.sweeps = list[str](), list[str]()
        self.ids = self.make_runs()

    def make_runs(self) -> list[str]:
        "Runs that nobody runs."
        ids: list[str] = []
        for status, kind in (("done", "function"), ("failed", "script"), ("stopped", "notebook"), ("lost", "sweep"), ("running", "function")):
            ids.append(f"20260101-000000-{len(ids):04x}")
            RunWriter(self.runs/ids[-1], new_record(ids[-1], "train", kind=kind, status=status)).create()
            (self.runs/ids[-1]/"logs"/"rank-0.log").write_text("one\ntwo\n")
        return ids

    def launch(self, name: str, text: str, *options: str) -> str:  # id of its run
        (self.place.root/f"{name}.py").write_text(text)
        environment = {**self.place.environment(), "LEPTON_BENCH_SIMULATED": "2"}
        before = set(os.listdir(self.runs))
        subprocess.run([CLI, "launch", *options, str(self.place.root/f"{name}.py")], env=environment, capture_output=True, timeout=90)
        return (set(os.listdir(self.runs)) - before).pop()

    def rows(self, topic: str, enough: Callable[[dict], Any] = lambda rows: True) -> dict[str, dict]:
        "A table of the page, once there is enough in it."
        with self.server.page(topic) as page:
            page.until(lambda: topic in page.tables and enough(page.tables[topic]), timeout=30)
            return page.tables[topic]

    def ended(self, id: str) -> None: self.rows("runs", lambda rows: id in rows and rows[id]["status"] not in GOING)

    def call(self, operation: str, code: int, body: Any = None, query: dict[str, Any] | None = None, **path: str) -> Any:
        "What fits, and what it is answered with."
        sent = {} if body is None else {"body": body, "media_type": "application/json"}
        answer = self.check(operation, self.operations[operation].Case(path_parameters=path, query=query or {}, **sent))
        assert answer.status_code == code, (operation, answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers["content-type"][0] else answer.text

    def check(self, name: str, case: schemathesis.Case) -> Any:
        answer = case.call_and_validate(checks=CHECKS, headers={"Authorization": f"token {self.server.token}"}, timeout=60)
        self.seen[name][answer.status_code] += 1
        return answer

    def end_everything(self) -> None:
        for request in self.rows("requests"): self.ask("DELETE", f"api/requests/{request}")
        for id, run in self.rows("runs").items():
            if run["status"] in GOING and id not in self.ids[:5]: self.ask("POST", f"api/runs/{id}/stop", {"kill": True})
        for name in self.rows("allocations"): self.ask("POST", f"api/allocations/{name}/release")
        self.rows("allocations", lambda rows: not rows)

    def ask(self, method: str, path: str, body: Any = None) -> None:
        with contextlib.suppress(OSError): self.server.ask(method, path, body)  # it may have ended by itself


@pytest.fixture(scope="module")
def place() -> Iterator[Isolation]:
    found = Isolation.new()
    yield found
    left = found.shut_down()
    found.remove()
    assert not left, left


@pytest.fixture(scope="module")
def world(place: Isolation) -> Iterator[World]:
    cell = {"cell_type": "code", "id": "a", "execution_count": None, "outputs": [], "metadata": {"tags": ["parameters"]}, "source": "lr = 1  # rate"}
    (place.root/"tiny.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    with JupyterProcess(place, env={"LEPTON_BENCH_SIMULATED": "2"}) as server:
        found = World(place, server)
        yield found
        found.end_everything()
        assert server.process.poll() is None and not server.problems()


def test_the_description_is_one(world: World) -> None:
    world.schema.validate()
    assert described()["openapi"].startswith("3.1") and len(world.operations) == sum(len(set(p) - {"parameters"}) for p in described()["paths"].values())


FAIL = "print('one'); print('two')\nraise SystemExit(3)"
LOOP = """import time, lepton_bench as lb
while True:
    lb.log(loss=1.)
    time.sleep(.05)"""


def test_what_fits_is_answered_as_described(world: World) -> None:
    "Each operation once, with all that is in its way: so each kind of answer is compared with its description at least once."
    assert world.call("status", 200)["home"].startswith(str(world.place.root))
    request = world.call("ask", 201, {"count": 1, "kind": "simulated", "name": "asked"})
    world.rows("requests", lambda rows: request["id"] in rows and rows[request["id"]]["state"] == "granted")
    for action in ("restart", "release"): assert world.call("change", 200, name="asked", action=action) == {}
    assert world.call("forget", 200, id=request["id"]) == {"state": "granted"} and world.call("forget", 404, id=request["id"])
    going = world.launch("loop", LOOP, "--detach")
    world.rows("runs", lambda rows: going in rows and rows[going]["status"] == "running" and rows[going]["values"])
    assert "loop.py" in world.call("stacks", 200, id=going)["text"] and world.call("remove", 409, id=going)
    assert world.call("stop", 200, {}, id=going) == {}
    world.ended(going)
    failed = world.launch("fail", FAIL)
    assert [m["text"] for m in world.call("search", 200, query={"search": "TWO"}, id=failed, rank="0")["matches"]] == ["two"]
    assert world.call("part", 200, query={"begin": 0, "end": 4}, id=failed, rank="0")["text"] == "one\n"
    assert "SystemExit(3)" in world.call("source", 200, id=failed)["files"][0]["text"] and "one" in world.call("output", 200, id=failed)["text/plain"]
    assert "loss" in world.call("metrics", 200, query={"names": ["loss"]}, id=going)
    request = world.call("resume", 202, {"count": 1}, id=failed)["request"]
    world.rows("requests", lambda rows: request in rows and rows[request]["state"] == "granted")
    world.ended(failed)
    assert world.call("parameters", 200, query={"path": "tiny.ipynb"})["parameters"][0]["help"] == "rate"
    sweep = world.call("sweep", 201, {"path": "tiny.ipynb", "space": {"lr": [1]}, "devices_each": 0})["id"]
    world.ended(sweep)
    assert world.call("again", 200, {"changed": "keep"}, id=sweep) == {"id": sweep}
    world.ended(sweep)
    assert world.call("remove", 200, id=going) == {} and world.call("stacks", 404, id=going)
    assert set(world.seen) == set(world.operations)
    world.ids.append(failed)
    world.sweeps.append(sweep)


def steer(world: World, name: str, case: schemathesis.Case, draw: Callable[[Any], Any], fits: bool) -> None:
    "Two of three ask for something that is there, and what is begun is small."
    pools = {"rank": ["0"], "name": NAMES, "action": ["release", "restart"],
             "id": world.requests[-3:] if name == "forget" else world.sweeps if name == "again" else world.ids}
    for part, values in pools.items():
        if part in (case.path_parameters or {}) and values and (part == "action" or draw(strategies.integers(0, 2))):  # no address of ours has another action
            case.path_parameters[part] = draw(strategies.sampled_from(values))
    if not fits or not draw(strategies.integers(0, 2)): return
    if name == "ask": case.body = {"count": draw(strategies.integers(1, 3)), "name": draw(strategies.sampled_from(NAMES))}
    if name == "resume": case.body = draw(strategies.sampled_from([{"count": 1}, {"allocation": NAMES[0]}, {"allocation": ".."}]))
    if name == "sweep": case.body = {"path": "tiny.ipynb", "space": {"lr": [1]}, "devices_each": draw(strategies.integers(0, 1)), "changed": "keep"}
    if name == "parameters": case.query = {"path": draw(strategies.sampled_from(["tiny.ipynb", "loop.py", "home", "../tiny.ipynb", "home/../tiny.ipynb"]))}


def fuzz_one(world: World, name: str, mode: schemathesis.GenerationMode) -> int:  # how many were asked
    "One operation, from its description: what fits, or what does not."
    fits, before = mode == schemathesis.GenerationMode.POSITIVE, world.seen[name].total()
    try: cases = world.operations[name].as_strategy(generation_mode=mode)
    except schemathesis.errors.InvalidSchema: return 0

    @QUIET
    @hypothesis.given(case=cases, data=strategies.data())
    def fuzz(case: schemathesis.Case, data: Any) -> None:
        steer(world, name, case, data.draw, fits)
        answer = world.check(name, case)
        if name == "ask" and answer.status_code == 201: world.requests.append(answer.json()["id"])
        if name == "sweep" and answer.status_code == 201: world.sweeps.append(answer.json()["id"])
    with contextlib.suppress(hypothesis.errors.Unsatisfiable): fuzz()  # an operation for which nothing is wrong
    return world.seen[name].total() - before


@pytest.mark.slow
@pytest.mark.timeout(170 if EXAMPLES < 50 else 0)
def test_whatever_is_asked_is_answered_as_described(world: World) -> None:
    names = sorted(world.operations, key=lambda name: name == "remove")  # last: it leaves little to ask for
    asked = sum(fuzz_one(world, name, mode) for name in names for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE))
    print(asked, {name: dict(codes) for name, codes in world.seen.items()})
    assert asked > 20 * EXAMPLES and world.server.process.poll() is None and not world.server.problems()
    world.end_everything()


def ask_raw(world: World, method: str, path: str, body: Any = None, token: bool = True) -> tuple[int, str]:
    "A request whose path is sent as it is."
    connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=60)
    headers = {"Authorization": f"token {world.server.token}"} if token else {}
    with contextlib.closing(connection):
        connection.request(method, f"{world.server.base_url}lepton-bench{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


LEADING = ["..", ".", "%2e%2e", "..%2f..%2f", "%2Fetc%2Fpasswd", "..%5c..", "a%00b", "x" * 300, "x" * 5000, quote("é" * 150), "%ED%A0%80", "%ff", ".hidden",
           "_x", "%252e%252e", "home", "20260101-000000-0000%2f..%2f20260101-000000-0001", "~", "-rf", "%0a", "*"]


def test_no_name_leads_elsewhere(world: World) -> None:
    secret = world.place.root/"home"/"run.json"
    secret.write_text(json.dumps({"id": "home", "name": SECRET, "status": "done"}))
    (world.place.root/"home"/"logs").mkdir(exist_ok=True)
    (world.place.root/"home"/"logs"/"rank-0.log").write_text(SECRET)
    before = sorted(str(p) for p in (world.place.root/"home").iterdir())
    fits = {"count": 1}
    for path, methods in described()["paths"].items():
        for method in set(methods) - {"parameters"}:
            for part in [p for p in ("id", "name", "rank") if f"{{{p}}}" in path]:
                for name in LEADING:
                    filled = path.replace(f"{{{part}}}", name).format(id=world.ids[0], rank="0", action="release")
                    code, text = ask_raw(world, method.upper(), filled, fits if method == "post" else None)
                    assert code in (400, 404) and SECRET not in text, (method, filled, code, text)
    for name in [*LEADING, "/etc/passwd", "../../etc/passwd", "home/../tiny.ipynb", "home/run.json", str(world.place.root/"tiny.ipynb"), "\ud800"]:
        code, text = ask_raw(world, "GET", f"/api/notebooks/parameters?path={quote(name.encode(errors='surrogatepass'), safe='%')}")
        assert code in (400, 404) and SECRET not in text, (name, code, text)
        for body in ({"path": name}, {"path": "tiny.ipynb", "output": f"../{name}"}):
            code, text = ask_raw(world, "POST", "/api/sweeps", body)
            assert code in (400, 404), (body, code, text)
    assert sorted(str(p) for p in (world.place.root/"home").iterdir()) == before and not world.server.problems()


def test_texts_and_numbers_that_hardly_fit(world: World) -> None:
    "Half characters, numbers beyond a float's, and lists in lists: a fuzzer seldom thinks of them."
    deep: Any = 1
    for _ in range(900): deep = [deep]
    ours = world.ids[1]
    addresses: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {  # what would be wrong anyhow, and what may be sent
        "/api/requests": ({"count": 3}, ("count", "kind", "memory", "engine", "name", "priority", "timeout", "kernel")),
        f"/api/runs/{ours}/resume": ({}, ("allocation", "count")), f"/api/sweeps/{ours}/again": ({}, ("changed",)),
        "/api/sweeps": ({"path": "tiny.ipynb", "space": {"no": [1]}}, ("path", "space", "devices_each", "parallel", "retries", "output", "changed"))}
    for value in ("\ud800", 10**400, float("nan"), float("inf"), -1e308, deep, "9" * 400 + "GB", "1.2.3GB", "\0", "x" * 100_000, {"\ud800": ["\ud800"]}):
        for path, (given, names) in addresses.items():
            for name in names:
                code, text = ask_raw(world, "POST", path, {**given, name: value})
                assert code in (400, 404, 409), (path, name, str(value)[:100], code, text[:300])
                assert json.loads(text)["message"]
    for body in (b"\xff", b"{", b"[" * 100_000, b"\0", b'{"count": 1e999}', b'"\\ud800"'):
        connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", f"{world.server.base_url}lepton-bench/api/requests", body, {"Authorization": f"token {world.server.token}"})
            assert connection.getresponse().status == 400, body[:20]
    assert not world.server.problems()


def test_the_refusal_of_strangers_is_described(world: World) -> None:
    for name, operation in world.operations.items():
        case = operation.Case(path_parameters={"id": world.ids[0], "rank": "0", "name": "x", "action": "release"}, query={"path": "tiny.ipynb"})
        answer = case.call_and_validate(checks=CHECKS, headers={"Authorization": "token wrong"}, timeout=60)
        assert answer.status_code == 403, name


def test_two_pages_that_forget_the_same_request() -> None:
    requests, before = Requests(lambda request: None), sys.getswitchinterval()
    requests.found = {str(k): Request(str(k), Spec("x", 1), state="failed") for k in range(20_000)}
    wrong: list[BaseException] = []
    def forget() -> None:
        for id in map(str, range(20_000)):
            try: requests.forget(id)
            except NotThere: continue
            except BaseException as e: return wrong.append(e)
    threads = [threading.Thread(target=forget) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads: thread.start()
        for thread in threads: thread.join(60)
    finally: sys.setswitchinterval(before)
    assert not wrong and not requests.found
