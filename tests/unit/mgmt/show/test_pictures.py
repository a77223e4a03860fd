import re
from xml.etree import ElementTree as ET

import pytest

from support.pictures import PALETTES, PICTURES, SIZES, draw_svg

COMMITTED = [PICTURES / f"upload-{shape}-{name}.svg" for shape in SIZES for name in PALETTES]


def texts(svg):
    root = ET.fromstring(svg)  # noqa: S314  our own pictures
    return [(each.text, each.attrib) for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_colours_and_places_of_a_screen_are_kept():
    screen = "\x1b[32muploading\x1b[39m  a<b.mov \x1b[2m──\x1b[0m\n\x1b[1m映画\x1b[0m x"
    light = texts(draw_svg([screen], PALETTES["light"], 40))
    assert [text for text, _ in light] == ["uploading", "a<b.mov ", "──", "映画", " x"]
    palette = PALETTES["light"]
    assert [each.get("fill") for _, each in light] == [palette.colors["32"], None, palette.dim, None, None]
    assert light[3][1]["font-weight"] == "bold"
    assert float(light[4][1]["x"]) - float(light[3][1]["x"]) == pytest.approx(float(light[3][1]["textLength"])), "wide"
    assert draw_svg([screen], PALETTES["dark"], 40) != draw_svg([screen], palette, 40)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_a_picture_shows_an_upload_and_nothing_of_the_machine_it_was_made_on(path):
    svg = path.read_text(encoding="utf-8")
    said = " ".join(text for text, _ in texts(svg))
    assert "uploading" in said
    assert "5 uploaded" in said
    assert len(svg) < 60_000
    assert not re.search(r"/(home|root|tmp|Users|work)/|http://(?!www\.w3\.org)", svg)
