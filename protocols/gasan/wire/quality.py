"""The quality of a sample: one byte that says whether there is a value and how far to trust it.

0..31 good or uncertain, 32..63 bad with the value kept, 64 and above no value. Above ``EXCEPTION`` the low
four bits are the Modbus exception code with which the device refused (Modbus Application Protocol 1.1b3, 7).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


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
BAD_INPUT = const(71)
UNDEFINED = const(72)
EXCEPTION = const(80)

# A sample has no value if and only if its quality is at least this.
NO_VALUE = const(64)


def name(code: int) -> str:
    """The printed name of a quality: "good", "uncertain/time", "bad/timeout", "bad/illegal-data-address"."""
    from gasan.wire.quality_names import name_of

    return name_of(code)
