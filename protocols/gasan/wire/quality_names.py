"""The printed names of qualities, apart from the codes, since a node does not print them."""

_NAMES = {
    0: "good",
    1: "uncertain",
    2: "uncertain/time",
    3: "uncertain/suspect",
    32: "bad/no-value",
    33: "bad/range",
    64: "bad/timeout",
    65: "bad/crc",
    66: "bad/answer",
    68: "bad/disconnected",
    69: "bad/stale",
    70: "bad/not-configured",
    71: "bad/input",
    72: "bad/undefined",
    80: "bad/exception",
    81: "bad/illegal-function",
    82: "bad/illegal-data-address",
    83: "bad/illegal-data-value",
    84: "bad/device-failure",
    85: "bad/acknowledge",
    86: "bad/device-busy",
    87: "bad/negative-acknowledge",
    88: "bad/memory-parity",
    90: "bad/gateway-path-unavailable",
    91: "bad/gateway-target-silent",
}


def name_of(code: int) -> str:
    """The name of a quality, 0..255; one without a name of its own is told by its kind and number."""
    known = _NAMES.get(code)
    if known is not None:
        return known
    if 80 < code < 96:
        return "bad/exception-%d" % (code - 80)
    return ("uncertain/%d" if code < 32 else "bad/%d") % code
