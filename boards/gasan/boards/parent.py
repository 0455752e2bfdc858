"""Helper processes end with the process that started them, however it ended."""

from __future__ import annotations

import asyncio
import os

__all__ = ["parent_gone"]


async def parent_gone(poll_s: float = 0.5) -> None:
    """Return once the process that started this one is no more (an orphan's parent changes)."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel has no event for it that is portable
        await asyncio.sleep(poll_s)
