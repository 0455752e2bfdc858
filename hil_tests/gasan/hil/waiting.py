"""Waiting for what is to happen in the same event loop."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["until"]


async def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until it is so. AssertionError when it is not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)
