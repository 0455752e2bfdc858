"""AES-CCM (RFC 3610) as BLE advertisements use it: tag of 4 bytes, nonce of 11 to 13, and who may say what.

The block cipher is passed in: ``cipher(key)`` returns ``encrypt(source, target)``, which enciphers each 16
bytes of source (ECB) into target, of the same length and possibly the same buffer. On a board that is
``lambda key: cryptolib.aes(key, 1).encrypt``: made for each advertisement, since a made one takes more memory
than all else that is kept of a sensor.

A tag of 4 bytes is guessed by one forged advertisement in 4,294,967,296: fit for advertisements, of which a
radio hears some hundreds a second, and for nothing else.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Buffer = bytes | bytearray | memoryview
    Cipher = Callable[[bytes], Callable[[bytearray, bytearray], object]]

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


# What Seal.open says; the numbers go on from those of gasan.wire.bthome.
READABLE = const(1)
REPEATED = const(3)  # the last genuine one once more
REPLAYED = const(4)  # its counter does not go on from the last one
FORGED = const(5)  # not made with this key: another key, changed, or cut short
PLAIN = const(6)  # not encrypted, though the sensor has a key: never believed

TAG_SIZE = const(4)
_FLAGS = const(0x08)  # of the first block: the size of the tag, (4 - 2) / 2 << 3
_WITH_MORE = const(0x40)  # there is data that is authenticated only
_LOW = const(100)  # counters that a sensor may have soon after it was switched on


class Ccm:
    """For all sensors one, made once; it allocates what the cipher takes, and a little."""

    def __init__(self, cipher: "Cipher") -> None:
        self._cipher = cipher
        self._in = bytearray(48)  # counter block 0, counter block 1, first block of the MAC
        self._out = bytearray(48)

    def open(
        self,
        key: bytes,
        nonce: "Buffer",
        more: int,
        buf: "Buffer",
        start: int,
        end: int,
        tag: int,
        out: bytearray,
        at: int,
    ) -> bool:
        """Decipher buf[start:end] to out[at:], and say whether the tag buf[tag : tag + 4] is right.

        At most 255 bytes. nonce: 11 to 13 bytes; more: a byte that is authenticated besides, or -1 for none.
        When the tag is wrong, out[at:] holds zeros.
        """
        encrypt = self._cipher(key)
        given, made = self._in, self._out
        length = 14 - len(nonce)  # of the length field, less 1
        after = 1 + len(nonce)
        size = end - start
        for first in (0, 16, 32):
            given[first] = length
            given[first + 1 : first + after] = nonce
            for i in range(first + after, first + 16):
                given[i] = 0
        given[31] = 1
        given[32] |= _FLAGS if more < 0 else _FLAGS | _WITH_MORE
        given[47] = size
        encrypt(given, made)
        mac = bytearray(made[32:])
        if more >= 0:
            mac[1] ^= 1  # the length of that data, in 2 bytes
            mac[2] ^= more
            encrypt(mac, mac)
        done = 0
        while done < size:
            if done:
                given[31] = done // 16 + 1
                encrypt(given, made)  # the other two blocks stay as they were
            n = min(16, size - done)
            for i in range(n):
                byte = buf[start + done + i] ^ made[16 + i]
                out[at + done + i] = byte
                mac[i] ^= byte
            encrypt(mac, mac)
            done += n
        wrong = 0
        for i in range(TAG_SIZE):
            wrong |= mac[i] ^ made[i] ^ buf[tag + i]
        if wrong:
            for i in range(size):
                out[at + i] = 0
        return not wrong


class Seal:
    """The key of one sensor (16 bytes), and how far its counter has come: what is older is a replay.

    A sensor that gets a new battery counts from 0 again. That is taken only after `fell_silent`, and only for
    the first hundred counts, so that a recording from those is all that could be played to a receiver, and
    only in the place of a sensor that does not send. The first counter of all is taken as it comes.
    """

    def __init__(self, ccm: Ccm, key: bytes) -> None:
        self.key = key
        self._ccm = ccm
        self._counter = -1
        self._tag = bytearray(TAG_SIZE)
        self._silent = False

    def fell_silent(self) -> None:
        """Nothing genuine has come for as long as the sensor is ever silent."""
        self._silent = True

    def open(
        self,
        counter: int,
        nonce: "Buffer",
        more: int,
        buf: "Buffer",
        start: int,
        end: int,
        tag: int,
        out: bytearray,
        at: int,
    ) -> int:
        """READABLE, REPEATED, REPLAYED or FORGED; the text is in out[at:] when it is READABLE."""
        kept = self._tag
        if counter == self._counter:
            for i in range(TAG_SIZE):
                if kept[i] != buf[tag + i]:
                    return REPLAYED
            return REPEATED
        if counter < self._counter and not (self._silent and counter < _LOW):
            return REPLAYED
        if not self._ccm.open(self.key, nonce, more, buf, start, end, tag, out, at):
            return FORGED
        self._counter = counter
        self._silent = False
        for i in range(TAG_SIZE):
            kept[i] = buf[tag + i]
        return READABLE
