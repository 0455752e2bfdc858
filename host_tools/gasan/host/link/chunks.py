"""A console's stream taken apart: packets stand between zeros, and so does the text that others print."""

import re
from collections.abc import Iterator

__all__ = ["Chunks", "Lines", "as_text", "tail_text"]

_WAIT_MS = 500  # text with nothing behind it is told after that
_LINE_MAX = 1_000
_TAIL_MIN = 8  # shorter runs of printable characters come by chance
_PRINTABLE = re.compile(r"[\t\r\n\x1b\x20-\x7e\xa0-\ufffc\U00010000-\U0010ffff]*")


class Chunks:
    """Cuts a stream at its zeros; keeps at most `size` bytes, plus what one call brings."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest = bytearray()
        self._since_ms = 0

    def split(self, data: bytes, now_ms: int) -> Iterator[bytes]:
        """The chunks that `data` completes, without the empty ones."""
        *chunks, rest = data.split(b"\x00")
        for chunk in chunks:
            if self._rest:
                chunk = bytes(self._rest) + chunk
                self._rest.clear()
            if chunk:
                yield chunk
        if rest:
            self._rest += rest
            self._since_ms = now_ms
        if len(self._rest) > self._size:  # longer than any packet
            yield from self._take()

    def waiting(self, now_ms: int) -> Iterator[bytes]:
        """Text behind which nothing came for a while: a program that printed and died."""
        if self._rest and now_ms - self._since_ms >= _WAIT_MS and as_text(self._rest) is not None:
            yield from self._take()

    def clear(self) -> None:
        """Forget what is not complete."""
        self._rest.clear()

    def _take(self) -> Iterator[bytes]:
        chunk = bytes(self._rest)
        self._rest.clear()
        yield chunk


class Lines:
    """Puts lines of text together, across the packets between their parts."""

    def __init__(self) -> None:
        self._line = ""
        self._since_ms = 0

    def add(self, text: str, now_ms: int) -> list[str]:
        """The lines that `text` completes, without the empty ones."""
        if not text:
            return []
        *lines, self._line = (self._line + text).replace("\r", "\n").split("\n")
        self._since_ms = now_ms
        if len(self._line) > _LINE_MAX:
            lines += self.end()
        return [line for line in lines if line]

    def waiting(self, now_ms: int) -> list[str]:
        """A line without an end, some time after it was printed."""
        return self.end() if now_ms - self._since_ms >= _WAIT_MS else []

    def end(self) -> list[str]:
        """What there is of a line."""
        line, self._line = self._line, ""
        return [line] if line else []


def as_text(chunk: bytes | bytearray) -> str | None:
    """The chunk as text, or None if it holds anything that nobody prints."""
    try:
        text = chunk.decode()
    except UnicodeDecodeError:
        return None
    return text if _PRINTABLE.fullmatch(text) else None


def tail_text(chunk: bytes) -> str:
    """The text at the end of a chunk that begins with noise; empty if there is none worth the name."""
    found = _PRINTABLE.match(chunk.decode(errors="replace")[::-1])
    return found[0][::-1] if found and len(found[0]) >= _TAIL_MIN else ""
