"""What a device refuses: learned from its exceptions, and forgotten again. Loaded with the first exception.

A read that is refused ("illegal data address", "illegal data value") is split, and both halves are read at
once, so that no channel waits while a device is learned. A seam between two halves that pass, though the
whole did not, is a wall: a hole, or a border, that no read crosses. Where nothing unknown was read, the
length was refused. A register that is refused alone again and again is retired: its channel says so without
taking line time. Walls and retired registers are probed after growing pauses; the first retired one that
answers brings back all. Blocks that have passed before are split only after several refusals in a row, and
not while the device refuses everything: noise must teach nothing.

Source: MODBUS Application Protocol V1.1b3 (7: exception codes 2 and 3).
"""

from heapq import heapify, heappop
from time import ticks_add, ticks_diff, ticks_ms

from gasan.node.facts import RANGES, Facts, Shelf, items_of, span
from gasan.node.keeper import Keeper
from gasan.node.poll import Block
from gasan.node.replan import STALE, Replanner
from gasan.node.urgent import Busy, Urgent
from gasan.wire.modbus_read import read_request
from gasan.wire.quality import EXCEPTION, NO_VALUE
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.poll import Poller

_ADDRESS = const(2)  # exception codes
_VALUE = const(3)
_STRIKES = const(-3)  # trust of a register alone, at which it is retired
_SPLITS = const(48)  # in a period, of one device and function
_PROBE_MS = const(2000)  # between two probes of a line, in the mean
_PROBES = const(3)  # at once
_SHELF_MS = const(4000)  # first pause of a retired register, doubled up to 32 s
_SHELF_STEPS = const(3)
_SHELF_ITEMS = const(50)
_WALL_MS = const(60000)  # first pause of a wall, four times as long each time, up to 17 hours
_WALL_STEPS = const(5)


