"""The account in words: a sentence that answers "did we lose data?", then the figures."""

from datetime import datetime

from gasan.host.account import Account, Disagreement, Loss, NodeAccount
from gasan.host.i18n import N_, _, ngettext
from gasan.host.wording import aligned, count_text

__all__ = ["account_text", "sentence"]

_REASONS = {
    "cut_before_commit": N_("not yet saved when the power went"),
    "spool_overflow": N_("the node's memory was full"),
    "torn": N_("damaged in the node's memory"),
    "unsendable": N_("could not be sent"),
    "gone_from_node": N_("no longer on the node"),
    "delivered_elsewhere": N_("delivered to another gateway"),
    "spool_wiped": N_("the node's memory was erased"),
    "node_replaced": N_("on a board that was replaced"),
    "gateway_damaged": N_("stored, and lost with a damaged database"),
    "gateway_restored": N_("stored after the backup that was restored"),
}
_DISAGREEMENTS = {
    "overlap": N_("Boot {boot}: {n} readings stand in two stored frames; please report this."),
    "hole": N_(
        "Boot {boot}: {n} readings are missing between frames that follow each other; please report this."
    ),
    "end": N_("Boot {boot}: the node counts {n} readings for which it has no frame; please report this."),
    "rows": N_("{n} readings of stored frames have no row, or too many; check the database."),
    "dropped": N_(
        "The channels add up to {n} more dropped readings than the node tells; please report this."
    ),
}
_GAPS = {
    "missed": N_("nothing was read"),
    "restarted": N_("the node was off or started again"),
    "pending": N_("still on the node"),
}
_GAPS_SHOWN = 20
_WEEKDAYS = (
    N_("Monday"), N_("Tuesday"), N_("Wednesday"), N_("Thursday"), N_("Friday"), N_("Saturday"), N_("Sunday"),
)  # fmt: skip
_CHANNEL_COLUMNS = (
    (N_("sampled"), "sampled"),
    (N_("stored"), "stored"),
    (N_("dropped by rule"), "dropped_by_rule"),
    (N_("lost"), "lost"),
    (N_("pending"), "pending"),
    (N_("bad"), "bad"),
    (N_("uncertain"), "uncertain"),
)
_COLUMNS = (
    (N_("sampled"), "sampled"),
    (N_("stored"), "stored"),
    (N_("dropped by rule"), "dropped_by_rule"),
    (N_("lost"), "lost"),
    (N_("pending"), "pending"),
    (N_("missed"), "missed"),
    (N_("duplicated"), "duplicated"),
    (N_("conflicts"), "conflicts"),
    (N_("frames"), "frames"),
)


def sentence(node: NodeAccount, now_ms: int | None = None) -> str:
    """What happened to a node's readings, in one sentence, and what is to be looked into."""
    since = None if node.since_ms is None else _since(node.since_ms, now_ms)
    if node.sampled == 0 and node.stored == 0:
        if since is None:
            return _("{node}: no readings yet.").format(node=node.node)
        return _("{node}: no readings since {since}.").format(node=node.node, since=since)
    if node.lost and since is None:
        said = _("{node} lost {n} of {all} readings.")
    elif node.lost:
        said = _("{node} lost {n} of {all} readings since {since}.")
    elif node.torn_ends and since is None:
        said = _("{node} may have lost readings: {stored} of {all} that are known of are stored.")
    elif node.torn_ends:
        said = _(
            "{node} may have lost readings since {since}: {stored} of {all} that are known of are stored."
        )
    elif since is None:
        said = _("{node} lost nothing: {stored} of {all} readings are stored.")
    else:
        said = _("{node} lost nothing since {since}: {stored} of {all} readings are stored.")
    said = said.format(
        node=node.node,
        n=count_text(node.lost),
        stored=count_text(node.stored),
        all=count_text(node.sampled),
        since=since,
    )
    if node.pending:
        said += " " + _("{n} are still on the node.").format(n=count_text(node.pending))
    if node.missed:
        said += " " + _("{n} due readings were never attempted.").format(n=count_text(node.missed))
    if node.torn_ends:
        said += " " + ngettext(
            "The end of what {n} start of it had saved is damaged in its memory: how many readings stood"
            " there nobody can tell.",
            "The ends of what {n} starts of it had saved are damaged in its memory: how many readings stood"
            " there nobody can tell.",
            node.torn_ends,
        ).format(n=count_text(node.torn_ends))
    if node.open_ends:
        said += " " + ngettext(
            "How {n} start of it ended nobody can tell: it may have sampled more.",
            "How {n} starts of it ended nobody can tell: they may have sampled more.",
            node.open_ends,
        ).format(n=count_text(node.open_ends))
    if node.conflicts:
        said += " " + _("{n} frames contradict stored ones and were set aside; look into it.").format(
            n=count_text(node.conflicts)
        )
    for each in node.disagreements:
        said += " " + _disagreement(each)
    if node.unexplained and not node.disagreements:
        said += " " + _("The figures contradict each other by {n} readings; please report this.").format(
            n=count_text(abs(node.unexplained))
        )
    return said


