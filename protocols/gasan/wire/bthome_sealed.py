"""Encrypted BTHome v2: AES-CCM, replay and downgrade checks. Source: bthome.io/encryption.

Service data of an encrypted advertisement: device information, the sender's address if bit 1 says so (6
bytes, little-endian), the objects enciphered, a counter (4 bytes, little-endian), a tag of 4 bytes. The nonce
is the address as printed, the UUID as sent (d2 fc), the device information and the counter as sent.
"""

from gasan.wire import bthome, ccm

TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

    def const(value: int) -> int:
        return value
else:
    try:
        from micropython import const
    except ImportError:

        def const(value):
            return value


_ROOM = const(32)  # bytes; what a board hears has 31 at most


class Sealed(bthome.Advert):
    """An `Advert` of one sensor that encrypts; `open` also says PLAIN and what `ccm.Seal.open` says.

    address: 6 bytes as printed. seal: of the sensor's key; while it is None, what is encrypted stays
    ENCRYPTED. When `open` has said READABLE, `buf[start:end]` is the device information and the objects,
    deciphered. room: more than the bytes of the longest objects; longer ones are FORGED.
    """

    def __init__(self, address: bytes, seal: "ccm.Seal | None", room: int = _ROOM) -> None:
        super().__init__()
        self.sealed = True
        self.seal = seal
        self._address = address
        self._nonce = bytearray(13)
        self._nonce[6] = 0xD2
        self._nonce[7] = 0xFC
        self._text = bytearray(room)

    def open(self, buf: "Buffer", start: int, end: int) -> int:
        state = super().open(buf, start, end)
        if state == bthome.READABLE:
            self.objects = 0
            return ccm.PLAIN
        seal = self.seal
        if state != bthome.ENCRYPTED or seal is None:
            return state
        start = self.start
        tag = self.end - ccm.TAG_SIZE
        counter = tag - 4
        information = buf[start]
        nonce = self._nonce
        nonce[:6] = self._address
        nonce[8] = information
        start += 1
        if information & 2:
            if start + 6 > counter:
                return ccm.FORGED
            for i in range(6):
                nonce[i] = buf[start + 5 - i]
            start += 6
        if not 0 < counter - start < len(self._text):
            return ccm.FORGED
        nonce[9:] = buf[counter:tag]
        count = buf[counter] | buf[counter + 1] << 8 | buf[counter + 2] << 16 | buf[counter + 3] << 24
        text = self._text
        state = seal.open(count, nonce, -1, buf, start, counter, tag, text, 1)
        if state == ccm.READABLE:
            text[0] = information
            self.buf = text
            self.start = 0
            self.end = 1 + counter - start
            self._walk(1)
        return state
