"""One line of the bench table."""

from dataclasses import dataclass

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """A figure, the bar it must reach and the peer it was measured against in the same run.

    figure: the measured value, or text when it could not be had.
    bar: in words, with its comparison ("<= 2.0"); empty when the figure is only informative.
    peer: the other side's figure or the physical limit, in words; empty when there is none.
    met: whether the bar is reached; None when there is no bar or no figure.
    note: one short sentence on how it was measured.
    """

    name: str
    figure: float | str
    unit: str
    bar: str = ""
    peer: str = ""
    met: bool | None = None
    note: str = ""