def _disagreement(each: Disagreement) -> str:
    said = _(_DISAGREEMENTS[each.kind]) if each.kind in _DISAGREEMENTS else each.kind
    return said.format(n=count_text(each.readings), boot=each.boot)


def _since(time_ms: int, now_ms: int | None = None) -> str:
    """A moment as one says it: the weekday within a week, else the date."""
    moment = datetime.fromtimestamp(time_ms / 1000).astimezone()
    now = (
        datetime.now().astimezone() if now_ms is None else datetime.fromtimestamp(now_ms / 1000).astimezone()
    )
    days = (now.date() - moment.date()).days
    if 0 <= days < 7:
        return f"{_(_WEEKDAYS[moment.weekday()])} {moment:%H:%M}"
    return f"{moment:%Y-%m-%d %H:%M}"


def account_text(account: Account, *, details: bool = False) -> str:
    """The whole account for a terminal: sentences, figures, losses, and where the readings are.

    details: also the figures of each channel, and the gaps.
    """
    lines = [sentence(node) for node in account.nodes] or [_("No node has been heard yet.")]
    if account.nodes:
        lines += ["", *_figures(account)]
    if details:
        for node in account.nodes:
            lines += _channels(node)
    losses = [(node.node, loss) for node in account.nodes for loss in node.losses]
    if losses:
        lines += ["", *(_loss(node, loss) for node, loss in losses)]
    if details:
        for node in account.nodes:
            lines += _gaps(node)
    lines += [""]
    if account.total("stored"):
        lines.append(
            _("{bytes} bytes per reading in {frames} frames.").format(
                bytes=f"{account.bytes_per_reading:.2f}", frames=count_text(account.total("frames"))
            )
        )
    if account.rejected:
        lines.append(
            _("{n} frames were not authentic and were refused.").format(n=count_text(account.rejected))
        )
    lines.append(_("The readings are in {db}").format(db=account.db))
    return "\n".join(lines)


def _figures(account: Account) -> list[str]:
    header = [_("node"), *(_(title) for title, _name in _COLUMNS)]
    cells = [header]
    for node in account.nodes:
        cells.append([node.node, *(count_text(getattr(node, name)) for _title, name in _COLUMNS)])
    if len(account.nodes) > 1:
        cells.append([_("all"), *(count_text(account.total(name)) for _title, name in _COLUMNS)])
    return aligned(cells, right=range(1, len(header)))


def _channels(node: NodeAccount) -> list[str]:
    """The equation of each channel, and of what belongs to channels that nobody can tell."""
    if not node.channels:
        return []
    cells = [[_("device"), _("channel"), *(_(title) for title, _name in _CHANNEL_COLUMNS)]]
    for channel in node.channels:
        figures = (getattr(channel, name) for _title, name in _CHANNEL_COLUMNS)
        cells.append([channel.device, channel.channel, *(count_text(n) for n in figures)])
    known = sum(channel.dropped_by_rule for channel in node.channels)
    rest = {
        "dropped_by_rule": node.dropped_by_rule - known,
        "lost": node.nobodys_lost,
        "pending": node.pending,
    }
    if any(rest.values()):
        rest["sampled"] = sum(rest.values())
        figures = (rest.get(name, 0) for _title, name in _CHANNEL_COLUMNS)
        cells.append([_("(unknown)"), "", *(count_text(n) if n else "" for n in figures)])
    return ["", node.node, *aligned(cells, right=range(2, len(cells[0])))]


def _gaps(node: NodeAccount) -> list[str]:
    """The intervals without readings, one line for all channels of a device, the latest last."""
    channels: dict[tuple[int, int, str, str], list[str]] = {}
    for gap in node.gaps:
        key = gap.from_ms // 1000, gap.to_ms // 1000, gap.device, gap.reason
        channels.setdefault(key, []).append(gap.channel)
    if not channels:
        return []
    lines = ["", _("{node}: no readings").format(node=node.node)]
    for (begin, end, device, reason), names in list(channels.items())[-_GAPS_SHOWN:]:
        why = _(_GAPS[reason]) if reason in _GAPS else _(_REASONS[reason]) if reason in _REASONS else reason
        lines.append(
            _("  {device} ({channels}): {start} to {end}, {why}").format(
                start=_moment(begin * 1000),
                end=_moment(end * 1000),
                device=device,
                channels=", ".join(names),
                why=why,
            )
        )
    if len(channels) > _GAPS_SHOWN:
        more = len(channels) - _GAPS_SHOWN
        lines.append(_("  and {n} earlier ones; --json has them all").format(n=count_text(more)))
    return lines


def _loss(node: str, loss: Loss) -> str:
    reason = _(_REASONS[loss.reason]) if loss.reason in _REASONS else loss.reason
    said = ngettext("{node}: {n} reading, {reason}", "{node}: {n} readings, {reason}", loss.readings).format(
        node=node, n=count_text(loss.readings), reason=reason
    )
    if loss.from_ms is not None and loss.to_ms is not None:
        said += _(" ({start} to {end})").format(start=_moment(loss.from_ms), end=_moment(loss.to_ms))
    return said


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000).astimezone():%Y-%m-%d %H:%M:%S}"
