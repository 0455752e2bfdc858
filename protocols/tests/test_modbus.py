"""Modbus, the pure parts: the same cases on CPython and on the VM, hostile bytes, and no allocation."""

from pathlib import Path

import pytest
from gasan.hil import both, fuzz
from gasan.wire.modbus_read import ModbusError

FILE = Path(__file__).parent / "both" / "modbus_cases.py"
cases = both.load(FILE)


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.__name__[5:])
def test_on_cpython(case) -> None:
    case()


def test_the_same_cases_on_the_vm(bits: int) -> None:
    out = both.on_vm(
        FILE,
        bits,
        "for case in cases.CASES: case()\nprint(len(cases.CASES))",
    )
    assert int(out) == len(cases.CASES)


def test_hostile_bytes_on_cpython(seed: int, fuzz_count: int) -> None:
    accepted, refused = fuzz.run(cases.hostile, ModbusError, fuzz.Fuzzer(seed, cases.CORPUS), fuzz_count)
    assert (accepted, refused) == (fuzz_count, 0)  # a decoder gives verdicts and raises nothing


def test_hostile_bytes_on_the_vm(bits: int, seed: int, fuzz_count_vm: int) -> None:
    out = both.on_vm(
        FILE,
        bits,
        "from gasan.hil import fuzz\n"
        f"print(fuzz.run(cases.hostile, (), fuzz.Fuzzer({seed}, cases.CORPUS), {fuzz_count_vm})[0])",
    )
    assert int(out) == fuzz_count_vm


def test_a_transaction_allocates_nothing(bits: int) -> None:
    both.on_vm(
        FILE,
        bits,
        """
import micropython
from gasan.wire import modbus, modbus_read, modbus_rtu, modbus_tcp
from modbus_cases import ANSWER, DATA, mbap

rtu, tcp = modbus_rtu.RtuRead(87, 1750), modbus_tcp.TcpRead()
out = bytearray(8)
read = modbus_read.read_request(1, 3, 0, 2)
request = modbus_rtu.with_crc(read)
chunk, frame = bytearray(b"\\x00" + ANSWER), bytearray(mbap(0, 1, DATA) + mbap(1, 1, DATA))
rtu.resync()
micropython.heap_lock()
rtu.ask(request, 300000)
rtu.feed(chunk, len(chunk), 2000)
while rtu.step(30000) >= 0:
    pass
modbus.reorder(rtu.buf, rtu.data, 2, 3, out)
tcp.ask(read)
done = tcp.feed(frame, len(frame))
micropython.heap_unlock()
assert done and rtu.quality == 0 and tcp.quality == 0 and bytes(out[:4]) == b"\\x44\\x33\\x22\\x11"
""",
    )
