"""The server extension: a real Jupyter server with logins, real allocations and runs, real sockets."""
import asyncio
import functools
import json
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.isolation import Isolation, patience
from support.jupyter_process import JupyterProcess, take_rows
from jupyter_server.auth import Authorizer
from pytest_jupyter.jupyter_server import *  # noqa: F403  # its fixtures, for this file only
from tornado.httpclient import HTTPClientError
from tornado.web import RequestHandler
from tornado.websocket import WebSocketClientConnection, WebSocketHandler

from lepton_bench.server import extension as server_module
from lepton_bench.server.actions import release_allocation
from lepton_bench.server.extension import ROUTES
from lepton_bench.processes.identity import ProcessId
from lepton_bench.store.runs import RunWriter, new_record, new_run_id, runs_directory

PREFIXES = ("/", "/lab/here/", "/user/ann/")


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    "Run a test on the loop of its server. pytest-jupyter as a plugin would do so, and start and end a server around every test of ours."
    @functools.wraps(test)
    def run(**fixtures: Any) -> None: asyncio.get_event_loop_policy().get_event_loop().run_until_complete(test(**fixtures))
    return run


@pytest.fixture(params=["/user/ann/"])
def jp_base_url(request: pytest.FixtureRequest) -> str: return request.param


@pytest.fixture
def jp_server_config() -> dict:
    return {"ServerApp": {"jpserver_extensions": {"lepton_bench": True}, "allow_unauthenticated_access": False}}


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    "A test that fails in the middle leaves no devices taken for the next one."
    import lepton_bench as lb
    yield
    for found in lb.allocations(): release_allocation(found["name"])


@pytest.fixture
def four_devices(monkeypatch: pytest.MonkeyPatch) -> None: monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "4")


