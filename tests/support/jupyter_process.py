"""A Jupyter server as a process of its own, configured by the file that comes with the package, and a page that talks to it."""
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from support.isolation import REPOSITORY, Isolation, patience
from websocket import WebSocket, create_connection

CONFIG = REPOSITORY/"jupyter-config"/"server-config"/"lepton_bench.json"


class JupyterProcess:
    "One server; `with` ends it."
    def __init__(self, place: Isolation, base_url: str = "/user/ann/", env: dict[str, str] | None = None) -> None:
        folder = place.root/"config"/"jupyter_server_config.d"
        folder.mkdir(exist_ok=True)
        shutil.copy(CONFIG, folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.token, self.base_url, self.log = secrets.token_hex(16), base_url, place.root/f"server-{self.port}.log"
        command = [sys.executable, "-m", "jupyter_server", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0",
                   "--ServerApp.open_browser=False", "--allow-root", f"--IdentityProvider.token={self.token}", f"--ServerApp.base_url={base_url}",
                   f"--ServerApp.root_dir={place.root}", "--ServerApp.allow_unauthenticated_access=False"]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, env={**place.environment(), **(env or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        self._wait()

    def _wait(self, timeout: float = 60.) -> None:
        end = time.monotonic() + timeout
        while True:
            try: return self.ask("GET", "api/status") and None
            except (OSError, urllib.error.URLError):
                assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()[-3000:]
                time.sleep(.05)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        "A request; what went wrong is an urllib.error.HTTPError."
        data = json.dumps({} if body is None else body).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.base_url}lepton-bench/{path}", data, {"Authorization": f"token {self.token}"},
                                         method=method)
        with urllib.request.urlopen(request, timeout=60) as answer: return json.loads(answer.read() or b"null")

    def page(self, *topics: str) -> "PageProcess": return PageProcess(self, *topics)

    @property
    def processor_seconds(self) -> float:
        "Processor time that the server has used, by /proc."
        with open(f"/proc/{self.process.pid}/stat") as file: fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12]))/os.sysconf("SC_CLK_TCK")

    @property
    def resident(self) -> int:  # bytes
        with open(f"/proc/{self.process.pid}/statm") as file: return int(file.read().split()[1])*os.sysconf("SC_PAGE_SIZE")

    def problems(self) -> list[str]:
        "What of the log should not be there, and what stands around it."
        lines = self.log.read_text().splitlines()
        words = ("Uncaught exception", "Exception in", "never retrieved", "Traceback (most recent", "connection has failed", "never awaited")
        found = [k for k, line in enumerate(lines) if any(word in line for word in words)]
        return ["\n".join(lines[max(0, k - 3):k + 25]) for k in found[:3]]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is not None: return
        self.process.terminate()
        try: self.process.wait(15)
        except subprocess.TimeoutExpired: self.kill()

    def __enter__(self) -> "JupyterProcess": return self
    def __exit__(self, *_: object) -> None: self.end()


def take_rows(tables: dict[str, dict[str, dict]], message: dict) -> None:
    "What a page does with a message about a table."
    if "upsert" not in message: return
    table = tables.setdefault(message["topic"], {})
    if message["full"]: table.clear()
    for row in message["upsert"]: table[row["key"]] = row
    for key in message["remove"]: table.pop(key, None)


class PageProcess:
    "A page without a browser: the tables that it has been told."
    def __init__(self, server: JupyterProcess, *topics: str) -> None:
        self.socket: WebSocket = create_connection(f"ws://127.0.0.1:{server.port}{server.base_url}lepton-bench/ws", timeout=60,
                                                   header=[f"Authorization: token {server.token}"], skip_utf8_validation=True)
        self.tables: dict[str, dict[str, dict]] = {}
        self.sizes: list[tuple[str, int]] = []  # topic and bytes of each message
        for topic in topics: self.send(op="subscribe", topic=topic)

    def send(self, **message: Any) -> None: self.socket.send(json.dumps(message))

    def read(self) -> dict:
        text = self.socket.recv()
        message = json.loads(text)
        self.sizes.append((message.get("topic", ""), len(text)))
        take_rows(self.tables, message)
        return message

    def until(self, found: Any, timeout: float = 60.) -> Any:
        end = time.monotonic() + patience(timeout)
        while not (value := found()):
            self.socket.settimeout(max(.01, end - time.monotonic()))
            self.read()
        return value

    def close(self) -> None: self.socket.close()
    def __enter__(self) -> "PageProcess": return self
    def __exit__(self, *_: object) -> None: self.close()
