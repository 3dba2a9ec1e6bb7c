"""The server extension: a real Jupyter server with logins, real allocations and runs, real sockets."""
import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClientConnection

from lepton_bench.jupyter.server import ROUTES
from lepton_bench.runs.store import RunWriter, new_record, new_run_id, runs_directory

pytest_plugins = ["pytest_jupyter.jupyter_server"]
PREFIXES = ("/", "/lab/here/", "/user/ann/")


@pytest.fixture(params=["/user/ann/"])
def jp_base_url(request: pytest.FixtureRequest) -> str: return request.param


@pytest.fixture
def jp_server_config() -> dict:
    return {"ServerApp": {"jpserver_extensions": {"lepton_bench": True}, "allow_unauthenticated_access": False}}


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
        if "upsert" in message:
            table = self.tables.setdefault(message["topic"], {})
            if message["full"]: table.clear()
            for row in message["upsert"]: table[row["key"]] = row
            for key in message["remove"]: table.pop(key, None)
        return message

    async def until(self, found: Callable[[], Any], timeout: float = 60.) -> Any:
        "Read on until something is there."
        end = time.monotonic() + timeout
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


# who may ask

@pytest.mark.parametrize("jp_base_url", PREFIXES, indirect=True)
async def test_every_door_is_closed_without_a_token(jp_serverapp: Any, http_server_client: Any, jp_base_url: str) -> None:
    ours = [r.matcher.regex.pattern for rule in jp_serverapp.web_app.wildcard_router.rules + jp_serverapp.web_app.default_router.rules
            for r in getattr(rule.target, "rules", [rule]) if hasattr(r.matcher, "regex") and "lepton-bench" in r.matcher.regex.pattern]
    assert len(ours) == len(ROUTES), ours
    for method, path in addresses():
        answer = await http_server_client.fetch(jp_base_url + path, method=method, raise_error=False, follow_redirects=False,
                                                **({"body": "{}"} if method in ("POST", "PUT") else {}))
        assert answer.code == 403, (method, path, answer.code)


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

async def test_a_page_sees_runs_devices_and_what_changes(four_devices: None, open_socket: Callable, ask: Callable) -> None:
    code, status = await ask("GET", "api", "status")
    assert code == 200 and status["home"] and status["survives"] in (True, False) and status["survives_why"]
    run = make_run(name="first", status="running")
    page = await open_socket("runs", "devices", "allocations", "requests")
    await page.until(lambda: {"runs", "devices", "allocations", "requests"} <= page.tables.keys() and page.row("runs", id=run.record.id))
    assert [r["label"] for r in page.tables["devices"].values()] == [f"sim-{n}" for n in range(4)]
    assert page.row("devices", key="sim-0")["history"]["use"] == [0]
    await page.send(op="subscribe", topic=f"run/{run.record.id}")
    assert (await page.until(lambda: page.row(f"run/{run.record.id}")))["cwd"] == run.record.cwd
    run.update(status="failed", reason="rank 1 raised ValueError", extra={"values": {"loss": float("nan"), "accuracy": .5}})
    row = await page.until(lambda: page.row("runs", status="failed"))
    assert row["values"] == {"loss": "nan", "accuracy": .5}  # JSON has no nan
    assert (await ask("DELETE", "api", "runs", run.record.id)) == (200, {})
    await page.until(lambda: not page.row("runs", id=run.record.id))
    await page.until(lambda: any("no run" in m.get("error", "") for m in page.messages if m["topic"].startswith("run/")))
    assert not [p for p in runs_directory().iterdir() if run.record.id in p.name]
    await page.send(op="ping")
    await page.until(lambda: {"op": "pong"} in page.messages)


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


async def test_thousands_of_runs_come_in_parts(open_socket: Callable) -> None:
    for _ in range(1300): make_run(status="done")
    start, page = time.monotonic(), await open_socket("runs")
    await page.until(lambda: len(page.tables.get("runs", {})) >= 1300)
    parts = [m for m in page.messages if m["topic"] == "runs"]
    print(f"{time.monotonic() - start:.2f} s, {[len(m['upsert']) for m in parts]} rows")
    assert [m["full"] for m in parts] == [True] + [False]*(len(parts) - 1) and max(len(m["upsert"]) for m in parts) <= 500
    keys = [r["key"] for r in parts[0]["upsert"]]
    assert keys == sorted(keys, reverse=True)  # the newest first


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
