"""What frame.md shows is so: its example is a golden frame, and its code opens it."""

import json
import re

from gasan.boards.places import ROOT

PROTOCOLS = ROOT / "protocols"
TEXT = (PROTOCOLS / "frame.md").read_text(encoding="utf-8")
GOLDEN = {
    entry["name"]: entry
    for entry in json.loads((PROTOCOLS / "vectors" / "frames.json").read_text(encoding="utf-8"))
}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_annotated_frame_is_the_golden_one() -> None:
    name = re.search(r'the golden frame "(.*?)"', TEXT)
    assert name is not None
    digits = "".join(re.split(r" {3,}", line)[0].replace(" ", "") for line in block("annotated").splitlines())
    assert digits == GOLDEN[name[1]]["frame"]


def test_the_code_opens_a_frame() -> None:
    entry = GOLDEN["w1"]
    names = {"frame": bytes.fromhex(entry["frame"]), "node_key": bytes.fromhex(entry["key"])}
    exec(block("python"), names)  # the page's own code
    assert (names["kind"], names["seq"], names["count"]) == (0, entry["seq"], entry["count"])
