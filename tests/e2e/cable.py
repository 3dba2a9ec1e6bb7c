"""A network cable between a browser and a server, which a test can cut: bytes stop, and nobody is told."""
import selectors
import socket
import threading
from contextlib import suppress


class Cable:
    "Forwards a port of its own to another one until it is closed."

    def __init__(self, port: int  # of the server
                 ) -> None:
        self.target, self.whole, self.over = port, threading.Event(), False
        self.whole.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def cut(self) -> None: self.whole.clear()

    def mend(self) -> None: self.whole.set()

    def _accept(self) -> None:
        while not self.over:
            try: near, _ = self.listener.accept()
            except OSError: return
            thread = threading.Thread(target=self._forward, args=(near,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _forward(self, near: socket.socket) -> None:
        self.whole.wait()
        try: far = socket.create_connection(("127.0.0.1", self.target))
        except OSError: return near.close()
        self.sockets += [near, far]
        with near, far, selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    if not (data := key.fileobj.recv(1 << 16)): return
                    self.whole.wait()
                    key.data.sendall(data)

    def close(self) -> None:
        self.over = True
        self.whole.set()
        for s in (self.listener, *self.sockets):
            with suppress(OSError): s.shutdown(socket.SHUT_RDWR)
        for thread in self.threads: thread.join(5)  # who waits for a socket hears of its end, but not of its closing
        for s in (self.listener, *self.sockets): s.close()
