"""Requests that are no plain read and what answers them; every function runs on CPython and on the VM."""

from gasan.wire import modbus_write as w
from gasan.wire.modbus_read import ModbusError, read_request, read_size
from gasan.wire.quality import BAD_ANSWER, EXCEPTION, GOOD


def pdu(text):
    return bytes([17]) + bytes(int(text[i : i + 2], 16) for i in range(0, len(text), 2))


# Request and answer as the examples of MODBUS Application Protocol V1.1b3 have them, by section.
EXAMPLES = (
    ("6.1", read_request(17, 1, 0x13, 0x13), "0100130013", "0103cd6b05"),
    ("6.2", read_request(17, 2, 0xC4, 0x16), "0200c40016", "0203acdb35"),
    ("6.3", read_request(17, 3, 0x6B, 3), "03006b0003", "0306022b00000064"),
    ("6.4", read_request(17, 4, 8, 1), "0400080001", "0402000a"),
    ("6.5", w.write_coil(17, 0xAC, True), "0500acff00", "0500acff00"),
    ("6.6", w.write_register(17, 1, 3), "0600010003", "0600010003"),
    (
        "6.11",
        w.write_coils(17, 0x13, (1, 0, 1, 1, 0, 0, 1, 1, 1, 0)),
        "0f0013000a02cd01",
        "0f0013000a",
    ),
    ("6.12", w.write_registers(17, 1, b"\x00\x0a\x01\x02"), "100001000204000a0102", "1000010002"),
    ("6.16", w.mask_register(17, 4, 0xF2, 0x25), "16000400f20025", "16000400f20025"),
    (
        "6.17",
        w.read_write(17, 3, 6, 14, b"\x00\xff\x00\xff\x00\xff"),
        "1700030006000e00030600ff00ff00ff",
        "170c00fe0acd00010003000d00ff",
    ),
    # The lengths of the second object and the code's 4 in the table of 6.21 are slips of the specification.
    (
        "6.21",
        w.identify(17),
        "2b0e0100",
        "2b0e01010000030016436f6d70616e79206964656e74696669636174696f6e010f50726f6475637420636f6465205858"
        "020556322e3131",
    ),
)
WRITES = EXAMPLES[4:]


def case_requests_are_as_the_specification_has_them():
    for section, made, request, _ in EXAMPLES:
        assert made == pdu(request), section


def case_the_answers_of_the_specification_are_good():
    for section, made, _, answer in WRITES:
        came = b"\xee" + pdu(answer) + b"\xee"
        assert w.judge(b"\xdd" + made, 1, came, 1, len(came) - 2) == GOOD, section
        size = w.answer_size(made)
        assert size in (len(came) - 2, -1), section
    for _, made, _, answer in EXAMPLES[:4]:
        assert read_size(made[1], made[4] << 8 | made[5]) == len(pdu(answer))


def case_anything_else_is_not():
    for section, made, _, answer in WRITES:
        good = pdu(answer)
        for at in range(len(good)):
            if made[1] in (23, 43) and at > 2:
                continue  # values may be any
            for bit in range(8):
                bad = bytearray(good)
                bad[at] ^= 1 << bit
                assert w.judge(made, 0, bad, 0, len(bad)) == BAD_ANSWER, (section, at, bit)
        for size in range(len(good)):
            assert w.judge(made, 0, good, 0, size) == BAD_ANSWER, (section, size)
        assert w.judge(made, 0, good + b"\x00", 0, len(good) + 1) == BAD_ANSWER, section


def case_a_refusal_is_named():
    for _, made, _, _ in WRITES:
        for code in range(256):
            came = bytes([17, made[1] | 0x80, code])
            assert w.judge(made, 0, came, 0, 3) == (EXCEPTION + code if 1 <= code <= 15 else BAD_ANSWER)


def case_coils_are_packed_from_the_low_bit():
    for count in range(1, 40):
        values = [(i * 7 + count) % 3 == 0 for i in range(count)]
        made = w.write_coils(1, 0, values)
        assert made[6] == (count + 7) // 8 == len(made) - 7
        assert [made[7 + i // 8] >> i % 8 & 1 == 1 for i in range(count)] == values
        assert made[-1] >> ((count - 1) % 8 + 1) == 0


def case_the_objects_of_a_device_are_told():
    answer = pdu(EXAMPLES[-1][3])
    found, following = w.objects(answer, 0, len(answer))
    assert found == {0: b"Company identification", 1: b"Product code XX", 2: b"V2.11"} and following == 0
    more = bytearray(answer)
    more[5], more[6] = 255, 3
    assert w.objects(more, 0, len(more))[1] == 3
    for size in range(len(answer)):
        assert w.objects(answer, 0, size) is None, size


def refused(make, *args):
    try:
        make(*args)
    except ModbusError:
        return True
    return False


def case_what_no_device_can_take_is_refused():
    for make, args in (
        (w.write_coil, (256, 0, 1)),
        (w.write_coil, (1, 65536, 1)),
        (w.write_register, (1, 0, 65536)),
        (w.write_register, (1, 0, -1)),
        (w.write_register, (1, -1, 0)),
        (w.write_coils, (1, 0, ())),
        (w.write_coils, (1, 0, bytes(1969))),
        (w.write_coils, (1, 65535, (1, 1))),
        (w.write_registers, (1, 0, b"")),
        (w.write_registers, (1, 0, b"\x00")),
        (w.write_registers, (1, 0, bytes(248))),
        (w.write_registers, (1, 65535, bytes(4))),
        (w.mask_register, (1, 0, 65536, 0)),
        (w.read_write, (1, 0, 126, 0, b"\x00\x00")),
        (w.read_write, (1, 0, 1, 0, bytes(244))),
        (w.read_write, (0, 0, 1, 0, b"\x00\x00")),
        (w.identify, (0,)),
        (w.identify, (1, 5)),
        (read_request, (1, 1, 0, 2001)),
        (read_request, (1, 2, 65535, 2)),
        (read_request, (1, 0, 0, 1)),
        (read_request, (1, 5, 0, 1)),
    ):
        assert refused(make, *args), (make, args)
    for make, args in (
        (w.write_coils, (0, 0, bytes(1968))),
        (w.write_registers, (0, 65413, bytes(246))),
        (w.read_write, (1, 0, 125, 0, bytes(242))),
        (read_request, (1, 1, 63536, 2000)),
    ):
        assert not refused(make, *args)


def hostile(data):
    """Whatever comes, there is a verdict."""
    for _, made, _, _ in WRITES:
        quality = w.judge(made, 0, data, 0, len(data))
        assert quality in (GOOD, BAD_ANSWER) or EXCEPTION < quality < EXCEPTION + 16
    w.objects(data, 0, len(data))


CORPUS = [pdu(answer) for _, _, _, answer in EXAMPLES]
CASES = [value for name, value in sorted(globals().items()) if name.startswith("case_")]
