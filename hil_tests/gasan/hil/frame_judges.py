"""Other people's software as judges of frames: zcbor validates, pycose verifies (see also `frame_by_cbor2`).

Both want cbor2 5.
"""

from functools import cache
from importlib import resources
from typing import Any

import zcbor
from gasan.boards.places import ROOT
from pycose.keys.symmetric import SymmetricKey
from pycose.messages.cosemessage import CoseMessage
from pycose.messages.mac0message import Mac0Message

__all__ = ["FRAME_CDDL", "open_with_pycose", "validate"]

FRAME_CDDL = ROOT / "protocols" / "frame.cddl"


def _prelude() -> str:
    """The standard names of CDDL, as zcbor's command line adds them."""
    return (resources.files("zcbor") / "zcbor" / "prelude.cddl").read_text(encoding="utf-8") + "\n"


@cache
def _schema() -> Any:
    text = _prelude() + FRAME_CDDL.read_text(encoding="utf-8")
    return zcbor.DataTranslator.from_cddl(text, 1 << 20).my_types["frame"]


def validate(frame: bytes) -> None:
    """Raise zcbor.CddlValidationError unless the frame conforms to protocols/frame.cddl."""
    _schema().validate_str(frame)


def open_with_pycose(frame: bytes, frame_key: bytes) -> tuple[bytes, bytes]:
    """(kid, payload) of a frame whose MAC pycose finds to be right; AssertionError otherwise."""
    message = CoseMessage.decode(frame)
    assert isinstance(message, Mac0Message) and message.payload is not None
    message.key = SymmetricKey(k=frame_key)
    assert message.verify_tag()
    headers = {header.identifier: value for header, value in message.uhdr.items()}
    return headers[4], message.payload
