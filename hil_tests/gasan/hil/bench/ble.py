"""BLE advertisements that a node decodes in a second, on the VM: from the radio's bytes to readings."""

from dataclasses import dataclass
from pathlib import Path

from gasan.hil import vmrun
from gasan.hil.aes_peer import encipher
from gasan.hil.bench.row import Row

__all__ = ["Speed", "measure", "rows"]

_ADDRESS = bytes.fromhex("5448e68f80a5")
_KEY = bytes(range(16))
_COUNTER = bytes.fromhex("10270000")
_PROGRAM = Path(__file__).with_name("ble_vm.py")
_READABLE = 1
_BARS = {"plain": 20_000, "sealed": 5_000, "layout": None}
_NAMES = {
    "plain": "BTHome adverts decoded, 3 values",
    "sealed": "encrypted BTHome adverts decoded, 3 values",
    "layout": "RuuviTag adverts decoded by table, 3 values",
}


@dataclass(frozen=True)
class Speed:
    """Advertisements a second, and the readings of the last one as the node keeps them."""

    per_second: int
    read: bytes


def _sealed() -> bytes:
    """What ble_vm's plain advertisement is when the sensor encrypts it."""
    made = encipher(_KEY, _ADDRESS + b"\xd2\xfc\x41" + _COUNTER, bytes.fromhex("0005016102ca0903bf13"))
    data = b"\x16\xd2\xfc\x41" + made[:-4] + _COUNTER + made[-4:]
    return b"\x02\x01\x06" + bytes([len(data)]) + data


def measure(case: str, bits: int = 64, repetitions: int = 10_000, rounds: int = 5) -> Speed:
    """One of "plain", "sealed", "layout". Raises VmMissing, and VmFailed when a plain one allocates."""
    out = vmrun.run(_PROGRAM, case, repetitions, rounds, _sealed().hex(), bits=bits, timeout=120)
    per_second, state, read = out.split()
    assert int(state) == _READABLE
    return Speed(int(per_second), bytes.fromhex(read))


def rows() -> list[Row]:
    """The table rows of `make bench`."""
    made = []
    for case, bar in _BARS.items():
        per_second = measure(case).per_second
        made.append(
            Row(
                _NAMES[case],
                float(per_second),
                "adverts/s",
                "" if bar is None else f">= {bar}",
                "",
                None if bar is None else per_second >= bar,
                "64-bit VM, best of 5 rounds of 10,000"
                + ("" if case == "sealed" else "; nothing is allocated"),
            )
        )
    return made
