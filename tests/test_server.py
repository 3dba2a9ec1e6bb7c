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
    url, (cookie, _) = f"ws://localhost:{jp_http_port}{jp_base_url}lepton-bench/ws", await log_in()
    with pytest.raises(HTTPClientError) as refused:
        await websocket_connect(HTTPRequest(url, headers={**cookie, "Origin": "http://elsewhere.example"}))
    assert refused.value.code == 403
    page = await websocket_connect(HTTPRequest(url, headers={**cookie, "Origin": f"http://localhost:{jp_http_port}"}))
    page.close()
