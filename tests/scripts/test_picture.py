"""The picture of the dashboard: what a terminal emulator shows, as SVG."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pyte

from scripts.picture import COLOURS, svg

SVG = "{http://www.w3.org/2000/svg}"
COMMITTED = Path(__file__).parents[2] / "docs" / "dashboard.svg"


def drawn(text):
    screen = pyte.Screen(20, 3)
    pyte.Stream(screen).feed(text)
    return ET.fromstring(svg(screen))


def test_text_keeps_its_colour_its_weight_and_its_place():
    texts = drawn("ab\x1b[2;5H\x1b[1;31mOPEN\x1b[m").findall(f"{SVG}text")
    plain, coloured = (text for text in texts if text.text.strip())
    assert plain.text.startswith("ab")
    assert (coloured.text, coloured.get("fill"), coloured.get("font-weight")) == ("OPEN", COLOURS["red"], "bold")
    assert float(coloured.get("x")) - float(plain.get("x")) == 4 * 8.4
    assert float(coloured.get("y")) - float(plain.get("y")) == 18


def test_reverse_text_lies_on_a_block_of_its_colour():
    image = drawn("\x1b[7mapp-1\x1b[m")
    blocks = image.findall(f"{SVG}rect")[1:]
    assert [block.get("width") for block in blocks] == ["42"]
    assert image.find(f"{SVG}text").get("fill") != blocks[0].get("fill")


def test_what_is_special_in_xml_is_escaped():
    assert drawn("<&>").find(f"{SVG}text").text.startswith("<&>")


def test_the_committed_picture_shows_an_open_breaker_a_warm_up_and_a_cut_rate():
    words = " ".join(text.text for text in ET.parse(COMMITTED).iter(f"{SVG}text"))
    for word in ("OPEN", "×50%", "CUT", "EVENTS"):
        assert word in words
    assert "/tmp" not in words
