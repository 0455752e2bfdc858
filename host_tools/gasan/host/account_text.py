"""The account in words: a sentence that answers "did we lose data?", then the figures."""

from datetime import datetime

from gasan.host.account import Account, Loss, NodeAccount
from gasan.host.i18n import N_, _, ngettext
from gasan.host.wording import aligned, count_text

__all__ = ["account_text", "sentence"]

_REASONS = {
    "cut_before_commit": N_("not yet saved when the power went"),
    "spool_overflow": N_("the node's memory was full"),
    "torn": N_("damaged in the node's memory by a power cut"),
    "unsendable": N_("could not be sent"),
    "gone_from_node": N_("no longer on the node"),
}
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


def sentence(node: NodeAccount) -> str:
    """What happened to a node's readings, in one sentence."""
    if node.sampled == 0 and node.stored == 0:
        return _("{node}: no readings yet.").format(node=node.node)
    if node.lost:
        said = _("{node} lost {n} of {all} readings.").format(
            node=node.node, n=count_text(node.lost), all=count_text(node.sampled)
        )
    else:
        said = _("{node} lost nothing: {n} of {all} readings are stored.").format(
            node=node.node, n=count_text(node.stored), all=count_text(node.sampled)
        )
    if node.pending:
        said += " " + _("{n} are still on the node.").format(n=count_text(node.pending))
    if node.missed:
        said += " " + _("{n} due readings were never attempted.").format(n=count_text(node.missed))
    if node.conflicts:
        said += " " + _("{n} frames contradict stored ones and were set aside; look into it.").format(
            n=count_text(node.conflicts)
        )
    if node.unexplained:
        said += " " + _("The figures contradict each other by {n} readings; please report this.").format(
            n=count_text(abs(node.unexplained))
        )
    return said


def account_text(account: Account) -> str:
    """The whole account for a terminal: sentences, figures, losses, and where the readings are."""
    lines = [sentence(node) for node in account.nodes] or [_("No node has been heard yet.")]
    if account.nodes:
        lines += ["", *_figures(account)]
    losses = [(node.node, loss) for node in account.nodes for loss in node.losses]
    if losses:
        lines += ["", *(_loss(node, loss) for node, loss in losses)]
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
