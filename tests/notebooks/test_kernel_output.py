"""Fast output of a forked kernel as JupyterLab gets it, through the server's websocket: all that a stock kernel keeps, in the same words."""
import json
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
from support.isolation import Isolation, patience
from support.jupyter_process import JupyterProcess
from websocket import create_connection

MANY = 600  # below the 1000 messages that ZeroMQ holds for a reader: a stock kernel drops what comes on top
APPENDS = 200  # each sends all that there is so far
CELLS = {
    "writes": f"for i in range({MANY}): print('line', i, flush=True)",
    "buffered": "for i in range(20_000): print('line', i)",
    "logging": f"import logging\nlogging.basicConfig(level=20)\nfor i in range({MANY}): logging.info('said %d', i)",
    "displays": f"handle = display('start', display_id=True)\nfor i in range({MANY}): handle.update(i)",
    "widget": f"import ipywidgets\narea = ipywidgets.Output()\ndisplay(area)\nfor i in range({APPENDS}): area.append_stdout(f'inside {{i}}\\n')",
}


class ServerKernel:
    "A kernel that a Jupyter server has started."
    def __init__(self, server: JupyterProcess, name: str) -> None:
        self.address, self.headers = f"127.0.0.1:{server.port}{server.base_url}api/kernels", {"Authorization": f"token {server.token}"}
        with urllib.request.urlopen(self.request("", "POST", {"name": name}), timeout=patience(60)) as answer: self.id = json.load(answer)["id"]
        self.socket = create_connection(f"ws://{self.address}/{self.id}/channels?session_id=a", timeout=patience(60), skip_utf8_validation=True,
                                        header=[f"{k}: {v}" for k, v in self.headers.items()])

    def request(self, path: str, method: str, body: dict | None = None) -> urllib.request.Request:
        return urllib.request.Request(f"http://{self.address}{path}", None if body is None else json.dumps(body).encode(), self.headers, method=method)

    def run(self, code: str) -> list[dict]:
        "What a cell publishes, until the kernel is idle again and has replied."
        asked, found, left = uuid.uuid4().hex, [], {"reply", "idle"}
        header = {"msg_id": asked, "msg_type": "execute_request", "username": "", "session": "a", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        self.socket.send(json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []}))
        while left:
            message = json.loads(self.socket.recv())
            if message["parent_header"].get("msg_id") != asked: continue
            found.append(message)
            if message["msg_type"] == "execute_reply":
                assert message["content"]["status"] == "ok", message
                left.discard("reply")
            elif message["msg_type"] == "status": left -= {message["content"]["execution_state"]}
        return found

    def close(self) -> None:
        self.socket.close()
        urllib.request.urlopen(self.request(f"/{self.id}", "DELETE"), timeout=patience(60)).close()


@pytest.fixture(scope="module")
def server(place: Isolation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    "It passes everything on: by default it drops what comes faster than a thousand messages a second, of any kernel."
    folder = tmp_path_factory.mktemp("config")
    (folder/"jupyter_server_config.json").write_text(json.dumps({"ZMQChannelsWebsocketConnection": {"limit_rate": False}}))
    with JupyterProcess(place, env={"LEPTON_BENCH_SIMULATED": "1", "JUPYTER_CONFIG_PATH": str(folder)}) as found: yield found


def text(messages: list[dict], name: str) -> str:
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream" and m["content"]["name"] == name)


@pytest.mark.parametrize("name", ["lepton-1", "python3"])
def test_nothing_is_lost_on_the_way_to_jupyterlab(server, name):
    kernel = ServerKernel(server, name)
    try: said = {cell: kernel.run(code) for cell, code in CELLS.items()}
    finally: kernel.close()
    assert text(said["writes"], "stdout") == "".join(f"line {i}\n" for i in range(MANY))
    assert text(said["buffered"], "stdout") == "".join(f"line {i}\n" for i in range(20_000))
    assert text(said["logging"], "stderr") == "".join(f"INFO:root:said {i}\n" for i in range(MANY))
    updates = [m["content"]["data"]["text/plain"] for m in said["displays"] if m["msg_type"] == "update_display_data"]
    assert updates == [str(i) for i in range(MANY)]
    outputs = [m["content"]["data"]["state"].get("outputs", []) for m in said["widget"] if m["msg_type"] == "comm_msg"]
    assert [len(o) for o in outputs if o][-1] >= 1 and "".join(o["text"] for o in outputs[-1]).endswith(f"inside {APPENDS - 1}\n") and len(outputs) >= APPENDS
