"""Cases of the pure Modbus parts; every function runs on CPython and on the MicroPython VM."""

from gasan.wire import modbus, modbus_rtu, modbus_tcp
from gasan.wire.modbus_read import ModbusError, read_request
from gasan.wire.quality import BAD_ANSWER, BAD_CRC, EXCEPTION, GOOD, SUSPECT, TIMEOUT

CHAR_US = 1042  # 9600 baud, 8N1
GAP_US = CHAR_US * 7 // 2
SENT_US = 8 * CHAR_US
TIMEOUT_US = 300000
UNIT, FUNCTION, REGISTER, COUNT = 1, 3, 16, 2


def with_crc(body):
    crc = modbus_rtu.crc16(body, 0, len(body))
    return bytes(body) + bytes([crc & 0xFF, crc >> 8])


ANSWER = with_crc(b"\x01\x03\x04\x11\x22\x33\x44")
LONGER = with_crc(b"\x01\x03\x06\x11\x22\x33\x44\x55\x66")
REFUSED = with_crc(b"\x01\x83\x02")
FOREIGN = with_crc(b"\x02\x03\x04\xaa\xbb\xcc\xdd")
READ = ECHO = with_crc(b"\x01\x03\x00\x10\x00\x02")


def mbap(transaction, unit, body):
    size = len(body) + 1
    return bytes([transaction >> 8, transaction & 255, 0, 0, size >> 8, size & 255, unit]) + body


DATA = b"\x03\x04\x11\x22\x33\x44"


class Line:
    """Plays pieces of bytes, each at its time, to an RtuRead, in virtual time."""

    def __init__(self, *pieces):
        self.pieces = [(SENT_US + at, data) for at, data in pieces]
        self.answer = modbus_rtu.RtuRead(CHAR_US, GAP_US)
        self.now = 0

    def run(self):
        """Quality and whether it is certain."""
        answer = self.answer
        answer.ask(READ, TIMEOUT_US)
        coming = []
        for at, data in self.pieces:
            for i in range(len(data)):
                coming.append((at + (i + 1) * CHAR_US, data[i]))
        chunk = bytearray(256)
        for _ in range(100000):
            size = 0
            while coming and coming[0][0] <= self.now and size < 256:
                chunk[size] = coming.pop(0)[1]
                size += 1
            if size:
                answer.feed(chunk, size, self.now)
            pause = answer.step(self.now)
            if pause < 0:
                return answer.quality, answer.certain
            assert pause >= 0
            self.now += pause * 1000 or 50
        raise AssertionError("the wait does not end")

    def data(self):
        return bytes(self.answer.buf[self.answer.data : self.answer.data + 2 * COUNT])


