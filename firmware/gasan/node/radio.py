"""The board's one radio, for parts of the node that use it side by side. Loaded only where there are two.

It has the calls of `bluetooth.BLE` that those parts make; an interrupt goes to all of them, of which one may
answer, and the radio stays on when one of them ends.
"""

import bluetooth

ble = bluetooth.BLE()
_handlers: list = []


def irq(handler: "object") -> None:
    """Have ``handler`` called as well; it must not raise."""
    if handler not in _handlers:
        _handlers.append(handler)
    ble.irq(_irq)


def active(on: bool) -> bool:
    """Switch the radio on; it is never switched off."""
    return bool(ble.active(True)) if on else True


def gap_scan(*args: "object") -> None:
    ble.gap_scan(*args)  # type: ignore[arg-type]


def _irq(event: int, data: tuple) -> "object":
    answer = None
    for handler in _handlers:
        said = handler(event, data)
        if said is not None:
            answer = said
    return answer