class Learner(Replanner):
    """Keeps the blocks of one line as its devices take them."""

    def __init__(self, poller: "Poller") -> None:
        super().__init__(poller)
        self._facts: "list[Facts]" = []
        self._probes: "list[Any]" = []  # under way: (request, facts, [first, end, probes, tick])
        self._next = ticks_ms()
        self._kept = Keeper(poller)

    def settled(self, block: Block, quality: int) -> bool:
        """A transaction has ended; True: its block was split, and the halves are due at once."""
        try:
            return self._settled(block, quality, ticks_ms())
        except MemoryError:
            return False  # all stays as it is

    def _settled(self, block: Block, quality: int, now: "Any") -> bool:
        taken = False
        if quality < NO_VALUE:
            if block.trust <= 0:
                self._passed(block, now)
            elif self._facts:
                self._of(block).passed = now
        elif quality == EXCEPTION + _ADDRESS or quality == EXCEPTION + _VALUE:
            block.trust -= 1
            taken = block.trust < 0 and self._refused(block, quality - EXCEPTION, now)
        if self._dirty:
            self._tidy(now)
        if self._stale:
            self._drop_stale()
        self._probe(now)
        self._kept.tick(self._facts, now)
        return taken

    def _of(self, block: Block) -> Facts:
        device = block.device
        for facts in self._facts:
            if facts.device is device and facts.function == block.request[1]:
                return facts
        facts = Facts(device, block.request[0], block.request[1])
        self._facts.append(facts)
        self._kept.restore(facts)
        return facts

    # What an outcome tells

    def _passed(self, block: Block, now: "Any") -> None:
        facts = self._of(block)
        first, end = span(block)
        facts.passed = now
        facts.accepted = max(facts.accepted, end - first)
        if facts.accepted >= facts.refused:
            facts.refused = 0
        facts.read(first, end)
        for one in list(facts.asked):
            if first <= one[0] and one[2] <= end:
                one[4] |= 1
            if first <= one[3] and one[1] <= end:
                one[4] |= 2
            if one[4] == 3:
                facts.asked.remove(one)
                if not (first <= one[0] and one[1] <= end):
                    facts.walls = facts.walls[1 - RANGES :] + [[one[2], one[3], 0, ticks_add(now, _WALL_MS)]]
                    self._kept.changed(now)
        self._soil(facts, block.group.period_ms, now)

    def _refused(self, block: Block, code: int, now: "Any") -> bool:
        """True when the block was split."""
        facts = self._of(block)
        first, end = span(block)
        period = block.group.period_ms
        items = items_of(block)
        known = facts.knows(first, end)
        if len(items) == 1:
            if block.trust <= _STRIKES or self._kept.retired(facts, first):
                self._retire(facts, block, now)
            return False
        if known and not 0 <= ticks_diff(now, facts.passed) <= 2 * period + 1000:
            return False  # it refuses everything: that is no matter of addresses
        if ticks_diff(now, facts.since) > period:
            facts.since = now
            facts.splits = 0
        if facts.splits >= _SPLITS or len(self._stale) > STALE:
            return False
        facts.splits += 1
        # Where: in the middle of the holes that were never read, else in the middle of the items.
        seams = []
        reach = items[0][1]
        for i in range(1, len(items)):
            if items[i][0] > reach and not facts.knows(reach, items[i][0]):
                seams.append(i)
            reach = max(reach, items[i][1])
        if end - first > facts.accepted and (code == _VALUE or not seams):
            facts.refused = min(facts.refused or end - first, end - first)
            if ticks_diff(now, facts.again) >= 0:
                facts.again = ticks_add(now, _WALL_MS << 2 * min(facts.tries, _WALL_STEPS))
                facts.tries += 1
            self._kept.changed(now)
            seams = []
            asked = None
        else:
            asked = [first, end, 0, 0, 0]
            if known:
                facts.forget(first, end)
        i = seams[len(seams) // 2] if seams else len(items) // 2
        facts.asked = [one for one in facts.asked if end <= one[0] or one[1] <= first]
        if asked:
            asked[2] = max([item[1] for item in items[:i]])
            asked[3] = items[i][0]
            facts.asked = facts.asked[1 - RANGES :] + [asked]
        due = ticks_add(block.due, -period)
        halves = [self._block(facts, items[:i], period, due), self._block(facts, items[i:], period, due)]
        self._replace([block], halves)
        return True

    # Retired registers, and probes

    def _retire(self, facts: Facts, block: Block, now: "Any") -> None:
        live = [one for one in self._poller._blocks if one.device is facts.device]
        if len(live) < 2:
            return  # one is asked for ever: the first to know when the device is well again
        first, end = span(block)
        period = block.group.period_ms
        facts.shelf.append([first, end, 0, ticks_add(now, _SHELF_MS)])
        shelves = self._shelves(facts, period)
        for shelf in shelves:
            if ticks_diff(block.due, shelf.due) > period // 2:  # its sample of this time is yet to be told
                self._poller._sampler.fail(shelf.group, shelf.device.says)
        old = [block] + shelves
        items = [item for one in old for item in items_of(one)]
        new = []
        while items:
            some, items = items[:_SHELF_ITEMS], items[_SHELF_ITEMS:]
            group = self._poller._sampler.group(
                [item[2] for item in some], bytes([item[3] for item in some]), period
            )
            shelf = Block(Shelf(facts, some), block.request, b"", group)
            shelf.due = block.due
            new.append(shelf)
        self._replace(old, new)
        self._kept.changed(now)

    def _bring_back(self, facts: Facts, now: "Any") -> None:
        """One that was retired has answered: so may all."""
        facts.shelf.clear()
        # Walls that no probe has confirmed may have been learned of the same trouble.
        facts.walls = [one for one in facts.walls if one[2]]
        for one in facts.walls:
            one[2] = 1
            one[3] = now
        self._soil_all(facts, now)
        for shelf in self._shelves(facts):
            if shelf in self._poller._blocks:
                period = shelf.group.period_ms
                self._plan(facts, period, self._shelves(facts, period) + self._family(facts, period))
        self._kept.changed(now)

    def _probe(self, now: "Any") -> None:
        """See what became of the last probes, and make the next when it is time."""
        for probe in list(self._probes):
            if probe[0].finished():
                self._probes.remove(probe)
                self._judge(probe[1], probe[2], probe[0].quality, now)
        spell = min(ticks_diff(now, self._next), _PROBES * _PROBE_MS)
        if self._probes or spell < 0:
            return
        self._next = ticks_add(now, _PROBE_MS)
        due: "list[tuple]" = []
        for facts in self._facts:
            for shelf in self._shelves(facts):
                shelf.device.refresh()  # type: ignore[attr-defined]
            if facts.device.silent:
                for one in facts.shelf + facts.walls:
                    if ticks_diff(now, one[3]) > 0:
                        one[3] = now  # ticks tell only of six days
                continue
            if facts.refused and ticks_diff(now, facts.again) >= 0:
                facts.refused = 0
                self._soil_all(facts, now)
            for one in facts.shelf + facts.walls:  # what is retired goes first, and what was probed least
                if ticks_diff(now, one[3]) >= 0:
                    due.append((one not in facts.shelf, one[2], len(due), facts, one))
        heapify(due)
        while due and spell >= 0:
            spell -= _PROBE_MS
            _, _, _, facts, one = heappop(due)
            job = self._ask(facts, one)
            if job:
                self._probes.append((job, facts, one))

    def _ask(self, facts: Facts, one: "list[Any]") -> "Urgent | None":
        first, end = one[0], one[1]
        if one not in facts.shelf:  # over the seam, with a register of either side
            first, end = max(first - 1, 0), min(end + 1, 65536)
        try:
            return Urgent(
                self._poller, read_request(facts.unit, facts.function, first, end - first), _PROBE_MS
            )
        except (Busy, ValueError):
            return None

    def _judge(self, facts: Facts, one: "list[Any]", quality: int, now: "Any") -> None:
        retired = one in facts.shelf
        if not retired and one not in facts.walls:
            return
        if quality < NO_VALUE:
            if retired:
                self._bring_back(facts, now)
            else:
                facts.walls.remove(one)
                facts.read(max(one[0] - 1, 0), one[1] + 1)
                self._soil_all(facts, now)
                self._kept.changed(now)
        elif retired:
            one[3] = ticks_add(now, _SHELF_MS << min(one[2], _SHELF_STEPS))
            one[2] += 1
        else:
            one[3] = ticks_add(now, _WALL_MS << 2 * min(one[2], _WALL_STEPS))
            one[2] += 1
