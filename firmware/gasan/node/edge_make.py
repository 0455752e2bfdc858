"""Makes the rules of a config (protocols/rules.md), and refuses what makes no sense. Dropped after the start.

They stand in a byte string, so that a config can be read without them.

rules = [[* channel], [* step]]
channel = [number, type, period ms, kind of key, {? key: value}]
step = [kind, ...], each of which makes use only of channels that no later step makes
"""

from gasan.node import edge, edge_keep
from gasan.node.edge import Edge, EdgeBatcher
from gasan.node.edge_channel import NUMBER, SIGN_FIRST, SIGNED, UNSIGNED, Channel
from gasan.wire import cbor
from gasan.wire.columns import F32, F64, I8, I16, I32, I64, WIDTH
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import Any

    from gasan.node.clock import Clock

__all__ = ["EdgeBatcher", "check", "install", "make"]

# Keys of a channel.
_NAMES = ((1, "num"), (2, "den"), (3, "off"), (4, "form"), (5, "shift"), (6, "bits"), (7, "decimals"))
_MISSING = const(8)
_MASK = const(9)
_INNER = const(10)

# Kinds of steps.
_NEVER = const(0)
_CHANGE = const(1)
_DEADBAND = const(2)
_JOIN = const(3)
_RATE = const(4)
_WINDOW = const(5)
_ALARM = const(6)
_EXPRESSION = const(7)

_INNER_FROM = const(40000)  # numbers of inputs that are no channels
_CHANNELS_MAX = const(300)
_STEPS_MAX = const(300)
_DEPTH_MAX = const(6)  # of channels made of channels that are made
_TIME_MAX = const(86400000)
_BITS_MAX = const(128)  # of a number in a config
_LEVELS = const(8)  # of lists in lists


def make(sampler: Edge, rules: bytes) -> None:
    """Give a sampler its rules. Raises ValueError for rules that this firmware does not take."""
    try:
        _Maker(sampler).make(rules)
    except (TypeError, IndexError, KeyError, AttributeError):
        raise ValueError("rules of the wrong shape")


def check(rules: bytes, clock: "Clock") -> None:
    """Raise ValueError for rules that this firmware does not take."""
    make(Edge(1000, 1000, 1, 0, clock), rules)


def _count(reader: cbor.Reader) -> int:
    """How many items the array has that begins here."""
    first = reader.take(1)[0]
    n = first & 31
    if n >= 24:
        n = reader._argument(n)
    if first >> 5 != 4 or n < 0:
        raise ValueError("rules of the wrong shape")
    return n


