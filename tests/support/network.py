"""Several hosts on one: network namespaces whose cables meet in a bridge, and what can go wrong with cables. For root on Linux, with Debian's iproute2.

A cable is a pair of veth devices, one end in a namespace. It can be cut, two namespaces can be kept from each other, and a bad cable, made of two TAP devices
and a process between them, delays packets and loses some. (`tc netem` would do that too, in kernels that have it.)
"""
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10)
    if done.returncode: raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def why_not() -> str:
    "Why there can be no network here; empty: there can."
    if not sys.platform.startswith("linux"): return "network namespaces are Linux's"
    if os.getuid(): return "only root may make network namespaces"
    if not shutil.which("ip"): return "there is no `ip`: apt install iproute2"
    name = f"lb{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        try:
            ip("link", "add", f"lb{os.getpid()}t", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("netns", "exec", name, "true")
        finally: ip("netns", "del", name)  # and what is in it
    except (RuntimeError, subprocess.TimeoutExpired) as e: return f"this host lets nobody make network namespaces ({e})"
    return ""


def need_network() -> None:
    "Skip what cannot be tried here; in a CI that is a failure."
    if not (why := why_not()): return
    if os.environ.get("CI"): pytest.fail(f"the network between hosts cannot be tested: {why}")
    pytest.skip(f"THE NETWORK BETWEEN HOSTS IS NOT TESTED: {why}")


class Network:
    "Namespaces with an address each, beside this host's own."

    def __init__(self, names: Sequence[str]) -> None:
        self.mark, self.names, self.wires = f"lb{os.getpid()}", list(names), dict[str, subprocess.Popen]()
        self.subnet = self._free_subnet()
        try:
            ip("link", "add", self.bridge, "type", "bridge")
            ip("addr", "add", f"{self.subnet}.254/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
            for name in names: self._plug(name)
        except BaseException: self.close(); raise

    def _free_subnet(self) -> str:
        "Of those that are set aside for trying networks (RFC 2544)."
        used = ip("-o", "addr")
        return next(found for _ in range(1000) if f"{(found := f'198.{random.choice((18, 19))}.{random.randrange(256)}')}." not in used)

    @property
    def bridge(self) -> str: return f"{self.mark}b"
    def space(self, name: str) -> str: return f"{self.mark}-{name}"
    def device(self, name: str) -> str: return f"{self.mark}v{self.names.index(name)}"
    def address(self, name: str) -> str: return f"{self.subnet}.{self.names.index(name) + 1}"

    def within(self, name: str) -> list[str]:
        "What to write before a command; the name may be one that is put in later: {node}."
        return ["ip", "netns", "exec", f"{self.mark}-{name}"]

    def _plug(self, name: str) -> None:
        ip("netns", "add", self.space(name))
        ip("link", "add", self.device(name), "type", "veth", "peer", "name", "eth0", "netns", self.space(name))
        ip("link", "set", self.device(name), "master", self.bridge, "up")
        self._address(name)

    def _address(self, name: str) -> None:
        ip("-n", self.space(name), "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
        for device in ("lo", "eth0"): ip("-n", self.space(name), "link", "set", device, "up")

    def cut(self, name: str) -> None:
        "As a cable that is cut beyond the switch: nothing comes through, and nobody is told."
        ip("link", "set", self.device(name), "nomaster")

    def mend(self, name: str) -> None: ip("link", "set", self.device(name), "master", self.bridge)

    def unplug(self, name: str) -> None:
        "Its interface sees that the cable is gone."
        ip("link", "set", self.device(name), "down")

    def plug_in(self, name: str) -> None: ip("link", "set", self.device(name), "up")

    def part(self, one: str, other: str) -> None:
        "These two reach everybody but each other: each has a wrong idea of where the other one is."
        for here, there in ((one, other), (other, one)):
            ip("-n", self.space(here), "neigh", "replace", self.address(there), "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")

    def unite(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)): ip("-n", self.space(here), "neigh", "del", self.address(there), "dev", "eth0")

    def worsen(self, name: str, delay: float, loss: float) -> None:
        "Replace a cable by a bad one: so many seconds each way, and of so many packets in one nothing is heard again."
        ip("link", "del", self.device(name))
        near = f"{self.mark}w{self.names.index(name)}"
        self.wires[name] = subprocess.Popen([sys.executable, Path(__file__).with_name("wire.py"), near, self.device(name), str(delay), str(loss)],
                                            stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        assert self.wires[name].stdout.readline() == "plugged in\n"
        ip("link", "set", near, "netns", self.space(name), "name", "eth0")
        ip("link", "set", self.device(name), "master", self.bridge, "up")
        self._address(name)

    def close(self) -> None:
        for wire in self.wires.values(): wire.kill(); wire.communicate()
        there = set(self.left())
        for device in (*map(self.device, self.names), self.bridge):
            if device in there: ip("link", "del", device)  # the other end goes with it
        for name in self.names:
            if self.space(name) in there: ip("netns", "del", self.space(name))

    def left(self) -> list[str]:
        "What is there of it."
        links = [line.split()[0].partition("@")[0] for line in ip("-br", "link").splitlines()]
        return [s for s in spaces() if s.startswith(f"{self.mark}-")] + [link for link in links if link.startswith(self.mark)]


def spaces() -> list[str]: return [line.split()[0] for line in ip("netns", "list").splitlines()]
