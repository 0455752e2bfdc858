"""The quality of a sample: one byte that says whether there is a value and how far to trust it.

0..31 good or uncertain, 32..63 bad with the value kept, 64 and above no value. Above ``EXCEPTION`` the low
four bits are the Modbus exception code with which the device refused (Modbus Application Protocol 1.1b3, 7).
"""

try:
    from micropython import const
except ImportError:

    def const(x: int) -> int:
        return x


GOOD = const(0)
UNCERTAIN = const(1)
UNCERTAIN_TIME = const(2)
SUSPECT = const(3)
BAD_NO_VALUE = const(32)
BAD_RANGE = const(33)
TIMEOUT = const(64)
BAD_CRC = const(65)
BAD_ANSWER = const(66)
DISCONNECTED = const(68)
STALE = const(69)
NOT_CONFIGURED = const(70)
EXCEPTION = const(80)

# A sample has no value if and only if its quality is at least this.
NO_VALUE = const(64)


def name(code: int) -> str:
    """The printed name of a quality: "good", "uncertain/time", "bad/timeout", "bad/illegal-data-address"."""
    names = {
        GOOD: "good",
        UNCERTAIN: "uncertain",
        UNCERTAIN_TIME: "uncertain/time",
        SUSPECT: "uncertain/suspect",
        BAD_NO_VALUE: "bad/no-value",
        BAD_RANGE: "bad/range",
        TIMEOUT: "bad/timeout",
        BAD_CRC: "bad/crc",
        BAD_ANSWER: "bad/answer",
        DISCONNECTED: "bad/disconnected",
        STALE: "bad/stale",
        NOT_CONFIGURED: "bad/not-configured",
        EXCEPTION: "bad/exception",
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
    known = names.get(code)
    if known is not None:
        return known
    if EXCEPTION < code < 96:
        return "bad/exception-%d" % (code - EXCEPTION)
    if code < 32:
        return "uncertain/%d" % code
    return "bad/%d" % code
