"""A board's NOR flash as a block device over a seekable stream, honest about what flash can do.

An erase sets a whole block to ones, programming can only clear bits, a power cut may come before, inside or
after any of them. One operation is the erase of a block or the program of one page. The methods that littlefs
calls do not allocate, since finalisers of unclosed files call them with the heap locked. Every boot needs a
new object: a file that died with an old one must not write into the next life's flash.
"""

import struct

_EIO = -5
_EINVAL = -22

# Where a cut falls into its operation.
BEFORE = 0
TORN = 1  # the first k bytes are done
BITS = 2  # a random choice of the bits is done, after a seed
AFTER = 3


class Flash:
    """Block device (extended interface, for VfsLfs2).

    ``store``: a stream with seek, readinto and write that holds ``blocks`` * ``block`` bytes.
    ``page``: bytes of one program operation. ``count``: a stream that is given the counters after each
    operation as four little-endian u32 (programs, erases, programs of bits that were not erased, operations).
    After a cut the object is dead: every call answers EIO and leaves the store alone.
    """

    def __init__(self, store, block, blocks, page, count=None):
        self._store = store
        self._block = block
        self._blocks = blocks
        self._page = page
        self._blank = bytes(b"\xff" * page)
        self._old = bytearray(page)
        self._new = bytearray(page)
        self._count = count
        self._counters = bytearray(16)
        self.programs = 0
        self.erases = 0
        self.overwrites = 0
        self.dead = False
        self._cut_at = -1
        self._cut_mode = BEFORE
        self._cut_arg = 0
        self._on_cut = None

    @property
    def operations(self):
        return self.programs + self.erases

    def cut(self, operation, mode, arg=0, on_cut=None):
        """Plan a power cut at an operation (counted from 0 since this object was made).

        ``arg`` is the number of bytes done (TORN) or a seed (BITS); ``on_cut`` is called after it.
        """
        self._cut_at = operation
        self._cut_mode = mode
        self._cut_arg = arg
        self._on_cut = on_cut

    def readblocks(self, block, buf, offset=0):
        if self.dead:
            return _EIO
        self._store.seek(block * self._block + offset)
        self._store.readinto(buf)
        return 0

    def writeblocks(self, block, buf, offset=-1):
        at = block * self._block
        if offset >= 0:
            at += offset
        elif self._erase_for(block, len(buf)):  # the simple interface erases by itself
            return _EIO
        if at % self._page or len(buf) % self._page:
            return _EINVAL
        done = 0
        while done < len(buf):
            if self._program(at + done, buf, done):
                return _EIO
            done += self._page
        return 0

    def ioctl(self, op, arg):
        if op == 4:
            return self._blocks
        if op == 5:
            return self._block
        if op == 6:
            return self._erase(arg)
        if op in (1, 2, 3):
            return _EIO if self.dead else 0
        return None

    # What is called for every operation keeps its frame below 12 words, or it would come from the heap.

    def _program(self, at, buf, start):
        if self.dead:
            return _EIO
        store = self._store
        store.seek(at)
        store.readinto(self._old)
        if self._old != self._blank or self.programs + self.erases == self._cut_at:
            return self._program_over(at, buf, start)
        store.seek(at)
        store.write(buf, start, self._page)
        self.programs += 1
        self._tell()
        return 0

    def _program_over(self, at, buf, start):
        """Program a page that is not blank, or the one at which the power is cut."""
        old = self._old
        new = self._new
        wrong = 0
        for i in range(self._page):
            byte = buf[start + i]
            new[i] = byte & old[i]
            wrong |= new[i] ^ byte
        if wrong:
            self.overwrites += 1
        if self.programs + self.erases == self._cut_at:
            return self._end(at, self._page, False)
        self._store.seek(at)
        self._store.write(new)
        self.programs += 1
        self._tell()
        return 0

    def _erase_for(self, block, size):
        while size > 0:
            if self._erase(block):
                return _EIO
            block += 1
            size -= self._block
        return 0

    def _erase(self, block):
        if self.dead:
            return _EIO
        at = block * self._block
        if self.programs + self.erases == self._cut_at:
            return self._end(at, self._block, True)
        self._store.seek(at)
        for _ in range(self._block // self._page):
            self._store.write(self._blank)
        self.erases += 1
        self._tell()
        return 0

    def _end(self, at, size, erase):
        """Do a part of the operation at ``at``; the power is gone afterwards."""
        page = self._page
        store = self._store
        mode = self._cut_mode
        noise = self._cut_arg % 65536 + 1
        start = 0
        while start < size:  # a range with a variable step would be an object
            if erase:
                store.seek(at + start)
                store.readinto(self._old)
            old = self._old
            new = self._blank if erase else self._new
            for i in range(page):
                if mode == BEFORE:
                    keep = 255
                elif mode == AFTER:
                    keep = 0
                elif mode == TORN:
                    keep = 0 if start + i < self._cut_arg else 255
                else:
                    noise = noise * 75 % 65537
                    keep = noise & 255
                old[i] = (old[i] & keep) | (new[i] & (keep ^ 255))
            store.seek(at + start)
            store.write(old)
            start += page
        self.dead = True
        if self._on_cut:
            self._on_cut()
        return _EIO

    def _tell(self):
        if self._count:
            struct.pack_into(
                "<IIII",
                self._counters,
                0,
                self.programs,
                self.erases,
                self.overwrites,
                self.programs + self.erases,
            )
            self._count.seek(0)
            self._count.write(self._counters)
