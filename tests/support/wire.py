"""A bad cable: two TAP devices, and every packet that goes in at one end comes out at the other later, or not at all.

    python tests/support/wire.py NEAR FAR DELAY LOSS     names of the devices, seconds each way, part of the packets that is lost; ends when its input does
"""
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454ca, 2, 0x1000


def tap(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def main(near: str, far: str, delay: float, loss: float) -> None:
    ends = tap(near), tap(far)
    other, under_way = dict(zip(ends, reversed(ends))), deque[tuple[float, int, bytes]]()
    print("plugged in", flush=True)
    while True:
        wait = max(0., under_way[0][0] - time.monotonic()) if under_way else None
        ready = select.select([*ends, sys.stdin], [], [], wait)[0]
        if sys.stdin in ready: return
        for fd in ready: take(fd, other[fd], under_way, delay, loss)
        while under_way and under_way[0][0] <= time.monotonic():
            _, fd, packet = under_way.popleft()
            try: os.write(fd, packet)
            except OSError: pass  # that end is not up


def take(fd: int, to: int, under_way: deque, delay: float, loss: float) -> None:
    while True:
        try: packet = os.read(fd, 1 << 16)
        except OSError: return
        if random.random() >= loss: under_way.append((time.monotonic() + delay, to, packet))


if __name__ == "__main__": main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
