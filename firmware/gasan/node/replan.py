"""The blocks of a line, made anew while it runs, as what is known of its devices wants them. See learn.py."""

from heapq import heapify, heappop
from time import ticks_diff

from gasan.node.facts import Facts, Shelf, items_of, span
from gasan.node.poll import Block
from gasan.wire.modbus_plan import cut
from gasan.wire.modbus_read import read_request
from gasan.wire.modbus_rtu import with_crc
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gasan.node.poll import Poller

STALE = const(24)  # groups that wait for their rows to be written


class Replanner:
    """Replaces blocks of one line. A family is what may be read together: same device, function, period."""

    def __init__(self, poller: "Poller") -> None:
        self._poller = poller
        self._dirty: "list[list]" = []  # [facts, period, since]: families to be planned anew
        self._stale: "list[Any]" = []  # groups without a block, whose rows are yet to be written

    def _block(self, facts: Facts, items: "list[tuple]", period: int, due: "Any") -> Block:
        first = items[0][0]
        count = max([item[1] for item in items]) - first
        request = read_request(facts.unit, facts.function, first, count)
        layout = bytearray()
        for item in items:
            at = item[0] - first
            layout.append(at >> 3 if facts.function < 3 else 2 * at + item[4])
            layout.append(at & 7 if facts.function < 3 else item[5])
        poller = self._poller
        group = poller._sampler.group([item[2] for item in items], bytes([item[3] for item in items]), period)
        if poller._patient:  # frames of RTU
            request = with_crc(request)
        block = Block(facts.device, request, bytes(layout), group)
        block.due = due
        return block

    def _replace(self, old: "list[Block]", new: "list[Block]") -> None:
        poller = self._poller
        for block in old:
            rows = getattr(block.group, "rest", block.group)
            if rows:
                self._stale.append(rows)
        poller._blocks = [block for block in poller._blocks if block not in old] + new
        poller._following = None
        if len(self._stale) > STALE // 2:
            poller._sampler._full = True  # write them soon

    def _drop_stale(self) -> None:
        """Forget groups whose rows are in a frame; that of the last answer may have one to come."""
        poller = self._poller
        groups = getattr(poller._sampler, "groups", self._stale)
        kept = [getattr(b.group, "rest", b.group) for b in (poller._block, poller._held) if b]
        for group in list(self._stale):
            if not group.n and group not in kept:
                self._stale.remove(group)
                if group in groups:
                    groups.remove(group)

    def _soil(self, facts: Facts, period: int, now: "Any") -> None:
        """The blocks of a family may be better planned now."""
        if not any(one[0] is facts and one[1] == period for one in self._dirty):
            self._dirty.append([facts, period, now])

    def _soil_all(self, facts: Facts, now: "Any") -> None:
        for period in {block.group.period_ms for block in self._poller._blocks}:
            self._soil(facts, period, now)

    def _tidy(self, now: "Any") -> None:
        """Plan anew what has been told by all its blocks."""
        for one in list(self._dirty):
            facts, period, since = one
            blocks = self._family(facts, period)
            # A register that was refused alone stays alone until it is retired or read.
            accused = [block for block in blocks if block.trust < 0 and len(block.layout) == 2]
            blocks = [block for block in blocks if block not in accused]
            tried = all(block.trust > 0 for block in blocks)
            due = {block.due for block in blocks}
            patient = ticks_diff(now, since) < 2 * period
            if tried and (len(due) == 1 or not patient):
                self._dirty.remove(one)
                self._plan(facts, period, blocks, accused)

    def _family(self, facts: Facts, period: int) -> "list[Block]":
        return [
            block
            for block in self._poller._blocks
            if block.device is facts.device
            and block.request[1] == facts.function
            and block.group.period_ms == period
        ]

    def _plan(
        self, facts: Facts, period: int, blocks: "list[Block]", accused: "Sequence[Block]" = ()
    ) -> None:
        heap = [item for block in blocks for item in items_of(block)]
        heapify(heap)
        items = [heappop(heap) for _ in range(len(heap))]
        if not items:
            return
        _, hole, request, register = facts.device.limits  # type: ignore[attr-defined]
        walls = []
        for one in facts.walls + facts.shelf:
            walls += one[:2]
        for block in accused:
            walls += span(block)
        old = list(blocks)
        new = []
        i = 0
        starts, ends = [item[0] for item in items], [item[1] for item in items]
        for j in cut(starts, ends, facts.limit(), (request, register), hole, walls):
            run = items[i:j]
            same = [block for block in old if block.layout and items_of(block) == run]
            if same:
                old.remove(same[0])
            else:
                new.append(run)
            i = j
        if not new:
            return
        due = old[0].due
        for block in old:
            if ticks_diff(block.due, due) > 0:
                due = block.due
        for block in old:  # what another of them has been read for already
            self._poller._sampler.missed(block.group, (ticks_diff(due, block.due) + period // 2) // period)
        self._replace(old, [self._block(facts, run, period, due) for run in new])

    def _shelves(self, facts: Facts, period: int = 0) -> "list[Block]":
        """The blocks of what is retired; period 0: of any."""
        return [
            block
            for block in self._poller._blocks
            if isinstance(block.device, Shelf)
            and block.device.facts is facts
            and (not period or block.group.period_ms == period)
        ]
