"""An old press as a model: an inverter turns its motor in cycles, a die is heated, a meter is on its supply.

The figures are those of a 4 kW machine at 60 Hz, metered on one phase. What moves: a cycle of 24 s (speeding
up, pressing, slowing down, standing), a stroke every 1.5 s while pressing, a die temperature that follows a
set value which steps between two values, and an energy counter that integrates the power.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Press", "PressState"]

_CYCLE_S = 24.0
_RAMP_S = 4.0
_RUN_S = 12.0
_STROKE_S = 1.5
_RATED_HZ = 60.0
_SET_VALUES_C = (180.0, 195.0)
_SET_VALUE_S = 300.0
_AMBIENT_C = 24.0
_HEATER_GAIN_C = 260.0  # above ambient, at full output
_HEATER_TAU_S = 180.0
_STEP_S = 0.25  # of the integration


@dataclass
class PressState:
    """Everything that the equipment shows, in SI units, degrees Celsius and ratios."""

    running: str = "stopped"  # or "accelerating", "running", "decelerating"
    frequency_hz: float = 0.0  # of the inverter's output
    motor_current_a: float = 0.0
    motor_voltage_v: float = 0.0
    dc_link_v: float = 540.0
    motor_power_w: float = 0.0
    motor_speed_rpm: float = 0.0
    die_c: float = 96.0
    die_set_c: float = _SET_VALUES_C[0]
    heating: float = 0.0  # 0 to 1
    heater_current_a: float = 0.0
    voltage_v: float = 220.0
    current_a: float = 0.0
    active_w: float = 0.0
    reactive_var: float = 0.0
    apparent_va: float = 0.0
    mains_hz: float = 60.0
    import_kwh: float = 1523.4
    import_kvarh: float = 488.1
    room_c: float = _AMBIENT_C
    room_rh: float = 46.0
    battery: int = 87


class Press:
    """The model; `now` brings it up to date and returns its state.

    seed: of its noise. clock: seconds, monotonic.
    """

    def __init__(self, seed: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._rng = random.Random(seed)
        self._clock = clock
        self._start = clock()
        self._done = 0.0
        self._state = PressState()

    def now(self) -> PressState:
        """The state at this moment."""
        until = self._clock() - self._start
        while self._done < until:
            step = min(_STEP_S, until - self._done)
            self._done += step
            self._advance(self._done, step)
        return self._state

    def _advance(self, t: float, step: float) -> None:
        s = self._state
        noise = self._rng.gauss
        self._drive(s, t)
        s.die_set_c = _SET_VALUES_C[int(t / _SET_VALUE_S) % 2]
        feed = (s.die_set_c - _AMBIENT_C) / _HEATER_GAIN_C
        s.heating = min(1.0, max(0.0, feed + 0.04 * (s.die_set_c - s.die_c)))
        goal = _AMBIENT_C + s.heating * _HEATER_GAIN_C
        s.die_c += (goal - s.die_c) * step / _HEATER_TAU_S + noise(0.0, 0.03) * math.sqrt(step)
        s.heater_current_a = 9.1 * s.heating * (0.9 if s.running == "running" else 1.0)
        s.voltage_v = 220.0 + 2.0 * math.sin(t / 97.0) - s.motor_power_w * 0.0006 + noise(0.0, 0.12)
        s.mains_hz = 60.0 + 0.02 * math.sin(t / 41.0) + noise(0.0, 0.004)
        s.active_w = 145.0 + s.motor_power_w / 3 / 0.94 + 220.0 * s.heater_current_a / 3 + noise(0.0, 1.5)
        s.reactive_var = 60.0 + 0.48 * s.motor_power_w / 3
        s.apparent_va = math.hypot(s.active_w, s.reactive_var)
        s.current_a = s.apparent_va / s.voltage_v
        s.import_kwh += s.active_w * step / 3.6e6
        s.import_kvarh += s.reactive_var * step / 3.6e6
        s.room_c = _AMBIENT_C + 1.4 * math.sin(t / 610.0) + 0.004 * (s.die_c - 96.0)
        s.room_rh = 46.0 - 1.9 * (s.room_c - _AMBIENT_C) + 0.6 * math.sin(t / 260.0)
        s.battery = max(1, 87 - int(t / 86400))

    def _drive(self, s: PressState, t: float) -> None:
        at = t % _CYCLE_S
        if at < _RAMP_S:
            s.running, s.frequency_hz = "accelerating", _RATED_HZ * at / _RAMP_S
        elif at < _RAMP_S + _RUN_S:
            s.running, s.frequency_hz = "running", _RATED_HZ
        elif at < 2 * _RAMP_S + _RUN_S:
            s.running = "decelerating"
            s.frequency_hz = _RATED_HZ * (2 * _RAMP_S + _RUN_S - at) / _RAMP_S
        else:
            s.running, s.frequency_hz = "stopped", 0.0
        speed = s.frequency_hz / _RATED_HZ
        stroke = max(0.0, math.sin(2 * math.pi * at / _STROKE_S)) if s.running == "running" else 0.0
        torque = 0.18 + 0.12 * (s.running == "accelerating") + 0.7 * stroke if speed else 0.0
        s.motor_voltage_v = 380.0 * speed
        s.motor_current_a = 8.9 * math.hypot(0.42, torque) + self._rng.gauss(0.0, 0.02) if speed else 0.0
        s.motor_power_w = 4000.0 * torque * speed
        s.motor_speed_rpm = 30.0 * s.frequency_hz * (1.0 - 0.035 * torque)
        s.dc_link_v = 540.0 - 14.0 * torque * speed + (11.0 if s.running == "decelerating" else 0.0)
