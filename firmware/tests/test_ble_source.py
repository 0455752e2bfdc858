"""The BLE observer on a MicroPython VM, with a radio that does as it is told."""

import pytest
from gasan.hil.aes_peer import encipher
from gasan.hil.ble_on_vm import on_vm


@pytest.mark.parametrize("bits", [64, 32])
def test_values_reach_their_columns_with_their_sign(bits: int) -> None:
    out = on_vm(
        """
hear(bytes.fromhex("0001 02ca09 0229f6 03bf13"))
await settled()
print(columns(), counts())
""",
        bits,
    )
    assert out == ["[([10, 20, 30], [2506, 5055, -2519])] [1, 0, 0]"]


def test_the_same_measurement_is_taken_once() -> None:
    out = on_vm(
        """
for packet in ("0001 02ca09", "0001 02ca09", "0002 02ca09", "0002 02ca09", "0003 02cb09", "0001 02ca09"):
    hear(bytes.fromhex(packet))
await settled()
print(columns(), counts())
"""
    )
    assert out == ["[(10, [[2506, 0, 1, -1]])] [6, 0, 0]"]


def test_without_a_packet_id_equal_content_is_taken_again_after_a_quarter_of_the_timeout() -> None:
    out = on_vm(
        """
source.sensors[0].timeout = 400
hear(bytes.fromhex("02ca09"))
hear(bytes.fromhex("02ca09"))
await settled()
print(sampler.sampled)
await asyncio.sleep_ms(110)
hear(bytes.fromhex("02ca09"))
await settled()
print(sampler.sampled)
"""
    )
    assert out == ["1", "2"]


@pytest.mark.parametrize("bits", [64, 32])
def test_a_sensor_that_was_away_for_a_week_is_heard_again_though_it_says_the_same(bits: int) -> None:
    """Ticks of 32 bits tell of six days."""
    out = on_vm(
        """
hear(bytes.fromhex("02ca09"))
await settled()
(kind,) = [kind for kind in source.sensors[0].kinds.values() if kind.size]
from time import ticks_add
for day in range(7):
    kind.at = ticks_add(kind.at, -86400000)
hear(bytes.fromhex("02ca09"))
hear(bytes.fromhex("02ca09"))
await settled()
print(sampler.sampled)
""",
        bits,
    )
    assert out == ["2"]


def test_adverts_that_hold_other_channels_go_to_a_group_of_their_own() -> None:
    out = on_vm(
        """
for packet in ("0001 02ca09", "0101 0001 03bf13", "0002 02cb09", "0002 03c013"):
    hear(bytes.fromhex(packet))
await settled()
print(columns(), counts())
hear(bytes.fromhex("0003 02ca09 03bf13"))
hear(bytes.fromhex("0004 0164"))
await settled()
print(columns()[2:], len(sampler.groups), counts())
"""
    )
    assert out == [
        "[(10, [[2506, 1]]), (20, [[5055, 1]])] [4, 0, 0]",
        "[([10, 20], [2506, 5055])] 4 [6, 0, 0]",
    ]


def test_when_the_slots_are_full_the_oldest_go_and_are_counted() -> None:
    out = on_vm(
        """
for n in range(40):
    hear(bytes((0, n, 2, n, 0)))
await settled()
print(columns(), counts())
"""
    )
    assert out == [f"[(10, [{[24] + [1] * 15}])] [40, 24, 0]"]


def test_what_is_not_ours_or_cannot_be_read() -> None:
    out = on_vm(
        """
hear(bytes.fromhex("0001 02ca09"), OTHER)
print(counts())
hear(bytes.fromhex("a47266c95f73001122337823"), information=b"\\x41")
hear(bytes.fromhex("02ca09"), information=b"\\x20")
Radio.handler(5, (1, ADDRESS, 0, -50, bytes(60)))
Radio.handler(1, (1, 2, 3))
await settled()
print(sampler.sampled, counts())
"""
    )
    assert out == ["[0, 0, 0]", "W ble: press: it encrypts, and no key is known", "0 [3, 1, 1]"]


