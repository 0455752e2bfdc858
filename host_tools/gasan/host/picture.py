"""What a running gateway shows on stderr: a live table on a terminal, a line now and then anywhere else."""

import asyncio
import io
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gasan.host.compile import CompiledNode
from gasan.host.errors import TryAgainError
from gasan.host.gateway.live import Snapshot
from gasan.host.i18n import _
from gasan.host.view import Labels, live_view, plain_line
from gasan.host.wording import span_text
from rich.console import Console, RenderableType
from rich.live import Live

__all__ = ["Picture"]

_REFRESH_S = 0.5
_PLAIN_EVERY_S = 5.0
_SCREENSHOT_COLUMNS = 98
_SCREENSHOT_LINES = 60
_WEB_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Picture:
    """What stderr shows: a live table on a terminal, a line now and then anywhere else."""

    def __init__(
        self, title: str, nodes: Sequence[CompiledNode], snapshot: Callable[[], Snapshot], note: str = ""
    ) -> None:
        """`snapshot()` is what there is to show, `note` a line below it. The clock starts now."""
        self._title = title
        self._note = note
        self._snapshot = snapshot
        self._labels = Labels.of(nodes)
        self._console = Console(stderr=True)
        self._started = time.monotonic()
        self._live: Live | None = None
        self._last: Snapshot | None = None
        self._seconds = 0.0
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, screen=True, auto_refresh=False)

    @property
    def live(self) -> bool:
        """Whether it is a picture, not lines."""
        return self._live is not None

    def seconds(self) -> float:
        return time.monotonic() - self._started

    async def watch(self, stop: asyncio.Event) -> None:
        """Keeps the picture of the moment at which the end begins; later, nodes only hand over the rest."""
        await stop.wait()
        self._last = self._snapshot()
        self._seconds = self.seconds()

    async def draw(self) -> None:
        """Draws until it is cancelled."""
        if self._live is None:
            await self._print_lines()
            return
        self._live.start()
        try:
            while True:
                hint = _("Ctrl-C ends this with the account.")
                if self._last is not None:
                    hint = _("Ending: waiting for the last readings. Ctrl-C again quits at once.")
                view = self._view(self._snapshot(), self._console, [hint])
                self._live.update(view, refresh=True)
                await asyncio.sleep(_REFRESH_S)
        finally:
            self._live.stop()

    def close(self) -> None:
        """Gives the terminal back, whatever state it is in."""
        if self._live is not None:
            self._live.stop()

    def leave(self) -> None:
        """Leaves the last picture on the terminal, or the last line in the log."""
        snapshot = self._last or self._snapshot()
        if self._live is None:
            self._say(f"{span_text(self._seconds)} {plain_line(snapshot)}")
        else:
            self._console.print(self._view(snapshot, self._console, []))
            self._console.print()

    def save(self, file: Path) -> None:
        """Writes the last picture as SVG. Raises TryAgainError when it cannot be written."""
        console = Console(
            record=True,
            file=io.StringIO(),
            width=_SCREENSHOT_COLUMNS,
            height=_SCREENSHOT_LINES,
            force_terminal=True,
        )
        console.print(self._view(self._last or self._snapshot(), console, []))
        # Without the fonts that rich would fetch from elsewhere: the reader's own do.
        svg = _WEB_FONTS.sub("", console.export_svg(title="gasan"))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(svg, encoding="utf-8")
        except OSError as error:
            said = _("{file} cannot be written ({reason}); name another place")
            raise TryAgainError(said.format(file=file, reason=error.strerror or error)) from None

    def _view(self, snapshot: Snapshot, console: Console, hints: list[str]) -> RenderableType:
        if self._note:
            hints = [self._note, *hints]
        seconds = self._seconds if self._last is not None else self.seconds()
        width, height = console.size
        return live_view(self._title, snapshot, self._labels, seconds, width, height, hints)

    async def _print_lines(self) -> None:
        if self._note:
            self._say(self._note)
        states: list[tuple[str, str]] = []
        due = 0.0
        while self._last is None:
            snapshot = self._snapshot()
            now = [(node.name, node.state) for node in snapshot.nodes]
            if now != states or self.seconds() >= due:
                states, due = now, self.seconds() + _PLAIN_EVERY_S
                self._say(f"{span_text(self.seconds())} {plain_line(snapshot)}")
            await asyncio.sleep(_REFRESH_S)

    def _say(self, text: str) -> None:
        print(f"gasan: {text}", file=sys.stderr, flush=True)
