"""Which registers go into one request, so that all together take the least time of the line.

A request costs its head and the answer's, the silences, the device's turnaround and a moment of the node,
whatever it reads; then each register costs its bytes. So a hole is read when that costs less than another
request. The gateway works out a line's budget by the same rule. Needed only while something is planned.

Source: MODBUS over Serial Line V1.02 (2.5.1.1), MODBUS Messaging on TCP/IP V1.0b.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


MAX_HOLE = const(124)  # there is no longer one inside a request
TURNAROUND_US = 5000  # from the end of a request to the answer of a prompt device
NODE_US = 300  # from an answer to the next request; seen on the emulated RP2040
_HEADS = const(13)  # bytes: unit, function, address, count, CRC; unit, function, byte count, CRC
# A round trip through a switch, a gateway or radio, and the node's socket; to take in two bytes on RP2040.
_TRIP_US = const(4000)
_TAKE_US = const(50)
_MOST_ITEMS = const(100)  # in a request, as in a group of the sampler


def rtu_costs(char_us: int, gap_us: int, turnaround_us: int = TURNAROUND_US) -> "tuple[int, int]":
    """Microseconds of the line for a read of no register, and for each register that it reads.

    char_us: of a character. gap_us: the silence of 3.5 characters.
    """
    return _HEADS * char_us + gap_us + max(gap_us, turnaround_us) + NODE_US, 2 * char_us


def tcp_costs() -> "tuple[int, int]":
    """As `rtu_costs`, of a TCP connection."""
    return _TRIP_US, _TAKE_US


def cut(
    starts: "Sequence[int]",
    ends: "Sequence[int]",
    most: int,
    costs: "tuple[int, int]",
    hole: int = MAX_HOLE,
    walls: "Sequence[int]" = (),
) -> "list[int]":
    """Where each request ends: indices into the items, the last one their number.

    starts, ends: first register of each item and the one behind its last, by rising start. most: registers in
    a request; an item that is longer has one to itself. hole: most registers of no item that may be read in a
    row. walls: first register and the one behind the last of each range that no request may touch beside the
    items' own registers; twice the same is a border between two registers that none may cross.

    By dynamic programming: ``best[i]`` is the least cost of the first i items.
    """
    request, register = costs
    n = len(starts)
    best = [0] * (n + 1)
    back = [0] * (n + 1)
    # Between an item and the one before: never in one request. A hole as dear as a request is no better than
    # a wall, and makes the work short.
    walled = bytearray(n + 1)
    end = 0
    for i in range(n):
        start = starts[i]
        if i and start >= end:
            if start - end > hole or (start - end) * register >= request:
                walled[i] = 1
            for w in range(0, len(walls), 2):
                border = walls[w] == walls[w + 1] and end <= walls[w] <= start
                if border or start > end and walls[w] < start and walls[w + 1] > end:
                    walled[i] = 1
        end = max(end, ends[i])
    for i in range(1, n + 1):
        end = 0
        j = i - 1
        while True:
            end = max(end, ends[j])
            count = end - starts[j]
            if (count > most or i - j > _MOST_ITEMS) and j < i - 1:
                break
            cost = best[j] + request + count * register
            if j == i - 1 or cost < best[i]:
                best[i] = cost
                back[i] = j
            if not j or walled[j]:
                break
            j -= 1
    out = []
    while n:
        out.append(n)
        n = back[n]
    out.reverse()
    return out