def test_silence_is_one_stale_row_per_timeout_and_starts_the_scan_again() -> None:
    out = on_vm(
        """
source.sensors[0].timeout = 600
await asyncio.sleep_ms(300)
hear(bytes.fromhex("0001 02ca09"))
heard = ticks_ms()
await settled()
for readings in (1, 4, 7):
    while sampler.sampled < readings:
        await asyncio.sleep_ms(5)
    print(sampler.sampled, ticks_diff(ticks_ms(), heard) // 600)
print([group[5] for group in rows() if len(group) > 5])
await settled()
print([call for call in Radio.calls if call[0] == "gap_scan"])
"""
    )
    scan, stop = "('gap_scan', 0, 100000, 50000, False)", "('gap_scan', None)"
    assert out[:3] == ["1 0", "4 1", "7 2"]
    assert out[3:] == ["[[0, 3, 0, 2, 69]]", f"[{scan}, {stop}, {scan}, {stop}, {scan}]"]


def test_a_radio_that_fails_is_tried_again() -> None:
    out = on_vm(
        """
Radio.fails = True
Radio.handler(6, ())
await settled()
print(source._scanning, task.done())
Radio.fails = False
while not source._scanning:
    await asyncio.sleep_ms(20)
print(source._scanning, len([call for call in Radio.calls if call[0] == "gap_scan"]))
task.cancel()
await settled()
print(Radio.calls[-1])
"""
    )
    assert [line for line in out if not line.startswith("W ")] == [
        "False False",
        "True 2",
        "('active', False)",
    ]


@pytest.mark.parametrize(
    "device",
    [
        "['x', ADDRESS, 99, 1000, ITEMS]",  # another format
        "['x', ADDRESS[:5], 0, 1000, ITEMS]",
        "['x', ADDRESS, 0, 0, ITEMS]",
        "['x', ADDRESS, 0, 1000, []]",
        "['x', ADDRESS, 0, 1000, [[0, 0x04, 0, 1, 0]]]",  # three bytes into a u16
        "['x', ADDRESS, 0, 1000, [[0, 0x53, 0, 3, 0]]]",  # text
    ],
)
def test_what_cannot_be_listened_to_is_refused(device: str) -> None:
    out = on_vm(
        f"""
try:
    ble.Source([2, "hall", {{}}, [{device}]], sampler, None)
except ValueError as e:
    print("refused")
"""
    )
    assert out == ["refused"]


def test_the_interrupt_allocates_next_to_nothing() -> None:
    out = on_vm(
        """
import gc
data = result(bytes.fromhex("0001 02ca09"))
stranger = (1, memoryview(bytearray(6)), 0, -50, data[4])
Radio.handler(5, data)
gc.collect()
before = gc.mem_alloc()
for _ in range(100):
    Radio.handler(5, stranger)
print(gc.mem_alloc() - before)
before = gc.mem_alloc()
for _ in range(100):
    Radio.handler(5, data)
print((gc.mem_alloc() - before) // 100)
"""
    )
    assert int(out[0]) <= 64
    assert int(out[1]) <= 64


def test_a_busy_hall_of_rotating_addresses_does_not_grow_the_heap(seed: int) -> None:
    """100,000 adverts of 500 addresses at a time, every stranger's changed now and then, 20 wanted; they come
    in bursts as long as a commit to flash takes on a board (45 ms at 300 a second), and longer ones.
    """
    out = on_vm(
        f"""
import gc, random
random.seed({seed & 0x3FFFFFFF})
task.cancel()
await settled()
wanted = [bytes((0xC4, 0x7C, 0x8D, 0x6A, 0, i)) for i in range(20)]
await started([2, "hall", {{}}, [["s%d" % i, wanted[i], 0, 60000, ITEMS] for i in range(20)]])
strangers = [bytearray((0x40, 0, 0, 0, random.getrandbits(8), random.getrandbits(8))) for _ in range(480)]
address, data = bytearray(6), bytearray(advert(bytes.fromhex("0000 020000")))
result = (1, memoryview(address), 0, -50, memoryview(data))
adverts = told = rows = 0
used = []
while adverts < 100000:
    for _ in range(random.choice((3, 3, 3, 14, 40))):
        adverts += 1
        n = random.randrange(500)
        if n < 20:
            address[:] = wanted[n]
            told += 1
            data[9], data[11], data[12] = told & 255, told & 255, told >> 8
        else:
            stranger = strangers[n - 20]
            address[:] = stranger
            if not random.getrandbits(8):
                stranger[3], stranger[4], stranger[5] = (random.getrandbits(8) for _ in range(3))
        Radio.handler(5, result)
    await asyncio.sleep_ms(0)
    await asyncio.sleep_ms(0)
    for group in sampler.groups:
        rows += group.n
        group.offered = group.n
        group.take()
    if adverts // 10000 > len(used):
        gc.collect()
        used.append(gc.mem_alloc())
print(adverts, told, rows, counts())
print(max(used[1:]) - used[0])
""",
        32,
    )
    adverts, told, rows = map(int, out[0].split()[:3])
    print(out)
    assert adverts >= 100_000 and rows >= 0.99 * told > 3000
    assert int(out[1]) <= 256


KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")


def sealed(objects: str, counter: int, key: bytes = KEY) -> str:
    """A call that lets the source hear a sealed advertisement."""
    count = counter.to_bytes(4, "little")
    made = encipher(key, bytes.fromhex("c47c8d6a0001d2fc41") + count, bytes.fromhex(objects))
    return f"hear({made[:-4] + count + made[-4:]!r}, information=b'A')"


SEALED_BUS = f"""
from gasan.node import ble_formats, secrets
secrets.keys = lambda: {{ADDRESS: {KEY}}}
task.cancel()
await settled()
await started([2, "hall", {{}}, [["press", ADDRESS, 1, 60000, ITEMS]]])
"""


@pytest.mark.parametrize("bits", [64, 32])
def test_a_sensor_that_encrypts(bits: int) -> None:
    out = on_vm(
        SEALED_BUS
        + f"""
{sealed("02ca09 0229f6 03bf13", 1000)}
{sealed("02ca09 0229f6 03bf13", 1000)}
{sealed("02cb09 0229f6 03bf13", 1001)}
await settled()
print(columns(), counts())
""",
        bits,
    )
    assert out == ["[([10, 20, 30], [[2506, 1], 5055, -2519])] [3, 0, 0]"]


def test_what_is_not_believed_is_counted_and_told_once() -> None:
    out = on_vm(
        SEALED_BUS
        + f"""
{sealed("02ca09", 1000)}
await settled()
for n in range(3):
    {sealed("020000", 999)}
    {sealed("020000", 2000, key=bytes(16))}
    hear(bytes.fromhex("020000"))
await settled()
print(columns(), counts())
"""
    )
    assert sorted(out) == [
        "W ble: press: an advertisement was not encrypted",
        "W ble: press: an advertisement was not made with its key",
        "W ble: press: an old advertisement came again",
        "[(10, [2506])] [10, 0, 9]",
    ]


def test_adverts_that_are_not_believed_do_not_keep_a_sensor_alive() -> None:
    out = on_vm(
        SEALED_BUS
        + f"""
source.sensors[0].timeout = 400
{sealed("02ca09", 1000)}
await settled()
while sampler.sampled < 4:
    {sealed("02ca09", 1000)}
    hear(bytes.fromhex("02ca09"))
    await asyncio.sleep_ms(20)
{sealed("02ca09", 3)}
await settled()
print([group[5] for group in rows() if len(group) > 5], sampler.sampled)
"""
    )
    assert out == ["W ble: press: an advertisement was not encrypted", "[[0, 3, 0, 1, 69]] 5"]


def test_keys_may_come_later() -> None:
    out = on_vm(
        SEALED_BUS.replace(f"{{ADDRESS: {KEY}}}", "{}")
        + f"""
{sealed("02ca09", 1000)}
await settled()
secrets.keys = lambda: {{ADDRESS: {KEY}}}
ble_formats.take_key('press', source.sensors[0].advert, ADDRESS)
{sealed("02ca09", 1001)}
await settled()
print(columns(), counts())
"""
    )
    assert out == [
        "W ble: press has no key on this node: gasan ble key",
        "W ble: press: it encrypts, and no key is known",
        "[(10, [2506])] [2, 0, 1]",
    ]


LAYOUT_BUS = """
task.cancel()
await settled()
FIELDS = [[0, 1, 0x32, b"\\x80\\x00\\xff\\xff", 0, 0], [0, 3, 0x12], [0, 16, 0x12]]
LAYOUT = [[[b"\\xff\\x99\\x04", b"\\x05", 24]], FIELDS, True]
await started([2, "hall", {}, [["tag", ADDRESS, 2, 60000, [[10, 0, 0, 2, 0], [20, 1, 0, 1, 0]], LAYOUT]]])
def tag(temperature, sequence):
    data = b"\\xff\\x99\\x04\\x05" + temperature + b"\\x53\\x94" + bytes(11) + bytes([0, sequence]) + bytes(6)
    Radio.handler(5, (1, ADDRESS, 0, -50, b"\\x02\\x01\\x06" + bytes([len(data)]) + data))
"""


