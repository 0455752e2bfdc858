"""One connection with faults: which bytes come out when. Pure; times are ns of the caller's clock."""

import heapq
import itertools
from typing import NamedTuple

from gasan.hil.rs485.bus import MASTER, OUTSIDE, RESPONDER
from gasan.hil.rs485.faults import Direction, with_crc
from gasan.hil.rs485.responder import Responder
from gasan.hil.tcp.faults import Sending, TcpFaultPlan

__all__ = ["Piece", "Stream"]

_HEAD = 6


class Piece(NamedTuple):
    """Bytes that come out at a station; none: the connection is closed."""

    time: int
    station: int
    data: bytes


class Stream:
    """A connection from a master to a server outside, or to the responder inside.

    latency_ns: each way. rtu: the frames are those of RTU, and each `send` is one.
    """

    def __init__(
        self,
        faults: TcpFaultPlan | None = None,
        responder: Responder | None = None,
        latency_ns: int = 100_000,
        rtu: bool = False,
    ) -> None:
        self.faults = faults
        self.responder = responder
        self.closed = False
        self.mute = False
        self._latency = latency_ns
        self._rtu = rtu
        self._kept = {MASTER: b"", OUTSIDE: b""}  # the beginning of a frame
        self._held: dict[Direction, list[Sending]] = {"request": [], "answer": []}
        self._numbers = itertools.count()
        self._frames: list[tuple[int, int, int, Sending]] = []  # when they leave, to which station
        self._pieces: list[tuple[int, int, Piece]] = []
        self._busy = {MASTER: 0, OUTSIDE: 0, RESPONDER: 0}

    def send(self, station: int, data: bytes, now: int) -> None:
        """A station (MASTER or OUTSIDE) writes bytes, in any pieces."""
        if self.closed or self.mute:
            return
        if self._rtu:
            self._frame(station, data, now)
            return
        data = self._kept[station] + data
        while len(data) >= _HEAD:
            size = _HEAD + int.from_bytes(data[4:6], "big")
            if len(data) < size:
                break
            self._frame(station, data[:size], now)
            data = data[size:]
        self._kept[station] = data

    def next_time(self) -> int | None:
        """When `run` is to be called next; None: not before somebody sends."""
        return min([queue[0][0] for queue in (self._frames, self._pieces) if queue], default=None)

    def run(self, now: int) -> list[Piece]:
        """Let time pass until ``now``; returns what has come out, in order."""
        out: list[Piece] = []
        while (due := self.next_time()) is not None and due <= now:
            if self._pieces and self._pieces[0][0] == due:
                piece = heapq.heappop(self._pieces)[2]
                if piece.station == RESPONDER:
                    self._respond(piece)
                else:
                    out.append(piece)
            else:
                time, _, target, sending = heapq.heappop(self._frames)
                self._leave(target, sending, time)
        return out

    def _frame(self, station: int, frame: bytes, now: int) -> None:
        """A whole frame is to leave."""
        direction: Direction = "request" if station == MASTER else "answer"
        target = MASTER if station != MASTER else OUTSIDE if self.responder is None else RESPONDER
        sending = Sending([(0, frame)]) if self.faults is None else self.faults.sending(direction, frame)
        if sending.mute:
            self.mute = True
            self._frames.clear()
            self._pieces.clear()
        elif sending.close:
            self.closed = True
            self._leave(target, sending, now + self._latency)
            for end in (MASTER, OUTSIDE):
                self._push(Piece(max(now + self._latency, self._busy[end]), end, b""))
        elif sending.held:
            self._held[direction].append(sending)
        elif sending.pieces:
            first = sending.pieces[0][0]
            for one in (sending, *self._held[direction]):
                heapq.heappush(self._frames, (now + self._latency + first, next(self._numbers), target, one))
            self._held[direction] = []

    def _leave(self, target: int, sending: Sending, now: int) -> None:
        """The pieces of a frame follow each other; nothing gets in between."""
        time = max(now, self._busy[target])
        for i, (pause, data) in enumerate(sending.pieces):
            time += pause if i else 0
            self._push(Piece(time, target, data))
        self._busy[target] = time

    def _push(self, piece: Piece) -> None:
        heapq.heappush(self._pieces, (piece.time, next(self._numbers), piece))

    def _respond(self, piece: Piece) -> None:
        assert self.responder is not None
        frame = piece.data if self._rtu else self._kept.pop(RESPONDER, b"") + piece.data
        if self._rtu:
            answer = self.responder.respond(frame, piece.time)
            if answer is not None:
                self._frame(RESPONDER, answer[1], piece.time + answer[0])
            return
        while len(frame) >= _HEAD and len(frame) >= (size := _HEAD + int.from_bytes(frame[4:6], "big")):
            answer = self.responder.respond(with_crc(frame[_HEAD:size]), piece.time)
            if answer is not None:
                body = answer[1][:-2]
                head = frame[:4] + len(body).to_bytes(2, "big")
                self._frame(RESPONDER, head + body, piece.time + answer[0])
            frame = frame[size:]
        self._kept[RESPONDER] = frame