class _Maker:
    def __init__(self, sampler: Edge) -> None:
        self._sampler = sampler
        self._depths: "dict[int, int]" = {}  # of channels that a step has made
        self._used: "set[int]" = set()  # numbers that a step has made use of
        self._rules: "dict[tuple, Any]" = {}  # what leaves out, by all that is said of it

    def make(self, rules: bytes) -> None:
        """Check and make all, item by item: as a whole they take several times what is made of them."""
        reader = cbor.Reader(rules, len(rules))
        if _count(reader) != 2:
            raise ValueError("rules of the wrong shape")
        channels = self._sampler.channels
        for _ in range(_upto(_CHANNELS_MAX, _count(reader))):
            number, code, period, kind, more = reader.value(_LEVELS)
            if number in channels:
                raise ValueError("channel %d has its rules twice" % number)
            channels[number] = self._channel(number, code, kind, more)
            self._sampler.periods[number] = _time(period)
        for _ in range(_upto(_STEPS_MAX, _count(reader))):
            self._step(reader.value(_LEVELS))
        if reader.pos != len(rules):
            raise ValueError("bytes after the rules")

    def _channel(self, number: int, code: int, kind: int, more: dict) -> Channel:
        if not 0 <= number <= 0xFFFF or not 0 < code <= I8 or not UNSIGNED <= kind <= NUMBER:
            raise ValueError("channel %r of a rule" % number)
        size = WIDTH[code]
        channel = Channel(number, code, kind)
        for key, name in _NAMES:
            if key in more:
                setattr(channel, name, _int(more[key]))
        if more.get(_INNER, 0) == 1:
            channel.inner = True
        if not channel.num or channel.den <= 0 or not 0 <= channel.form <= 4 or not -1 <= channel.bits:
            raise ValueError("channel %d has no number" % number)
        if not 0 <= channel.shift < 64 or not 0 <= channel.decimals < 8 * size:
            raise ValueError("channel %d has no number" % number)
        if code == F32 or code == F64 or channel.form == 1:
            channel.float = True
        if channel.float and (kind != SIGN_FIRST or (channel.form == 1 and size != 2)):
            raise ValueError("channel %d is no float" % number)
        if channel.form > 1 and channel.bits < 0:
            raise ValueError("channel %d has a form of no width" % number)
        if (kind == SIGNED) != (code in (I8, I16, I32, I64)):
            raise ValueError("channel %d is ordered otherwise" % number)
        if _MISSING in more:
            channel.missing = tuple(more[_MISSING])
            channel.mask = more.get(_MASK, b"\xff" * size)
        for pattern in channel.missing:
            if not _is_bytes(pattern, size) or not _is_bytes(channel.mask, size):
                raise ValueError("channel %d: no value" % number)
        return channel

    def _step(self, step: list) -> None:
        kind = step[0]
        if _NEVER <= kind <= _DEADBAND:
            self._rule(step[1], kind, tuple(step[2:]))
        elif kind == _EXPRESSION:
            from gasan.node.edge_expr import Expression

            _, out, trigger, inputs, code, constants = step
            pairs = [(_int(constants[i]), _int(constants[i + 1])) for i in range(0, len(constants), 2)]
            channels = [self._input(number) for number in inputs]
            if not isinstance(code, bytes):
                raise ValueError("an expression without code")
            expression = Expression(self._output(out, inputs), channels, code, pairs)
            self._input(trigger).tap(expression)
            self._sampler.expressions.append(expression)
        else:
            self._tap(kind, step)

    def _tap(self, kind: int, step: list) -> None:
        from gasan.node import edge_taps

        if kind == _JOIN:
            _, number, out, places = step
            digits, of = self._input(number), self._input(places)
            made = self._output(out, [number, places])
            if len(made.value) - len(digits.value) < 2 or len(of.value) > 2 or not made.decimals:
                raise ValueError("digits and decimals that do not fit")
            tap: "Any" = edge_taps.Join(made, of)
        elif kind == _RATE:
            _, number, out, modulus, most_num, most_den, per = step
            if self._input(number).float or min(modulus, most_num, most_den) < 0 or not _time(per):
                raise ValueError("a rate of what is no counter")
            tap = edge_taps.Rate(
                self._output(out, [number]), _int(modulus), _int(most_num), _int(most_den), per
            )
        elif kind == _WINDOW:
            _, number, length, flat = step
            if not _time(length) or not flat:
                raise ValueError("a window of no length")
            self._input(number)
            outs = []
            for i in range(0, len(flat), 2):
                if not edge_taps.LEAST <= flat[i] <= edge_taps.RMS:
                    raise ValueError("a figure that is none")
                outs.append((flat[i], self._output(flat[i + 1], [number])))
                self._same(number, outs[-1])
            tap = edge_taps.Window(length, outs)
        elif kind == _ALARM:
            _, number, out, limits, delay, hold = step
            size = len(self._input(number).key)
            for state, _, on, off in limits:
                if not 0 < state < 255 or not _is_bytes(on, size) or not _is_bytes(off, size):
                    raise ValueError("a limit that is none")
            made = self._output(out, [number])
            if len(made.value) != 1:
                raise ValueError("an alarm is a byte")
            made.seldom = True
            flat = []
            for limit in limits:
                flat += limit
            tap = edge_taps.Alarm(made, tuple(flat), _time(delay), _time(hold))
        else:
            raise ValueError("a rule of unknown kind %r" % kind)
        self._input(number).tap(tap)

    def _same(self, number: int, out: "tuple[int, Channel]") -> None:
        """The least, greatest and last are of the type of their input."""
        if out[0] in (1, 2, 4) and out[1].code != self._input(number).code:
            raise ValueError("a figure of another type than its channel")

    def _rule(self, number: int, kind: int, more: tuple) -> None:
        channel = self._input(number)
        if channel.rule or channel.inner:
            raise ValueError("channel %d has two rules" % number)
        if (kind, more) not in self._rules:
            self._rules[kind, more] = _keeper(kind, more)
        channel.rule = self._rules[kind, more]
        if kind == _NEVER:
            channel.never = True

    def _input(self, number: int) -> Channel:
        self._used.add(number)
        return self._sampler.channels[number]

    def _output(self, number: int, inputs: list) -> Channel:
        if number in self._used or number in self._depths:
            raise ValueError("channel %d is made of itself, or twice" % number)
        depth = 1 + max([self._depths.get(one, 0) for one in inputs])
        if depth > _DEPTH_MAX:
            raise ValueError("rules of rules of rules")
        self._depths[number] = depth
        return self._sampler.channels[number]


def _upto(most: int, n: int) -> int:
    if n > most:
        raise ValueError("too many rules")
    return n


def _keeper(kind: int, more: tuple) -> "Any":
    if kind == _NEVER:
        return edge_keep.Never()
    if kind == _CHANGE:
        (silence,) = more
        return edge_keep.Change(_time(silence))
    num, den, percent, silence = more
    if _int(num) < 0 or _int(den) <= 0:
        raise ValueError("a deadband below 0")
    return edge_keep.Deadband(_time(silence), num, den, percent == 1)


def _int(n: "Any") -> int:
    if not isinstance(n, int) or isinstance(n, bool) or not -1 << _BITS_MAX < n < 1 << _BITS_MAX:
        raise ValueError("a number of a rule")
    return n


def _is_bytes(data: "Any", size: int) -> bool:
    return isinstance(data, bytes) and len(data) == size


def _time(ms: "Any") -> int:
    if not 0 <= _int(ms) <= _TIME_MAX:
        raise ValueError("a time of a rule")
    return int(ms)


def install(node: "Any", limits: "Any", memory: int) -> Edge:
    """The sampler of a node whose config has rules. Raises ValueError."""
    sampler = Edge(limits.max_age_ms, limits.max_bytes, limits.channels, memory, node.clock)
    make(sampler, limits.rules)
    made = sum(1 for number in sampler.periods if limits.channels <= number < _INNER_FROM)
    sampler.share(memory // max(1, limits.channels + made))
    node.status = edge.status(node.status, sampler)
    return sampler