@pytest.mark.parametrize("bits", [64, 32])
def test_a_sensor_with_a_layout_of_its_own(bits: int) -> None:
    out = on_vm(
        LAYOUT_BUS
        + """
for temperature, sequence in (("12fc", 1), ("12fc", 1), ("12fc", 2), ("8000", 3)):
    tag(bytes.fromhex(temperature), sequence)
hear(bytes.fromhex("0001 02ca09"))  # BTHome, at its address
await settled()
print(columns(), [group[5] for group in rows()], counts())
""",
        bits,
    )
    # The last row's first column has a number that means "no value": it is kept, and marked so.
    assert out == ["[([10, 20], [[4860, 0, -37628], 21396])] [[0, 1, 2, 1, 32]] [5, 0, 0]"]


def test_tables_that_make_no_sense_are_refused() -> None:
    out = on_vm(
        LAYOUT_BUS
        + """
for items, table in (
    ([[0, 0, 0, 9, 0]], LAYOUT),  # two bytes into a u8
    ([[0, 9, 0, 2, 0]], LAYOUT),  # no such field
    ([[0, 0, 0, 2, 0]], [[], FIELDS, True]),
    ([[0, 0, 0, 2, 0]], [LAYOUT[0], [[0, 0, 0]], True]),
):
    try:
        ble.Source([2, "hall", {}, [["tag", ADDRESS, 2, 60000, items, table]]], sampler, None)
    except (ValueError, IndexError):
        print("refused")
"""
    )
    assert out == ["refused"] * 4


def test_an_active_scan_takes_scan_responses_too() -> None:
    out = on_vm(
        """
task.cancel()
await settled()
await started([2, "hall", {3: 1}, BUS[3]])
response = list(result(bytes.fromhex("0001 02ca09")))
response[2] = 4  # the type of a scan response
Radio.handler(5, tuple(response))
await settled()
print([call for call in Radio.calls if call[0] == "gap_scan"][-1], sampler.sampled)
"""
    )
    assert out == ["('gap_scan', 0, 100000, 50000, True) 1"]


@pytest.mark.parametrize("bits", [64, 32])
def test_the_strength_comes_with_each_new_measurement(bits: int) -> None:
    out = on_vm(
        """
task.cancel()
await settled()
items = [[10, 0x02, 0, 2, 0], [11, 256, 0, 10, 0], [12, 0x53, 0, 34, 0]]  # temperature, strength, a text
await started([2, "hall", {}, [["press", ADDRESS, 0x10, 60000, items]]])
for strength, body in ((-50, "0001 02ca09"), (-51, "0001 02ca09"), (-128, "0002 02ca09"), (20, "0003 02cb09"),
        (-70, "0004 5303414243"), (-71, "0005 53054142434445")):
    data = list(result(bytes.fromhex(body)))
    data[3] = strength
    Radio.handler(5, tuple(data))
await settled()
print(columns(), [group[5] for group in rows() if len(group) > 5], counts())
""",
        bits,
    )
    first, second = "(10, [[2506, 0, 1], [-50, -78, 148]])", "(11, [[-70, -1], [b'ABC', b'\\x00D']])"
    # Texts as a frame has them, the second by what is new. It has lost its end, and is marked as no value.
    assert out == [f"[{first}, {second}] [[1, 1, 1, 1, 32]] [6, 0, 0]"]


@pytest.mark.parametrize("bits", [64, 32])
def test_a_layout_with_a_strength_beside_one_without(bits: int) -> None:
    out = on_vm(
        LAYOUT_BUS
        + """
task.cancel()
await settled()
items = [[10, 0, 0, 2, 0]]
await started([2, "hall", {}, [["tag", ADDRESS, 0x12, 60000, items + [[20, 256, 0, 10, 0]], LAYOUT],
    ["other", OTHER, 2, 60000, [[30, 0, 0, 2, 0]], LAYOUT]]])
tag(b"\\x12\\xfc", 1)
await settled()
print(columns(), counts())
""",
        bits,
    )
    assert out == ["[([10, 20], [4860, -50])] [1, 0, 0]"]
