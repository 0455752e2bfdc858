"""In which order an unknown line is asked: what is likely and cheap comes first. Pure.

Every batch (one setting, a few units) has a weight, the share of lines on which it finds the first device,
and a cost in seconds; batches are asked by falling weight per second, which makes the expected time least.
The weights are estimates from the factory settings in makers' manuals and in the specification (19200 8E1);
they decide only the order, never whether something is asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gasan.host.modbus.settings import Setting

__all__ = ["Batch", "Timing", "batches", "likelihood", "settings_by_likelihood"]

_SETTINGS = {
    (9600, "N"): 40.0,
    (19200, "E"): 16.0,
    (9600, "E"): 10.0,
    (38400, "N"): 8.0,
    (19200, "N"): 7.0,
    (115200, "N"): 5.0,
    (2400, "N"): 2.5,
    (4800, "N"): 2.0,
    (38400, "E"): 2.0,
    (57600, "N"): 1.5,
    (115200, "E"): 1.0,
    (9600, "O"): 0.8,
    (19200, "O"): 0.8,
    (4800, "E"): 0.5,
    (1200, "N"): 0.5,
    (2400, "E"): 0.4,
    (57600, "E"): 0.4,
}
_OTHER = 0.1
_SECOND_STOP_BIT = 0.05  # times the weight with one: a UART that sends two is heard with one
# Units that are asked together, and the share of lines whose first device is among them.
_UNITS: tuple[tuple[Sequence[int], float], ...] = (
    ((1,), 0.55),
    (tuple(range(2, 6)), 0.20),
    (tuple(range(6, 21)), 0.12),
    ((*range(21, 33), 50, 99, 100, 101, 126, 127, 200, 247), 0.06),
)
_REST = 0.07
_REQUEST = 8  # bytes
_OVERHEAD_S = 0.004  # of the program and the adapter, for each request
_RETUNE_S = 0.02  # of the adapter, to change its settings


@dataclass(frozen=True)
class Timing:
    """How long a device may take before its answer begins, in seconds.

    The last unit of a batch is given `patient_s`, since the settings change after it and damage an answer;
    before that a late answer is still heard while the next unit is asked.
    """

    answer_s: float = 0.12
    patient_s: float = 0.3


@dataclass(frozen=True)
class Batch:
    """Units to be asked at one setting."""

    setting: Setting
    units: tuple[int, ...]
    weight: float

    def seconds(self, timing: Timing) -> float:
        """What it costs when nobody answers."""
        each = _REQUEST * self.setting.char_s + self.setting.gap_s + _OVERHEAD_S
        waits = (len(self.units) - 1) * timing.answer_s + timing.patient_s
        return _RETUNE_S + len(self.units) * each + waits


def likelihood(setting: Setting) -> float:
    """Relative share of lines with this setting."""
    one = _SETTINGS.get((setting.baudrate, setting.parity), _OTHER)
    return one if setting.stop == 1 else one * _SECOND_STOP_BIT


def settings_by_likelihood(settings: Iterable[Setting]) -> list[Setting]:
    """Most likely first."""
    return sorted(set(settings), key=lambda one: (-likelihood(one), one))


def batches(settings: Iterable[Setting], units: Sequence[int], timing: Timing) -> list[Batch]:
    """Everything there is to ask: each unit at each setting once, in the best order."""
    wanted = set(units)
    groups: list[tuple[tuple[int, ...], float]] = []
    for members, share in _UNITS:
        chosen = tuple(unit for unit in members if unit in wanted)
        wanted -= set(chosen)
        if chosen:
            groups.append((chosen, share * len(chosen) / len(members)))
    if wanted:
        groups.append((tuple(sorted(wanted)), _REST))
    out = [
        Batch(setting, members, likelihood(setting) * share)
        for setting in settings_by_likelihood(settings)
        for members, share in groups
    ]
    return sorted(out, key=lambda one: -one.weight / one.seconds(timing))
