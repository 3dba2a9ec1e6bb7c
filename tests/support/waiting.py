"""Waiting for what must happen: bounded, and generously, since what else this machine does is not known."""
import time
from collections.abc import Callable
from typing import Any

from support.isolation import patience


def until(condition: Callable[[], Any],
          what: str = "the condition",  # that is waited for, in the message of a failure
          timeout: float = 30.,  # seconds; three times as long beside other tests
          look: Callable[[], Any] | None = None,  # says what is there instead
          every: float = .02,  # seconds between two looks
          ) -> Any:  # what the condition gave
    "Poll a condition until it gives something; AssertionError if it does not."
    end = time.monotonic() + patience(timeout)
    while True:
        if value := condition(): return value
        if time.monotonic() > end: raise AssertionError(f"{what}: not within {patience(timeout):.0f} s" + (f". There is: {look()}" if look else ""))
        time.sleep(every)