@pytest.fixture
def ask(jp_fetch: Callable) -> Callable[..., Awaitable[Any]]:
    "A request with the token: (status, JSON)."
    async def fetch(method: str, *path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        sent = {"body": json.dumps({} if body is None else body)} if method == "POST" else {}
        answer = await jp_fetch("lepton-bench", *path, method=method, raise_error=False, request_timeout=60, **sent, **options)
        return answer.code, json.loads(answer.body or b"null")
    return fetch


class Socket:
    "The page's end of a socket: what the server has said about each topic."
    def __init__(self, connection: WebSocketClientConnection) -> None:
        self.connection, self.tables, self.messages, self.frames = connection, dict[str, dict[str, dict]](), list[dict](), list[tuple[dict, bytes]]()

    async def send(self, **message: Any) -> None: await self.connection.write_message(json.dumps(message))

    async def read(self, timeout: float = 60.) -> dict:
        data = await asyncio.wait_for(self.connection.read_message(), timeout)
        assert data is not None, "the server has closed the socket"
        if isinstance(data, bytes):
            size = int.from_bytes(data[:4], "little")
            self.frames.append((json.loads(data[4:4 + size]), data[4 + size:]))
            return self.frames[-1][0]
        message = json.loads(data)
        self.messages.append(message)
        take_rows(self.tables, message)
        return message

    async def until(self, found: Callable[[], Any], timeout: float = 60.) -> Any:
        "Read on until something is there."
        end = time.monotonic() + patience(timeout)
        while not (value := found()): await self.read(end - time.monotonic())
        return value

    def row(self, topic: str, **wanted: Any) -> dict | None:
        return next((r for r in self.tables.get(topic, {}).values() if all(r.get(k) == v for k, v in wanted.items())), None)

    async def series(self, run: str, number: int, **want: Any) -> tuple[dict, bytes]:
        "Ask, and read on until the answer."
        await self.send(op="series", id=number, run=run, system=False, names=None, want=want)
        return await self.until(lambda: next((f for f in self.frames if f[0]["id"] == number), None))


@pytest.fixture
def open_socket(jp_ws_fetch: Callable) -> Iterator[Callable[..., Awaitable[Socket]]]:
    opened: list[Socket] = []
    async def open_one(*topics: str, **options: Any) -> Socket:
        opened.append(Socket(await jp_ws_fetch("lepton-bench", "ws", **options)))
        for topic in topics: await opened[-1].send(op="subscribe", topic=topic)
        return opened[-1]
    yield open_one
    for page in opened: page.connection.close()


def make_run(**fields: Any) -> RunWriter:
    id = new_run_id()
    return RunWriter(runs_directory()/id, new_record(id, fields.pop("name", "train"), **fields)).create()


def addresses() -> list[tuple[str, str]]:
    "Every method of every route of ours."
    found = []
    for path, handler in ROUTES:
        filled = re.sub(r"\([^)]*\|[^)]*\)", "release", path).replace(r"([^/]+)", "x").replace("\\", "")
        found += [(m.upper(), f"lepton-bench/{filled}") for m in ("get", "post", "delete", "put", "patch") if m in vars(handler)]
    return found


def registered(server: Any) -> list[tuple[str, type]]:
    "What of ours the server has: patterns and handlers."
    rules = [r for rule in server.web_app.wildcard_router.rules + server.web_app.default_router.rules for r in getattr(rule.target, "rules", [rule])]
    return [(r.matcher.regex.pattern, r.target) for r in rules if hasattr(r.matcher, "regex") and "lepton-bench" in r.matcher.regex.pattern]


@on_loop
async def test_every_address_that_the_server_has_is_described(jp_serverapp: Any) -> None:
    "A route or a method without a description in openapi.yaml fails, and a description without a route, and a parameter that is not described."
    there, said = dict[str, set[str]](), dict[str, set[str]]()
    for pattern, handler in registered(jp_serverapp):
        if issubclass(handler, WebSocketHandler): continue
        path = re.sub(r"\([^)]*\)", "{}", pattern.partition("lepton-bench")[2]).replace("\\", "").rstrip("$")
        there[path] = {m for m in ("get", "head", "post", "put", "patch", "delete") if getattr(handler, m) is not getattr(RequestHandler, m)}
    for path, found in yaml.safe_load((Path(server_module.__file__).parent/"openapi.yaml").read_text())["paths"].items():
        said[re.sub(r"{\w+}", "{}", path)] = set(found) - {"parameters"}
        names = [p.get("name") or p["$ref"].rpartition("/")[2].lower() for p in found.get("parameters", [])]
        assert names == re.findall(r"{(\w+)}", path), path
        answers = [set(operation["responses"]) for method, operation in found.items() if method != "parameters"]
        assert all("403" in codes and "default" not in codes for codes in answers), path
    assert said == there


# who may ask

@pytest.mark.parametrize("jp_base_url", PREFIXES, indirect=True)
@on_loop
async def test_every_door_is_closed_without_a_token(jp_serverapp: Any, http_server_client: Any, jp_base_url: str) -> None:
    assert len(registered(jp_serverapp)) == len(ROUTES)
    for method, path in addresses():
        answer = await http_server_client.fetch(jp_base_url + path, method=method, raise_error=False, follow_redirects=False,
                                                **({"body": "{}"} if method in ("POST", "PUT") else {}))
        assert answer.code == 403, (method, path, answer.code)


@on_loop
async def test_who_is_not_authorized_gets_nothing(jp_serverapp: Any, http_server_client: Any, jp_auth_header: dict, jp_ws_fetch: Callable,
                                                  jp_base_url: str) -> None:
    asked: set[tuple[str, str]] = set()

    class Nobody(Authorizer):
        def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
            asked.add((action, resource))
            return False
    jp_serverapp.web_app.settings["authorizer"] = Nobody(parent=jp_serverapp)
    for method, path in addresses():
        if path.endswith("/ws"): continue
        answer = await http_server_client.fetch(jp_base_url + path, method=method, headers=jp_auth_header, raise_error=False,
                                                **({"body": "{}"} if method == "POST" else {}))
        assert answer.code == 403, (method, path, answer.code)
    with pytest.raises(HTTPClientError) as refused: await jp_ws_fetch("lepton-bench", "ws")
    assert refused.value.code == 403 and asked == {("read", "lepton_bench"), ("write", "lepton_bench")}


@on_loop
async def test_no_socket_without_a_token(jp_ws_fetch: Callable, jp_http_port: int, jp_base_url: str, jp_serverapp: Any) -> None:
    from tornado.websocket import websocket_connect
    with pytest.raises(HTTPClientError) as refused: await websocket_connect(f"ws://localhost:{jp_http_port}{jp_base_url}lepton-bench/ws")
    assert refused.value.code == 403
    with pytest.raises(HTTPClientError) as refused: await jp_ws_fetch("lepton-bench", "ws", headers={"Authorization": "token wrong"})
    assert refused.value.code == 403


@pytest.fixture
def log_in(jp_serverapp: Any, http_server_client: Any, jp_base_url: str) -> Callable[[], Awaitable[tuple[dict[str, str], str]]]:
    "What a browser sends after a login: its cookies, and the XSRF token that its scripts add."
    async def cookies() -> tuple[dict[str, str], str]:
        async def given(path: str) -> dict[str, str]:
            answer = await http_server_client.fetch(jp_base_url + path, raise_error=False, follow_redirects=False)
            return dict(c.split(";")[0].split("=", 1) for c in answer.headers.get_list("Set-Cookie"))
        found = await given("login") | await given(f"api/me?token={jp_serverapp.identity_provider.token}")
        return {"Cookie": "; ".join(f"{k}={v}" for k, v in found.items())}, found["_xsrf"]
    return cookies


@on_loop
async def test_a_cookie_needs_the_xsrf_token_too(jp_serverapp: Any, http_server_client: Any, jp_base_url: str, log_in: Callable) -> None:
    cookie, xsrf = await log_in()

    async def code(method: str, path: str, **headers: str) -> int:
        body = {"body": "{}"} if method == "POST" else {}
        answer = await http_server_client.fetch(jp_base_url + path, method=method, headers={**cookie, **headers}, raise_error=False, **body)
        return answer.code
    assert await code("GET", "lepton-bench/api/status") == 200
    for method, path in addresses():
        if method == "GET": continue
        assert await code(method, path) == 403, (method, path)
        assert await code(method, path, **{"X-XSRFToken": xsrf}) in (400, 404), (method, path)


@on_loop
async def test_a_page_from_elsewhere_gets_no_socket(jp_http_port: int, jp_base_url: str, jp_serverapp: Any, log_in: Callable) -> None:
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect
    url, (cookie, _) = f"ws://127.0.0.1:{jp_http_port}{jp_base_url}lepton-bench/ws", await log_in()
    with pytest.raises(HTTPClientError) as refused:
        await websocket_connect(HTTPRequest(url, headers={**cookie, "Origin": "http://elsewhere.example"}))
    assert refused.value.code == 403
    page = await websocket_connect(HTTPRequest(url, headers={**cookie, "Origin": f"http://127.0.0.1:{jp_http_port}"}))
    page.close()


# tables, in parts, resumed, and for a page that does not read

@on_loop
async def test_a_page_sees_runs_devices_and_what_changes(four_devices: None, open_socket: Callable, ask: Callable) -> None:
    code, status = await ask("GET", "api", "status")
    assert code == 200 and status["home"] and status["survives"] in (True, False) and status["survives_why"]
    assert status["engines"][0] == "local" and "debug" not in status["engines"] and ("slurm" in status["engines"]) == bool(shutil.which("sbatch"))
    run = make_run(name="first", status="running")
    page = await open_socket("runs", "devices", "allocations", "requests")
    await page.until(lambda: {"runs", "devices", "allocations", "requests"} <= page.tables.keys() and page.row("runs", id=run.record.id))
    assert [r["label"] for r in page.tables["devices"].values()] == [f"sim-{n}" for n in range(4)]
    use = page.row("devices", key="sim-0")["history"]["use"]
    assert use[-1] == 0 and set(use) <= {None, 0}  # None: no server was there to look
    await page.send(op="subscribe", topic=f"run/{run.record.id}")
    assert (await page.until(lambda: page.row(f"run/{run.record.id}")))["cwd"] == run.record.cwd
    run.update(status="failed", reason="rank 1 raised ValueError", extra={"values": {"loss": float("nan"), "accuracy": .5}})
    row = await page.until(lambda: page.row("runs", id=run.record.id, status="failed"))
    assert row["values"] == {"loss": "NaN", "accuracy": .5}  # JSON has no nan
    assert (await ask("DELETE", "api", "runs", run.record.id)) == (200, {})
    await page.until(lambda: not page.row("runs", id=run.record.id))
    await page.until(lambda: any("no run" in m.get("error", "") for m in page.messages if m["topic"].startswith("run/")))
    assert not [p for p in runs_directory().iterdir() if run.record.id in p.name]
    await page.send(op="ping")
    await page.until(lambda: {"op": "pong"} in page.messages)


@on_loop
async def test_a_page_that_returns_gets_what_it_has_missed(open_socket: Callable) -> None:
    runs = [make_run(name="one"), make_run(name="two"), make_run(name="three")]
    page = await open_socket("runs")
    await page.until(lambda: all(page.row("runs", id=r.record.id) for r in runs))
    last = page.messages[-1]
    page.connection.close()
    watching = await open_socket("runs")
    runs[1].update(status="done")
    await watching.until(lambda: watching.row("runs", id=runs[1].record.id, status="done"))
    again = await open_socket()
    await again.send(op="subscribe", topic="runs", since={"epoch": last["epoch"], "version": last["version"]})
    message = await again.read()
    assert not message["full"] and [r["id"] for r in message["upsert"]] == [runs[1].record.id] and message["remove"] == []
    await again.send(op="subscribe", topic="runs", since={"epoch": "of another server", "version": last["version"]})
    message = await again.read()
    assert message["full"] and len(message["upsert"]) >= 3


@on_loop
async def test_thousands_of_runs_come_in_parts(open_socket: Callable) -> None:
    for _ in range(1300): make_run(status="done")
    start, page = time.monotonic(), await open_socket("runs")
    await page.until(lambda: len(page.tables.get("runs", {})) >= 1300)
    parts = [m for m in page.messages if m["topic"] == "runs"]
    print(f"{time.monotonic() - start:.2f} s, {[len(m['upsert']) for m in parts]} rows")
    assert [m["full"] for m in parts] == [True] + [False]*(len(parts) - 1) and max(len(m["upsert"]) for m in parts) <= 500
    keys = [r["key"] for r in parts[0]["upsert"]]
    assert keys == sorted(keys, reverse=True)  # the newest first


@on_loop
async def test_a_page_that_does_not_read_costs_nothing(jp_serverapp: Any, jp_http_port: int, jp_base_url: str, open_socket: Callable) -> None:
    service = jp_serverapp.web_app.settings["lepton_bench_service"]
    reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port, limit=4096)
    writer.write((f"GET {jp_base_url}lepton-bench/ws HTTP/1.1\r\nHost: 127.0.0.1:{jp_http_port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                  f"Authorization: token {jp_serverapp.identity_provider.token}\r\n\r\n").encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    subscribe = b'{"op":"subscribe","topic":"requests"}'
    writer.write(b"\x81" + bytes([0x80 | len(subscribe)]) + b"\0\0\0\0" + subscribe)
    topic = service.topics.lasting["requests"]
    while not topic.readers: await asyncio.sleep(0)
    stuck = next(iter(topic.readers)).send.__self__
    page = await open_socket("requests")
    await page.until(lambda: "requests" in page.tables)
    row = {"id": "x", "text": "x" * 20_000}
    for n in range(300):  # 300 x 100 kB, of which a socket takes a few MB
        for key in range(5): topic.table.put({"key": str(key), "n": n, **row})
        topic.wake()
        await page.until(lambda: page.row("requests", key="4", n=n))  # others are not held up  # noqa: B023
    held = len(stuck.ws_connection.stream._write_buffer)
    assert 0 < held < 500_000, f"{held} bytes wait for a page that does not read"
    writer.transport.resume_reading()
    received = b""
    while b'"n":299' not in received and len(received) < 60_000_000: received += await asyncio.wait_for(reader.read(1 << 20), 20)
    got = received.count(b'"key":"0"')
    print(f"{held} bytes held; it got {got} of 300 changes")
    assert got < 200  # the changes between are one
    writer.close()


# the real thing: devices, a run on two ranks, its curves and logs, and what stays when the server has gone

def training(steps: int) -> None:
    import lepton_bench as lb
    for step in range(steps):
        lb.log(step=step, loss=1/(step + 1))
        lb.progress(step + 1, steps)
        if step % 50 == 0: print(f"at step {step}", flush=True)
        time.sleep(.005)


async def granted(page: Socket, ask: Callable, **options: Any) -> str:
    "Devices through the server; the allocation's name."
    code, answer = await ask("POST", "api", "requests", body=options)
    assert code == 201, answer
    row = await page.until(lambda: next((r for r in [page.tables.get("requests", {}).get(answer["id"])] if r and r["state"] != "waiting"), None))
    assert row["state"] == "granted", row
    return row["allocation"]


async def in_thread(function: Callable, *args: Any) -> Any: return await asyncio.get_running_loop().run_in_executor(None, function, *args)


@on_loop
async def test_from_devices_to_curves_and_back(ask: Callable, open_socket: Callable, jp_serverapp: Any, jp_fetch: Callable) -> None:
    import lepton_bench as lb
    events: list[dict] = []
    async def listen(logger: Any, schema_id: str, data: dict) -> None: events.append({"kind": schema_id.split("/")[3], **data})
    for kind in ("run", "allocation"): jp_serverapp.event_logger.add_listener(schema_id=f"https://events.lepton-bench.org/{kind}/v1", listener=listen)

    page = await open_socket("requests", "allocations", "devices", "runs")
    await page.until(lambda: {"runs", "allocations", "devices"} <= page.tables.keys())
    name = await granted(page, ask, count=2, kind="cpu", name="of-the-server")
    row = await page.until(lambda: page.row("allocations", name=name, state="idle"))
    assert row["owner_alive"] is None and len(row["devices"]) == 2
    await page.until(lambda: [r["holder"]["allocation"] for r in page.tables["devices"].values() if r["holder"]] == [name, name])

    alloc = await in_thread(lb.attach, name)
    run = await in_thread(lambda: alloc.options(output=False).launch(training, 100_000))
    await page.until(lambda: page.row("runs", id=run.id, status="running"))
    await page.send(op="subscribe", topic=f"logs/{run.id}/1")
    await page.until(lambda: "at step 50\n" in "".join(m.get("text", "") for m in page.messages if m.get("topic") == f"logs/{run.id}/1"))
    await page.until(lambda: (row := page.row("runs", id=run.id)) and row["values"].get("loss") and row["progress"])
    assert page.row("runs", id=run.id)["progress"]["total"] == 100_000

    header, numbers = await page.series(run.id, 1, width=300)
    assert [p["name"] for p in header["reply"]["panels"]] == ["loss"] and sum(header["sizes"]) == len(numbers) > 0
    number, cursor = 1, header["reply"]["cursor"]
    while True:  # the curve grows
        number += 1
        header, _ = await page.series(run.id, number, width=300, cursor=cursor)
        if header["reply"]["kind"] == "series": break
    assert header["reply"]["cursor"] != cursor
    await page.send(op="series", id=99, run=run.id, system=True, names=["cpu_percent"], want={})
    await page.until(lambda: any(f[0]["id"] == 99 for f in page.frames))

    code, found = await ask("GET", "api", "runs", run.id, "logs", "0", params={"search": "STEP 50", "limit": "5"})
    assert code == 200 and found["matches"][0]["text"] == "at step 50"
    begin = found["matches"][0]["begin"]
    code, part = await ask("GET", "api", "runs", run.id, "logs", "0", "part", params={"begin": begin, "end": begin + 1})
    assert code == 200 and part["text"] == "at step 50\n"
    code, source = await ask("GET", "api", "runs", run.id, "source")
    assert code == 200 and source["arguments"] == "100000" and "torch" in source["versions"]
    assert (await ask("DELETE", "api", "runs", run.id))[0] == 409  # it goes on

    assert (await ask("POST", "api", "runs", run.id, "stop"))[0] == 200
    await page.until(lambda: page.row("runs", id=run.id, status="stopped"))
    assert (await ask("POST", "api", "runs", run.id, "stop"))[0] == 409
    table = await jp_fetch("lepton-bench", "api", "runs", run.id, "metrics.csv", params={"names": "loss"})
    lines = table.body.decode().split("\r\n")
    assert lines[0] == "step,time,rank,name,value" and len(lines) - 2 == run.metrics().num_rows and "attachment" in table.headers["Content-Disposition"]

    assert (await ask("POST", "api", "allocations", name, "restart"))[0] == 200
    assert (await ask("POST", "api", "allocations", name, "release"))[0] == 200
    await page.until(lambda: not page.tables["allocations"] and not any(r["holder"] for r in page.tables["devices"].values()))
    assert (await ask("POST", "api", "allocations", name, "release"))[0] == 404
    seen = [(e["kind"], e["action"], e.get("run") or e.get("allocation")) for e in events]
    assert seen == [("allocation", "granted", name), ("run", "started", run.id), ("run", "ended", run.id), ("allocation", "released", name)]


def hesitating(until_there: str) -> int:
    "Ends in its second attempt, or when it may; until then rank 1 sleeps and rank 0 waits for it."
    import os
    import torch.distributed as dist
    import lepton_bench as lb
    begin = (lb.load_checkpoint() or {"step": 0})["step"]
    lb.save_checkpoint({"step": begin + 1}, begin + 1)
    while not begin and os.environ["RANK"] == "1" and not os.path.exists(until_there): time.sleep(.05)
    dist.barrier()
    return begin


@on_loop
async def test_where_ranks_stand_and_another_attempt(four_devices: None, ask: Callable, open_socket: Callable, tmp_path: Any) -> None:
    import lepton_bench as lb
    page = await open_socket("runs", "requests", "allocations")
    alloc = await in_thread(lb.allocate, 2)
    run = await in_thread(lambda: alloc.options(output=False).launch(hesitating, str(tmp_path/"go")))
    assert (await ask("POST", "api", "runs", run.id, "resume"))[0] == 409, "it goes on"
    await page.until(lambda: page.row("runs", id=run.id, checkpoint=1))
    code, found = await ask("GET", "api", "runs", run.id, "stacks")
    assert code == 200 and found["odd"] == [1] and "the others wait for rank 1" in found["text"], found
    await in_thread(lambda: run.stop(kill=True))
    assert (await ask("GET", "api", "runs", run.id, "stacks"))[0] == 409, "it stands nowhere"

    for body in ([], {"where": "here"}, {"count": 0}, {"count": True}, {"allocation": 7}):
        code, answer = await ask("POST", "api", "runs", run.id, "resume", body=body)
        assert code == 400 and answer["message"], answer
    assert (await ask("POST", "api", "runs", run.id, "resume", body={"count": 5}))[0] == 400, "there are four"
    assert (await ask("POST", "api", "runs", run.id, "resume", body={"allocation": "nobody"}))[0] == 409
    code, answer = await ask("POST", "api", "runs", run.id, "resume", body={"count": 3})
    assert code == 202, answer
    row = await page.until(lambda: page.row("requests", id=answer["request"], state="waiting", run=run.id))
    for body in ({"count": 1}, {"allocation": alloc.name}):
        code, again = await ask("POST", "api", "runs", run.id, "resume", body=body)
        assert code == 409 and f"as soon as {row['name']} has its devices" in again["message"], again
    assert (await ask("DELETE", "api", "requests", row["id"]))[0] == 200
    await page.until(lambda: page.row("requests", id=row["id"], state="cancelled"))
    code, answer = await ask("POST", "api", "runs", run.id, "resume", body={"count": 3})
    row = await page.until(lambda: page.row("requests", id=answer["request"]))
    await in_thread(alloc.release)
    await page.until(lambda: page.row("runs", id=run.id, status="done"))
    assert await in_thread(run.results) == [1, 1, 1] and run.record.attempt == 1
    await page.until(lambda: not page.row("allocations", name=row["name"]))  # given back by itself
    assert (await ask("POST", "api", "runs", run.id, "resume"))[0] == 409, "it is done"


@on_loop
async def test_a_headless_notebook_has_no_ranks_and_is_not_resumed(ask: Callable) -> None:
    record = new_record(id := new_run_id(), "night", kind="notebook", status="running", supervisor=ProcessId.me().to_dict())
    writer = RunWriter(runs_directory()/id, record).create()
    code, answer = await ask("GET", "api", "runs", id, "stacks")
    assert code == 409 and "has no ranks" in answer["message"], answer
    writer.update(status="failed")
    code, answer = await ask("POST", "api", "runs", id, "resume", body={"count": 1})
    assert code == 409 and "execute it again" in answer["message"], answer


@on_loop
async def test_listeners_hear_of_events_although_no_page_is_open(four_devices: None, jp_serverapp: Any) -> None:
    import lepton_bench as lb
    seen, enough = list[tuple[str, str]](), asyncio.Event()
    async def listen(logger: Any, schema_id: str, data: dict) -> None:
        seen.append((data["action"], data.get("run") or data["allocation"]))
        if data["action"] in ("granted", "ended", "released"): enough.set()
    for kind in ("run", "allocation"): jp_serverapp.event_logger.add_listener(schema_id=f"https://events.lepton-bench.org/{kind}/v1", listener=listen)
    service = jp_serverapp.web_app.settings["lepton_bench_service"]
    topics = service.topics.lasting
    async def heard() -> None:
        await asyncio.wait_for(enough.wait(), 30)
        enough.clear()
    while not topics["runs"].ready or service.runs.unread: await asyncio.sleep(.01)
    alloc = await in_thread(functools.partial(lb.allocate, 1, name="unseen"))
    await heard()
    run = await in_thread(lambda: alloc.options(output=False).launch(len, "ab").wait(60))
    await heard()
    await in_thread(alloc.release)
    await heard()
    assert not any(topic.readers for topic in topics.values())
    assert seen[0] == ("granted", "unseen") and seen[-1] == ("released", "unseen") and ("ended", run.id) in seen


@on_loop
async def test_who_waits_is_seen_and_can_hang_up(four_devices: None, ask: Callable, open_socket: Callable) -> None:
    page = await open_socket("requests", "allocations")
    name = await granted(page, ask, count=4)
    code, answer = await ask("POST", "api", "requests", body={"count": 2, "name": "patient"})
    assert code == 201
    row = await page.until(lambda: next((r for r in page.tables["requests"].values() if r["id"] == answer["id"] and "held:" in r["text"]), None))
    assert row["state"] == "waiting" and name in row["text"]
    await page.until(lambda: page.row("allocations", name="patient", state="waiting"))
    assert (await ask("DELETE", "api", "requests", answer["id"]))[0] == 200
    await page.until(lambda: page.row("requests", id=answer["id"], state="cancelled"))
    await page.until(lambda: not page.row("allocations", name="patient"))
    assert (await ask("DELETE", "api", "requests", answer["id"]))[0] == 200  # forgotten
    assert (await ask("DELETE", "api", "requests", answer["id"]))[0] == 404
    await page.until(lambda: not page.row("requests", id=answer["id"]))
    code, again = await ask("POST", "api", "requests", body={"count": 1, "name": name})  # a double click
    await page.until(lambda: page.row("requests", id=again["id"], state="failed"))
    assert "in use" in page.tables["requests"][again["id"]]["text"]
    code, waiting = await ask("POST", "api", "requests", body={"count": 1, "name": "second"})
    await page.until(lambda: page.row("allocations", name="second", state="waiting"))
    assert (await ask("POST", "api", "allocations", "second", "release"))[0] == 200  # what waits can be released too
    await page.until(lambda: page.row("requests", id=waiting["id"], state="failed"))
    assert (await ask("POST", "api", "allocations", name, "release"))[0] == 200


@pytest.mark.parametrize("body,words", [
    ({"count": 9}, "cannot be had"), ({}, "count"), ({"count": "2"}, "count is int"), ({"count": 1, "gpus": 2}, "The options are"),
    ({"count": 1, "kind": "tpu"}, "no device of kind"), ({"count": 1, "name": "../x"}, "not a name"), ({"count": 1, "memory": "much"}, "not a size"),
    ({"count": 1, "options": {"partition": "gpu"}}, "options: engine 'local' has no option partition"),
    ({"count": 1, "options": "--time=5"}, "options is dict"),
    ({"count": 1, "engine": "slurm", "options": {"time": "soon"}}, "options: time is minutes"),
    ({"count": 1, "engine": "slurm", "options": {"nodes": "two"}}, "options: nodes is a whole number"),
    ({"count": 1, "engine": "slurm", "options": {"flags": "exclusive"}}, "options: flags are sbatch's"),
    ({"count": 1, "engine": "slurm", "options": {"partition": "a\n#SBATCH --uid=0"}}, "options: partition is one line"),
    ({"count": 1, "engine": "slurm", "options": {"memory": "4G"}}, "engine 'slurm' has no option memory"),
    ({"count": 1, "engine": "moon"}, "no engine"), ({"count": 1, "kernel": "no-such"}, "no kernel"), ([], "JSON object")])
@on_loop
async def test_a_wrong_request_is_answered_with_words(four_devices: None, ask: Callable, body: Any, words: str) -> None:
    code, answer = await ask("POST", "api", "requests", body=body)
    assert code == (404 if words == "no kernel" else 400) and words in answer["message"] and answer["type"], answer


@on_loop
async def test_no_path_leads_out_of_the_runs(http_server_client: Any, jp_auth_header: dict, jp_base_url: str, open_socket: Callable) -> None:
    make_run()
    (runs_directory().parent/"secret").mkdir(exist_ok=True)
    (runs_directory().parent/"secret"/"run.json").write_text("{}")
    for id in ("..%2fsecret", "%2e%2e%2fsecret", "..", "%2e%2e", ".", "..%5csecret", "%00", "x%2f..%2f..%2fsecret", "_x", "%252e%252e%252fsecret"):
        for method, path in (("GET", "source"), ("GET", "metrics.csv"), ("GET", "logs/0"), ("GET", "logs/0/part"), ("POST", "stop"), ("DELETE", "")):
            answer = await http_server_client.fetch(f"{jp_base_url}lepton-bench/api/runs/{id}/{path}".rstrip("/"), method=method, headers=jp_auth_header,
                                                    raise_error=False, follow_redirects=False, **({"body": "{}"} if method == "POST" else {}))
            assert answer.code in (404, 405), (id, method, path, answer.code)
    assert (runs_directory().parent/"secret"/"run.json").exists()
    page = await open_socket("logs/../secret/0", "run/../secret", "run/", "logs/x/0", "nonsense")
    while len([m for m in page.messages if "error" in m]) < 5: await page.read()
    header, _ = await page.series("../secret", 1)
    assert header["reply"]["kind"] == "gone"


@on_loop
async def test_a_kernel_owns_what_its_page_takes(four_devices: None, ask: Callable, open_socket: Callable, jp_fetch: Callable, jp_serverapp: Any) -> None:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    answer = await jp_fetch("api", "sessions", method="POST",
                            body=json.dumps({"path": "work/train.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}), request_timeout=60)
    kernel = json.loads(answer.body)["kernel"]["id"]
    manager = jp_serverapp.kernel_manager.get_kernel(kernel)
    client: AsyncKernelClient = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        page = await open_socket("requests", "allocations")
        name = await granted(page, ask, count=2, kernel=kernel, name="of-the-kernel")
        row = await page.until(lambda: page.row("allocations", name=name, state="idle"))
        assert row["mine_kernel"] == kernel and row["owner_alive"] and row["label"] == "train.ipynb"
        code = (f"import lepton_bench as lb\nalloc = lb.attach({name!r})\nassert alloc.options(output=False).launch(lambda: 41 + 1).results(60) == [42, 42]\n"
                "alloc.release()")
        reply = await client.execute_interactive(code, timeout=60, output_hook=lambda message: None)
        assert reply["content"]["status"] == "ok", reply["content"]
        await page.until(lambda: not page.row("allocations", name=name))
    finally:
        client.stop_channels()
        await jp_serverapp.kernel_manager.shutdown_kernel(kernel, now=True)


@on_loop
async def test_two_pages_of_one_run_share_what_was_read(jp_serverapp: Any, open_socket: Callable) -> None:
    import numpy as np
    from lepton_bench.metrics.storage import MetricsWriter, record_type
    from lepton_bench.store.runs import metrics_path
    run = make_run(status="done")
    points = np.zeros(50_000, record_type())
    points["step"], points["value"] = np.arange(50_000), np.sin(np.arange(50_000)/500)
    MetricsWriter(metrics_path(run.directory, 0)).write(0, points, ["loss"], len(points))
    pages = [await open_socket(), await open_socket()]
    answers = [await page.series(run.record.id, 7, width=200) for page in pages]
    assert answers[0] == answers[1] and len(answers[0][1]) == sum(answers[0][0]["sizes"]) < 2*8*1000
    assert len(jp_serverapp.web_app.settings["lepton_bench_service"].series_cache.kept) == 1
    header, numbers = await pages[1].series(run.record.id, 8, width=200, range=[1000, 1100])
    along = np.frombuffer(numbers[:header["sizes"][0]], "<f8")
    assert along[0] >= 900 and along[-1] <= 1200 and len(along) >= 100  # a part, with all its points
    for n in range(30): await pages[0].send(op="series", id=100 + n, run=run.record.id, system=False, want={"width": 100})
    await pages[0].until(lambda: len(pages[0].frames) == 31)
    assert [f[0]["id"] for f in pages[0].frames[1:]] == list(range(100, 130))  # in their order


# headless notebooks: what one takes, a sweep begun and looked at, and what is refused

def write_notebook(file: Any, *cells: str, tag: bool = True) -> None:
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook
    made = [new_code_cell(c, metadata={"tags": ["parameters"]} if tag and not n else {}) for n, c in enumerate(cells)]
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}), file)


@on_loop
async def test_a_sweep_from_the_form_to_its_removal(four_devices: None, ask: Callable, open_socket: Callable, jp_root_dir: Any) -> None:
    file = jp_root_dir/"work"/"train.ipynb"
    write_notebook(file, "lr = .1  # of the optimizer\nwidth = 32", "import lepton_bench as lb\nlb.record('loss', lr*width)", "assert width < 50, 'too wide'")
    code, form = await ask("GET", "api", "notebooks", "parameters", params={"path": "work/train.ipynb"})
    assert code == 200 and form["tagged"] and form["parameters"][0] == {"name": "lr", "default": ".1", "type": "", "help": "of the optimizer", "kind": "number"}
    page = await open_socket("runs")
    code, answer = await ask("POST", "api", "sweeps", body={"path": "work/train.ipynb", "space": {"lr": [.1, .01], "width": [32, 64]}, "retries": None})
    assert code == 201, answer
    row = await page.until(lambda: page.row("runs", id=answer["id"], status="failed"), 120)
    assert row["kind"] == "sweep" and row["sets"]["done"] == row["sets"]["failed"] == 2 and row["output"] == "work/train-sweep"
    assert row["progress"] == {"done": 4, "total": 4}
    await page.until(lambda: sum(r["parent"] == row["id"] and r["status"] in ("done", "failed") for r in page.tables["runs"].values()) == 4)
    sets = [r for r in page.tables["runs"].values() if r["parent"] == row["id"]]
    ended = {(r["parameters"]["lr"], r["parameters"]["width"], r["status"]) for r in sets}
    assert ended == {(lr, width, "done" if width < 50 else "failed") for lr in (.1, .01) for width in (32, 64)}
    assert all((jp_root_dir/r["output"]).is_file() and r["values"]["loss"] for r in sets)
    assert "too wide" in next(r["reason"] for r in sets if r["status"] == "failed")

    assert (await ask("POST", "api", "sweeps", sets[0]["id"], "again"))[0] == 400
    write_notebook(file, "lr = .1\nwidth = 32", "import lepton_bench as lb\nlb.record('loss', lr*width)")
    code, refused = await ask("POST", "api", "sweeps", row["id"], "again")
    assert code == 409 and refused["type"] == "NotebookChanged"
    assert await ask("POST", "api", "sweeps", row["id"], "again", body={"changed": "keep"}) == (200, {"id": row["id"]})
    await page.until(lambda: page.row("runs", id=row["id"], status="done"))
    assert page.row("runs", id=row["id"])["sets"]["done"] == 4

    assert (await ask("DELETE", "api", "runs", row["id"])) == (200, {})
    await page.until(lambda: not any(r["id"] == row["id"] or r["parent"] == row["id"] for r in page.tables["runs"].values()))
    assert all((jp_root_dir/r["output"]).is_file() for r in sets)  # the notebooks are the user's


@on_loop
async def test_a_sweep_is_stopped_and_what_goes_on_is_not_removed(four_devices: None, ask: Callable, open_socket: Callable, jp_root_dir: Any) -> None:
    write_notebook(jp_root_dir/"long.ipynb", "seed = 0", "import time\nwhile True: time.sleep(.1)")
    page = await open_socket("runs")
    code, answer = await ask("POST", "api", "sweeps", body={"path": "long.ipynb", "space": {"seed": [1, 2, 3]}, "parallel": 2})
    assert code == 201, answer
    await page.until(lambda: sum(r["parent"] == answer["id"] and r["status"] == "running" for r in page.tables.get("runs", {}).values()) == 2, 120)
    assert page.row("runs", id=answer["id"])["sets"]["waiting"] == 1
    assert (await ask("DELETE", "api", "runs", answer["id"]))[0] == 409
    assert (await ask("POST", "api", "runs", answer["id"], "stop"))[0] == 200
    await page.until(lambda: page.row("runs", id=answer["id"], status="stopped"))
    await page.until(lambda: all(r["status"] == "stopped" for r in page.tables["runs"].values() if r["parent"] == answer["id"]))
    assert (await ask("DELETE", "api", "runs", answer["id"])) == (200, {})


@pytest.mark.parametrize("path,code", [("train.ipynb", 200), ("../train.ipynb", 404), ("a/../../train.ipynb", 404), ("/etc/passwd", 404),
                                       (".hidden/train.ipynb", 404), ("none.ipynb", 404), ("text.txt", 400), ("folder", 404), ("", 400),
                                       ("broken.ipynb", 400), ("bare.ipynb", 200)])
@on_loop
async def test_a_notebook_is_found_by_the_rules_of_the_file_browser(ask: Callable, jp_root_dir: Any, path: str, code: int) -> None:
    for name in ("train.ipynb", ".hidden/train.ipynb", "../train.ipynb"): write_notebook(jp_root_dir/name, "lr = .1")
    write_notebook(jp_root_dir/"bare.ipynb", "lr = .1", tag=False)
    (jp_root_dir/"text.txt").write_text("x")
    (jp_root_dir/"broken.ipynb").write_text("{")
    (jp_root_dir/"folder").mkdir()
    before = sorted(p.name for p in runs_directory().glob("*"))
    found, answer = await ask("GET", "api", "notebooks", "parameters", params={"path": path})
    assert found == code and (code == 200 or answer["message"]), answer
    if code == 200: assert answer["tagged"] == bool(answer["parameters"]) == (path != "bare.ipynb")
    else: assert (await ask("POST", "api", "sweeps", body={"path": path, "space": {}}))[0] == code
    named = {"path": "train.ipynb", "space": {}}
    for body, words in (({**named, "space": {"lrr": [1]}}, "near: lr"), ({"path": "bare.ipynb", "space": {"lr": [1]}}, "tag `parameters`"),
                        ([], "JSON object"), ({**named, "output": "../out"}, "nothing at"), ({**named, "devices_each": 1000}, "1,000")):
        found, answer = await ask("POST", "api", "sweeps", body=body)
        assert found in (400, 404) and words in answer["message"], (body, answer)
    assert sorted(p.name for p in runs_directory().glob("*")) == before


# a server as a process of its own: killed, and started again

def test_everything_goes_on_without_the_server(new_place: Isolation) -> None:
    env = {"LEPTON_BENCH_SIMULATED": "3"}
    with JupyterProcess(new_place, env=env) as server:
        page = server.page("requests", "allocations", "devices")
        id = server.ask("POST", "api/requests", {"count": 2, "name": "lasting"})["id"]
        page.until(lambda: page.tables.get("requests", {}).get(id, {}).get("state") == "granted")
        page.until(lambda: page.tables.get("allocations", {}).get("lasting", {}).get("state") == "idle")
        waiting = server.ask("POST", "api/requests", {"count": 2, "name": "in-line"})["id"]
        page.until(lambda: page.tables["allocations"].get("in-line"))
        epoch = server.ask("GET", "api/status")["epoch"]
        server.kill()  # as a hub does it
    with JupyterProcess(new_place, base_url="/", env=env) as server:
        page = server.page("requests", "allocations", "devices")
        assert server.ask("GET", "api/status")["epoch"] != epoch
        page.until(lambda: {"requests", "allocations", "devices"} <= page.tables.keys())
        assert page.tables["requests"].get(waiting) is None  # who asked has gone, and his place in line with him
        page.until(lambda: list(page.tables["allocations"]) == ["lasting"])
        rows = page.tables["devices"].values()
        assert sorted(r["state"] for r in rows) == ["free", "held", "held"]
        assert all(len(r["history"]["use"]) >= 1 for r in rows)
        assert len(list((new_place.root/"home"/"devices").glob("*.history"))) == 1
        page.close()
        assert server.ask("POST", "api/allocations/lasting/release") == {}
