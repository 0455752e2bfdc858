"""Requests that are no plain read: the specification's examples, pymodbus as a judge, hostile bytes."""

import random
from pathlib import Path

import pytest
from gasan.hil import both, fuzz
from gasan.wire import modbus_write as w
from gasan.wire.modbus_read import ModbusError, read_request
from gasan.wire.quality import GOOD
from pymodbus.pdu import DecodePDU, bit_message, mei_message, register_message

FILE = Path(__file__).parent / "both" / "modbus_write_cases.py"
UNIT = 9
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


def test_hostile_bytes(seed: int, fuzz_count_vm: int) -> None:
    accepted, refused = fuzz.run(cases.hostile, ModbusError, fuzz.Fuzzer(seed, cases.CORPUS), fuzz_count_vm)
    assert (accepted, refused) == (fuzz_count_vm, 0)


def test_pymodbus_makes_the_same_requests_and_its_answers_are_good(seed: int) -> None:
    rng = random.Random(seed)
    decoder = DecodePDU(is_server=True)
    for _ in range(200):
        at, value, other = (rng.randrange(60000) for _ in range(3))
        values = [rng.random() < 0.5 for _ in range(rng.randrange(1, 1969))]
        words = [rng.randrange(65536) for _ in range(rng.randrange(1, 122))]
        data = b"".join(word.to_bytes(2, "big") for word in words)
        count = rng.randrange(1, 126)
        read = [rng.randrange(65536) for _ in range(count)]
        pairs = [
            (
                read_request(UNIT, 1, at, len(values)),
                bit_message.ReadCoilsRequest(address=at, count=len(values)),
                None,
            ),
            (
                read_request(UNIT, 2, at, len(values)),
                bit_message.ReadDiscreteInputsRequest(address=at, count=len(values)),
                None,
            ),
            (
                w.write_coil(UNIT, at, values[0]),
                bit_message.WriteSingleCoilRequest(address=at, bits=values[:1]),
                bit_message.WriteSingleCoilResponse(address=at, bits=values[:1]),
            ),
            (
                w.write_register(UNIT, at, value),
                register_message.WriteSingleRegisterRequest(address=at, registers=[value]),
                register_message.WriteSingleRegisterResponse(address=at, registers=[value]),
            ),
            (
                w.write_coils(UNIT, at, values),
                bit_message.WriteMultipleCoilsRequest(address=at, bits=values),
                bit_message.WriteMultipleCoilsResponse(address=at, count=len(values)),
            ),
            (
                w.write_registers(UNIT, at, data),
                register_message.WriteMultipleRegistersRequest(address=at, registers=words),
                register_message.WriteMultipleRegistersResponse(address=at, count=len(words)),
            ),
            (
                w.mask_register(UNIT, at, value, other),
                register_message.MaskWriteRegisterRequest(address=at, and_mask=value, or_mask=other),
                register_message.MaskWriteRegisterResponse(address=at, and_mask=value, or_mask=other),
            ),
            (
                w.read_write(UNIT, at, count, value, data),
                register_message.ReadWriteMultipleRegistersRequest(
                    read_address=at, read_count=count, write_address=value, write_registers=words
                ),
                register_message.ReadWriteMultipleRegistersResponse(registers=read),
            ),
            (
                w.identify(UNIT, 2, 5),
                mei_message.ReadDeviceInformationRequest(read_code=2, object_id=5),
                mei_message.ReadDeviceInformationResponse(
                    read_code=2, information={0: b"maker", 1: b"", 5: b"model"}
                ),
            ),
        ]
        for made, asked, answer in pairs:
            theirs = bytes([asked.function_code]) + asked.encode()
            assert made[1:] == theirs, type(asked).__name__
            assert type(decoder.decode(made[1:])) is type(asked)
            if answer is not None:
                came = bytes([UNIT, answer.function_code]) + answer.encode()
                assert w.judge(made, 0, came, 0, len(came)) == GOOD, type(answer).__name__
