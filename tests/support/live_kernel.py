"""A kernel as a notebook front end holds it."""
import itertools
import os
import re
import time
from pathlib import Path

from support.isolation import REPOSITORY

_numbers = itertools.count()


class Kernel:
    "A live ipykernel, held as a notebook front end holds it."

    def __init__(self, env: dict[str, str] | None = None, cwd: Path = REPOSITORY, name: str = "python3") -> None:
        from jupyter_client.manager import KernelManager
        # sockets that are files: two test runs side by side take each other's ports between finding one free and binding it
        self.manager = KernelManager(kernel_name=name, transport="ipc", ip=str(Path(os.environ["JUPYTER_RUNTIME_DIR"])/f"k{os.getpid()}-{next(_numbers)}"))
        self.manager.start_kernel(env={**os.environ, **(env or {})}, cwd=str(cwd))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.messages: list[dict] = []  # outputs of the last cell
        self.closed = False

    @property
    def pid(self) -> int: return self.manager.provisioner.pid

    def run(self, code: str, timeout: float = 60., check: bool = True) -> str:
        "Runs one cell; its text output, or AssertionError with the traceback when it failed."
        text: list[str] = []
        self.messages = []

        def take(message: dict) -> None:
            kind, content = message["msg_type"], message["content"]
            self.messages.append(message)
            if kind == "stream": text.append(content["text"])
            elif kind == "error": text.append(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"])))
            elif kind in ("execute_result", "display_data"): text.append(content["data"].get("text/plain", "") + "\n")
        reply = self.client.execute_interactive(code, timeout=timeout, output_hook=take)
        output = "".join(text)
        if check: assert reply["content"]["status"] == "ok", f"the cell failed:\n{code}\n{output[-4000:]}"
        return output

    def value(self, expression: str, timeout: float = 60.):
        "The value of an expression in the kernel; it has to be fit for JSON."
        import json
        return json.loads(self.run(f"import json as _j; print('@@' + _j.dumps({expression}) + '@@')", timeout).split("@@")[-2])

    def round_trip(self) -> float:
        "Seconds that a cell takes which does nothing, the median of eleven."
        times = []
        for _ in range(11):
            start = time.monotonic()
            self.run("1")
            times.append(time.monotonic() - start)
        return sorted(times)[5]

    def interrupt(self) -> None: self.manager.interrupt_kernel()

    def kill(self) -> None:
        "kill -9, as the out-of-memory killer does it."
        import signal
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        "End it; a second time does nothing."
        if self.closed: return
        self.closed = True
        try: self.client.stop_channels()
        finally: self.manager.shutdown_kernel(now=False)