def slow_crc(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def case_crc_is_the_one_of_the_specification():
    assert modbus_rtu.crc16(b"123456789", 0, 9) == 0x4B37
    assert modbus_rtu.crc16(b"\x02\x07", 0, 2) == 0x1241  # Serial Line V1.02, 6.2.2
    for byte in range(256):
        data = bytes([byte, 255 - byte, 0x5A])
        assert modbus_rtu.crc16(data, 0, 3) == slow_crc(data)
        assert modbus_rtu.crc16(data, 1, 3) == slow_crc(data[1:])
    assert modbus_rtu.crc16(ANSWER, 0, len(ANSWER)) == 0


def case_requests_are_as_the_specification_has_them():
    assert modbus_rtu.with_crc(read_request(1, 3, 0, 10)) == b"\x01\x03\x00\x00\x00\x0a\xc5\xcd"
    assert read_request(247, 4, 0xFFFF, 1) == b"\xf7\x04\xff\xff\x00\x01"
    tcp = modbus_tcp.TcpRead()
    tcp.ask(read_request(255, 4, 0x006B, 125))
    assert bytes(tcp.request) == b"\x00\x01\x00\x00\x00\x06\xff\x04\x00\x6b\x00\x7d"


def case_a_read_that_no_device_can_answer_is_refused():
    for unit, function, register, count in (
        (1, 3, 0, 0),
        (1, 3, 0, 126),
        (1, 3, 65535, 2),
        (1, 3, -1, 1),
        (1, 5, 0, 1),
        (256, 3, 0, 1),
        (-1, 3, 0, 1),
    ):
        try:
            read_request(unit, function, register, count)
        except ModbusError:
            continue
        raise AssertionError("accepted")


def case_every_register_order_becomes_big_endian():
    out = bytearray(8)
    value = b"\x01\x02\x03\x04\x05\x06\x07\x08"
    orders = {
        1: (b"\x01\x02", b"\x01\x02", b"\x02\x01", b"\x02\x01"),
        2: (b"\x01\x02\x03\x04", b"\x03\x04\x01\x02", b"\x02\x01\x04\x03", b"\x04\x03\x02\x01"),
        4: (
            b"\x01\x02\x03\x04\x05\x06\x07\x08",
            b"\x07\x08\x05\x06\x03\x04\x01\x02",
            b"\x02\x01\x04\x03\x06\x05\x08\x07",
            b"\x08\x07\x06\x05\x04\x03\x02\x01",
        ),
    }
    for registers, wired in orders.items():
        for order in range(4):
            modbus.reorder(bytearray(b"\xee" + wired[order]), 1, registers, order, out)
            assert bytes(out[: 2 * registers]) == value[: 2 * registers], (registers, order)


def case_rtu_takes_its_answer():
    line = Line((5000, ANSWER))
    assert line.run() == (GOOD, True)
    assert line.data() == b"\x11\x22\x33\x44"
    end = SENT_US + 5000 + len(ANSWER) * CHAR_US
    assert end <= line.now < end + 500, line.now - end  # known to a fraction of a millisecond


def case_rtu_takes_the_longest_answer():
    body = bytes([9, 4, 250]) + bytes(range(250))
    answer = modbus_rtu.RtuRead(CHAR_US, GAP_US)
    answer.ask(with_crc(read_request(9, 4, 0, 125)), TIMEOUT_US)
    answer.feed(bytearray(with_crc(body)), 255, SENT_US + 300000)
    assert answer.step(SENT_US + 300000) < 0
    assert answer.quality == GOOD
    assert bytes(answer.buf[answer.data : answer.data + 250]) == bytes(range(250))


def case_rtu_names_the_exception():
    assert Line((5000, REFUSED)).run() == (EXCEPTION + 2, True)
    assert Line((5000, with_crc(b"\x01\x83\x10"))).run() == (BAD_ANSWER, False)
    assert Line((5000, with_crc(b"\x01\x84\x02"))).run() == (BAD_ANSWER, False)


def case_rtu_waits_no_longer_than_the_timeout():
    line = Line()
    assert line.run() == (TIMEOUT, False)
    assert SENT_US + TIMEOUT_US <= line.now <= SENT_US + TIMEOUT_US + 1000


def case_rtu_never_takes_a_damaged_answer():
    for at in range(len(ANSWER)):
        for bit in range(8):
            damaged = bytearray(ANSWER)
            damaged[at] ^= 1 << bit
            line = Line((5000, bytes(damaged)))
            quality, certain = line.run()
            assert quality == BAD_CRC, (at, bit, quality)
            assert certain == (at > 2), (at, bit)  # the head was right: it was the answer


def case_rtu_never_takes_a_part_of_an_answer():
    for size in range(1, len(ANSWER)):
        line = Line((5000, ANSWER[:size]))
        assert line.run() == (BAD_CRC, size > 2)
        if size > 2:
            assert line.now < SENT_US + TIMEOUT_US  # known before the timeout


def case_rtu_passes_over_what_is_not_its_answer():
    for stray in (FOREIGN, LONGER, ECHO, b"\x00", b"\xff\x00\xff", with_crc(b"\x01\x04\x04\x11\x22\x33\x44")):
        assert Line((5000, stray)).run()[0] != GOOD
        line = Line((5000, stray), (80000, ANSWER))
        assert line.run() == (GOOD, True)
        assert line.data() == b"\x11\x22\x33\x44"


def case_rtu_finds_its_answer_between_others():
    for before, behind in (
        (b"\x00", b""),
        (ECHO, b""),
        (b"", FOREIGN),
        (FOREIGN, b""),
        (b"\x01", b"\x01\x03"),
    ):
        line = Line((5000, before + ANSWER + behind))
        assert line.run() == (GOOD, True)
        assert line.data() == b"\x11\x22\x33\x44"


def case_rtu_keeps_what_may_be_the_beginning_of_another_masters_request():
    request = with_crc(b"\x01\x03\x10\x00\x00\x02")
    late = SENT_US + TIMEOUT_US + 8 * CHAR_US + 20000
    for came, quality in (
        (ANSWER, GOOD),
        (REFUSED, EXCEPTION + 2),
        (b"\x00" + ANSWER, GOOD),
        (ANSWER[:-1] + b"\x00", BAD_CRC),
        (b"\x00" * 20, BAD_CRC),
    ):
        for n in range(8):
            answer = modbus_rtu.RtuRead(CHAR_US, GAP_US)
            answer.ask(READ, TIMEOUT_US)
            chunk = bytearray(came + request[:n])
            answer.feed(chunk, len(chunk), late)
            while answer.step(late) >= 0:
                late += 1000
            assert answer.quality == quality, (came, n, answer.quality)
            quiet = late > answer._last + GAP_US  # after that no frame goes on, whatever it was
            answer.ask(READ, TIMEOUT_US)
            answer.n = answer.resync().room(answer)
            answer.feed(bytearray(request[n:]), 8 - n, 0)
            heard = answer.resync().heard(answer, 0, answer.n)
            assert heard or (quality == BAD_CRC and quiet), (came, n)
            assert answer.intruded == heard
            late = SENT_US + TIMEOUT_US + 8 * CHAR_US + 20000


def case_rtu_forgives_a_short_pause_inside_the_answer():
    line = Line((5000, ANSWER[:4]), (5000 + 4 * CHAR_US + GAP_US + 5000, ANSWER[4:]))
    assert line.run() == (GOOD, True)
    line = Line((5000, ANSWER[:4]), (5000 + 4 * CHAR_US + GAP_US + 15000, ANSWER[4:]))
    assert line.run() == (BAD_CRC, True)


def case_rtu_ends_on_a_line_that_never_falls_silent():
    line = Line((5000, bytes(range(256)) * 4))
    quality, certain = line.run()
    assert quality == BAD_CRC and not certain
    assert line.now <= SENT_US + TIMEOUT_US + 9 * CHAR_US + GAP_US + 12000


def case_rtu_begins_afresh_after_anything():
    answer = modbus_rtu.RtuRead(CHAR_US, GAP_US)
    for data, quality in ((FOREIGN * 30, BAD_CRC), (b"", TIMEOUT), (ANSWER, GOOD), (REFUSED, EXCEPTION + 2)):
        answer.ask(READ, TIMEOUT_US)
        for i in range(0, len(data), 256):
            answer.feed(bytearray(data[i : i + 256]), len(data[i : i + 256]), SENT_US + 1000)
        now = SENT_US + 1000
        while answer.step(now) >= 0:
            now += 1000
        assert answer.quality == quality, (quality, answer.quality)


def tcp(*chunks):
    """A read whose transaction id is 7, after it was fed."""
    answer = modbus_tcp.TcpRead()
    answer.request[1] = 6
    answer.ask(READ)
    done = False
    for chunk in chunks:
        assert not done
        done = answer.feed(bytearray(chunk), len(chunk))
    return answer, done


def case_tcp_takes_its_answer_in_any_pieces():
    frame = mbap(7, 1, DATA)
    for cut in range(len(frame)):
        answer, done = tcp(*([frame[:cut], frame[cut:]] if cut else [frame]))
        assert done and answer.quality == GOOD
        assert bytes(answer.buf[answer.data : answer.data + 4]) == b"\x11\x22\x33\x44"


def case_tcp_passes_over_answers_to_older_reads():
    old, new = mbap(6, 1, DATA), mbap(7, 1, b"\x03\x04\x55\x66\x77\x88")
    for chunks in ((old, new), (old + new,), (old + old[:3], old[3:] + new)):
        answer, done = tcp(*chunks)
        assert done and answer.quality == GOOD
        assert bytes(answer.buf[answer.data : answer.data + 4]) == b"\x55\x66\x77\x88"
    answer, done = tcp(old)
    assert not done


def case_tcp_keeps_what_follows_the_answer():
    answer, done = tcp(mbap(7, 1, DATA) + mbap(8, 1, b"\x03\x04\x55\x66\x77\x88")[:9])
    assert done and answer.quality == GOOD
    answer.ask(READ)
    rest = mbap(8, 1, b"\x03\x04\x55\x66\x77\x88")[9:]
    assert answer.feed(bytearray(rest), len(rest))
    assert bytes(answer.buf[answer.data : answer.data + 4]) == b"\x55\x66\x77\x88"


def case_tcp_judges_by_the_request():
    for unit, body, quality in (
        (1, b"\x83\x0b", EXCEPTION + 11),
        (2, DATA, BAD_ANSWER),
        (1, b"\x04\x04\x11\x22\x33\x44", BAD_ANSWER),
        (1, b"\x03\x06\x11\x22\x33\x44\x55\x66", BAD_ANSWER),
        (1, b"\x03\x04\x11\x22\x33", BAD_ANSWER),
        (1, b"\x03\x04\x11\x22\x33\x44\x55", BAD_ANSWER),
        (1, b"\x83\x00", BAD_ANSWER),
        (1, b"\x83\x02\x00", BAD_ANSWER),
    ):
        answer, done = tcp(mbap(7, unit, body))
        assert done and answer.quality == quality and not answer.broken, (body, answer.quality)


def case_tcp_says_when_the_stream_is_lost():
    for head in (
        b"\x00\x07\x00\x01\x00\x05\x01",
        b"\x00\x07\x00\x00\x00\x02\x01",
        b"\x00\x07\x00\x00\x00\xff\x01",
    ):
        answer, done = tcp(head)
        assert done and answer.broken and answer.quality == BAD_ANSWER
        answer.reset()
        answer.ask(READ)
        frame = mbap(8, 1, DATA)
        assert answer.feed(bytearray(frame), len(frame)) and answer.quality == GOOD


def case_tcp_transaction_ids_wrap():
    answer = modbus_tcp.TcpRead()
    for i in range(1, 65539):
        transaction = i & 0xFFFF
        answer.ask(read_request(1, 3, 0, 2))
        assert answer.request[0] << 8 | answer.request[1] == transaction
        stale = mbap((transaction - 1) & 0xFFFF, 1, b"\x03\x04\x00\x00\x00\x00")
        assert not answer.feed(bytearray(stale), len(stale))
        frame = bytes(answer.request[:4]) + b"\x00\x07\x01" + DATA
        assert answer.feed(bytearray(frame), len(frame)) and answer.quality == GOOD


CORPUS = [
    ANSWER,
    LONGER,
    REFUSED,
    FOREIGN,
    ECHO,
    b"\x00" + ANSWER,
    ECHO + ANSWER,
    FOREIGN + ANSWER,
    ANSWER + ANSWER,
]
CORPUS += [mbap(7, 1, DATA), mbap(6, 1, DATA) + mbap(7, 1, DATA), mbap(7, 1, b"\x83\x02"), mbap(7, 2, DATA)]

_rtu = modbus_rtu.RtuRead(CHAR_US, GAP_US)
_tcp = modbus_tcp.TcpRead()


def hostile_rtu(data):
    """Whatever comes, there is a verdict in time, and a good one only for an answer that is really there."""
    _rtu.ask(READ, 20000)
    now = SENT_US + 100
    for i in range(0, len(data), 256):
        part = data[i : i + 256]
        _rtu.feed(part, len(part), now)
        now += 1000
    pause = _rtu.step(now)
    while pause >= 0:
        assert pause <= 1000
        now += pause * 1000 or 1000
        assert now < 10000000
        pause = _rtu.step(now)
    if _rtu.quality in (GOOD, SUSPECT):
        start = _rtu.data - 3
        answer = bytes(_rtu.buf[start : start + 9])
        assert answer[:3] == b"\x01\x03\x04" and slow_crc(answer[:7]) == answer[7] | answer[8] << 8
        assert data.find(answer) >= 0
    else:
        assert _rtu.quality in (TIMEOUT, BAD_CRC, BAD_ANSWER) or EXCEPTION < _rtu.quality < EXCEPTION + 16


def hostile_tcp(data):
    """Whatever comes, nothing raises or overflows, and a good verdict has its frame in the buffer."""
    _tcp.reset()
    _tcp.request[0], _tcp.request[1] = 0, 6
    _tcp.ask(READ)
    i = 0
    while i < len(data):
        part = data[i : i + _tcp.room(256)]
        assert part
        i += len(part)
        if _tcp.feed(part, len(part)):
            break
    else:
        return
    if _tcp.quality == GOOD:
        assert bytes(_tcp.buf[:9]) == b"\x00\x07\x00\x00\x00\x07\x01\x03\x04"
    else:
        assert _tcp.quality == BAD_ANSWER or EXCEPTION < _tcp.quality < EXCEPTION + 16


def hostile(data):
    """Both decoders."""
    hostile_rtu(data)
    hostile_tcp(data)


CASES = [value for name, value in sorted(globals().items()) if name.startswith("case_")]
