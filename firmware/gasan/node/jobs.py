"""What a gateway asks for and may take a while: commands and puts, one at a time, each command only once.

`node.orders()` has `await command(name, args)` -> (status, text) and `await put(kind, hash, total, offset,
data)` -> (next offset, status). A put may come twice, as the gateway repeats what is not answered; the app
tells by its answer where to go on. The same command, known by its id, is answered again without being done.
"""

import asyncio

from gasan.node import log
from gasan.wire import cbor
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

# The protocol's numbers, as gasan.wire.link names them.
_PUT_ACK = const(0x16)
_COMMAND = const(0x17)
_RESULT = const(0x18)
_PUT_REFUSED = const(2)

_JOBS_MAX = const(4)
_RESULTS_KEPT = const(4)
_TEXT_MAX = const(500)  # characters of a RESULT
_FAILED = const(3)  # status of a RESULT whose command raised


class Jobs:
    """A short queue and who works on it. answer: called with (kind, body) of each answer."""

    def __init__(self, node: "Any", answer: "Any") -> None:
        self._node = node
        self._answer = answer
        self._jobs: list[tuple[int, list[Any]]] = []  # (kind, body); the first is being worked on
        self._results: list[list[Any]] = []  # bodies of the last RESULTs
        self._worker: asyncio.Task | None = None

    def add(self, kind: int, body: "list[Any]") -> bool:
        """Take a PUT or a COMMAND; False if the queue is full."""
        if (kind, body) not in self._jobs:
            for result in self._results:
                if kind == _COMMAND and result[0] == body[0]:
                    self._answer(_RESULT, cbor.dumps(result))
                    return True
            if len(self._jobs) >= _JOBS_MAX:
                return False
            self._jobs.append((kind, body))
        if not self._worker or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return True

    async def _work(self) -> None:
        """Do all there is, whatever a job raises."""
        while self._jobs:
            try:
                await self._do(*self._jobs[0])
            except Exception as error:  # there was no memory to answer; the gateway asks again
                log.error(repr(type(error)))
            self._jobs.pop(0)

    async def _do(self, kind: int, body: "list[Any]") -> None:
        """Do one job. If it raises, the asker hears of it."""
        if kind == _COMMAND:
            # Before it is done: were there no memory to note it after that, it would be done again.
            result = [body[0], _FAILED, "no memory"]
            self._results = self._results[1 - _RESULTS_KEPT :] + [result]
            try:
                status, text = await self._node.orders().command(body[1], body[2])
                result[1], result[2] = status, text[:_TEXT_MAX]
            except Exception as error:
                log.error(log.trace(error))
                result[2] = repr(error)[:_TEXT_MAX]
            self._answer(_RESULT, cbor.dumps(result))
        else:
            try:
                offset, status = await self._node.orders().put(*body)
            except (OSError, TypeError, ValueError) as error:  # no memory now is no refusal
                log.error(log.trace(error))
                offset, status = body[3], _PUT_REFUSED
            self._answer(_PUT_ACK, cbor.dumps([body[0], body[1], offset, status]))
