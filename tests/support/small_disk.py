"""A real disk that is soon full: a small tmpfs. Needs root; elsewhere the test is skipped, and says so."""
import contextlib
import ctypes
import errno
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[str]:  # size in bytes; why it is not mounted
    "A tmpfs of `size` bytes at `folder`, if this process may mount one."
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir(parents=True, exist_ok=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) != 0:
        problem = errno.errorcode.get(ctypes.get_errno(), "?")
        print(f"FULL DISK NOT TESTED: mounting a tmpfs failed ({problem}): needs root", flush=True)
        yield problem
        return
    try: yield ""
    finally:
        if libc.umount2(os.fsencode(folder), 2) != 0: raise OSError(ctypes.get_errno(), f"{folder} cannot be unmounted")


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:  # size in bytes
    "The same for a test, which is skipped where that is not possible."
    with mounted(folder, size) as problem:
        if problem:
            warnings.warn(f"FULL DISK NOT TESTED: mounting a tmpfs failed ({problem}); run this test as root", stacklevel=2)
            pytest.skip(f"a small disk cannot be mounted here ({problem}): needs root")
        yield folder


def fill(folder: Path, leave: int = 0) -> Path:  # bytes to leave free
    "Fill a disk; the file that does it."
    path = folder/"ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)): pass
        except OSError as e: assert e.errno == errno.ENOSPC
        if leave: file.truncate(max(0, file.tell() - leave))
    return path
