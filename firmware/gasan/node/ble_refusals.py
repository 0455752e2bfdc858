"""Why an advertisement is not believed, in words. Loaded when the first one is refused."""

from gasan.node import log

# By what a decoder says: gasan.wire.bthome and gasan.wire.ccm have the numbers.
_WHY = {
    2: "it encrypts, and no key is known",
    4: "an old advertisement came again",
    5: "an advertisement was not made with its key",
    6: "an advertisement was not encrypted",
}


def tell(name: str, state: int) -> None:
    """Tell the log about the sensor of that name."""
    log.warn("ble: %s: %s" % (name, _WHY[state]))
