"""The rules of a site file for the time of a Modbus RTU line: what cannot work, and what would mend it."""

from math import ceil

from gasan.host.i18n import _
from gasan.host.line_budget import BUSY, Budget, Load, budget
from gasan.host.quantities import duration_text
from gasan.host.site import RtuBus
from gasan.host.toml_file import Document
from gasan.host.toml_lines import Path as Key

__all__ = ["check_line"]

_MARGIN_MS = 50


def check_line(document: Document, path: Key, bus: RtuBus) -> None:
    """Notes what cannot work on a line as errors, and that it has little time left as a warning."""
    found = budget(bus)
    for index, load in enumerate(found.loads):
        _check_device(document, (*path, "device", index), found, load)
    share = found.share
    if share <= BUSY:
        return
    mend = _(" or ").join(_mends(found)) or _("put some of its devices on another line")
    percent = round(100 * share)
    if share <= 1:
        what = _("the line {bus} is busy for {percent} % of its time").format(bus=bus.name, percent=percent)
        document.warning(path, what, mend)
        return
    impossible = False
    for index, load in enumerate(found.loads):
        for request, cost_ms in zip(load.requests, load.cost_ms, strict=True):
            if cost_ms > request.period_ms:
                what = _("{n} registers of {device} take {cost} ms of the line, and are due every {period}")
                document.error(
                    (*path, "device", index),
                    what.format(
                        n=request.count,
                        device=load.device.name,
                        cost=ceil(cost_ms),
                        period=duration_text(request.period_ms),
                    ),
                    mend,
                )
                impossible = True
                break
    if not impossible:
        what = _("the line {bus} would need {percent} % of its time").format(bus=bus.name, percent=percent)
        document.error(path, what, mend)


def _mends(found: Budget) -> list[str]:
    """The changes each of which alone leaves a line with time to spare."""
    out = []
    slower, fewer, rate = found.slower(), found.fewer(), found.faster()
    if slower is not None:
        load, period_ms = slower
        out.append(
            _("read {device} every {period} only").format(
                device=load.device.name, period=duration_text(period_ms)
            )
        )
    if rate is not None:
        out.append(_("set baudrate = {rate} here and on all its devices").format(rate=rate))
    if fewer is not None:
        load, channels = fewer
        out.append(
            _("leave {channels} of {device} out").format(
                channels=", ".join(channels), device=load.device.name
            )
        )
    return out


def _check_device(document: Document, path: Key, found: Budget, load: Load) -> None:
    """What one device asks for that this line cannot give."""
    device = load.device
    least_ms = ceil(found.gap_ms)
    if device.timeout_ms <= least_ms:
        what = _("at {rate} baud a device may only answer after {least} ms, and the timeout is {time}")
        document.error(
            (*path, "timeout"),
            what.format(rate=found.bus.baudrate, least=least_ms, time=duration_text(device.timeout_ms)),
            _('write at least "{least}ms"').format(least=least_ms + _MARGIN_MS),
        )
    if device.gap_ms and load.own_share > 1 >= load.share:
        what = _("with a gap of {gap} the requests to {device} would take {percent} % of its time")
        document.error(
            path,
            what.format(
                gap=duration_text(device.gap_ms), device=device.name, percent=round(100 * load.own_share)
            ),
            _("write longer periods, a shorter gap or fewer channels"),
        )
