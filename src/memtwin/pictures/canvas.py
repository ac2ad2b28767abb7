# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sheet to draw on: boxes, words and arrows in the house's style, with a title and a description for who cannot see.

Coordinates are pixels from the top left. Nothing else in pictures/ knows the drawing library.
"""

from __future__ import annotations

import re
import zlib
from functools import cache

import drawsvg

from memtwin.languages import Tell
from memtwin.pictures.palette import css

_ENGLISH = Tell({})


class Canvas:
    """One picture. title: what it shows, in a few words; description: what it says, for a screen reader; tell: says
    what is written on it in the reader's language."""

    def __init__(
        self, width: float, height: float, title: str, description: str = "", tell: Tell = _ENGLISH
    ) -> None:  # fmt: skip
        self.tell = tell
        self.width, self.height = width, height
        self.title, self.description = escape(title), escape(description or title)
        self._parts: list[str] = []  # elements as text: as objects of the library they took most of the time
        self._parts.append(f'<rect width="{width:g}" height="{height:g}" class="mt-paper"/>')
        self.say(8, 18, title, size=14, weight="600")

    def box(
        self, x: float, y: float, width: float, height: float, kind: str, hover: str = "", changed: bool = False,
        key: str = "",
    ) -> None:  # fmt: skip
        """A rectangle of a kind of palette.FILLS; hover: its tooltip; key: what a page may ask `explain` about."""
        classes = f"mt-box mt-{kind}" + (" mt-changed" if changed else "")
        place = f'x="{_short(x)}" y="{_short(y)}" width="{_short(max(width, 0.5))}" height="{_short(max(height, 0.5))}"'
        asked = f' data-key="{escape(key)}"' if key else ""
        inside = f"<title>{escape(hover)}</title>" if hover else ""
        self._parts.append(f'<rect {place} rx="2" class="{classes}"{asked}>{inside}</rect>')

    def say(
        self, x: float, y: float, text: str, size: float = 11, anchor: str = "start", faint: bool = False,
        mono: bool = False, weight: str = "400",
    ) -> None:  # fmt: skip
        """Words with their baseline at y."""
        classes = ("mt-faint" if faint else "mt-say") + (" mt-mono" if mono else "")
        look = f'font-size="{size:g}" font-weight="{weight}" text-anchor="{anchor}" class="{classes}"'
        self._parts.append(f'<text x="{x:g}" y="{y:g}" {look}>{escape(text)}</text>')

    def fit(
        self, x: float, y: float, width: float, text: str, size: float = 10, mono: bool = False, weight: str = "400"
    ) -> None:
        """Words in the middle of a box that begins at x, when there is room for them."""
        if text and text_width(text, size, mono) <= width - 4:
            self.say(x + width / 2, y, text, size, "middle", mono=mono, weight=weight)

    def line(self, x1: float, y1: float, x2: float, y2: float, faint: bool = False) -> None:
        """A thin line; a faint one is dotted."""
        classes = "mt-line mt-dotted" if faint else "mt-line"
        self._parts.append(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{classes}"/>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, bend: float = 0) -> None:
        """An arrow; `bend` lifts its middle by that many pixels."""
        middle = (x1 + x2) / 2, (y1 + y2) / 2 - 2 * bend
        way = f"M{x1:g},{y1:g} Q{middle[0]:g},{middle[1]:g},{x2:g},{y2:g}"
        self._parts.append(f'<path d="{way}" class="mt-arrow"/>')
        self._tip(x2, y2, *middle)

    def _tip(self, x: float, y: float, from_x: float, from_y: float) -> None:
        length = ((x - from_x) ** 2 + (y - from_y) ** 2) ** 0.5 or 1
        dx, dy = (x - from_x) / length * 7, (y - from_y) / length * 7
        corners = ((x, y), (x - dx - dy / 2, y - dy + dx / 2), (x - dx + dy / 2, y - dy - dx / 2))
        points = " ".join(f"{at:g},{high:g}" for at, high in corners)
        self._parts.append(f'<polygon points="{points}" class="mt-tip"/>')

    def legend(self, x: float, y: float, kinds: dict[str, str]) -> None:
        """A row of samples: kind -> its name."""
        start = x
        for kind, name in kinds.items():
            wide = 15 + text_width(name, 10) + 14
            if x > start and x + wide > self.width:
                x, y = start, y + 16
            self.box(x, y - 9, 11, 11, kind)
            self.say(x + 15, y, name, size=10)
            x += wide

    def svg(self) -> str:
        """The picture as text that can stand in an HTML page or, with its namespace, in a file."""
        drawn = "".join(self._parts)
        name = f"mt{zlib.crc32((self.description + drawn).encode()):08x}"
        drawing = drawsvg.Drawing(
            self.width, self.height, id_prefix=name, role="img", aria_labelledby=f"{name}-title {name}-desc"
        )
        drawing.append_css(css())
        drawing.append(drawsvg.Raw(f'<title id="{name}-title">{self.title}</title>'))
        drawing.append(drawsvg.Raw(f'<desc id="{name}-desc">{self.description}</desc>'))
        drawing.append(drawsvg.Raw(drawn))
        return str(drawing.as_svg(header=""))


def text_width(text: str, size: float, mono: bool = False) -> float:
    """About how wide words are drawn, in pixels: enough to tell whether they fit."""
    if mono:
        return 0.61 * size * len(text)
    return size * sum(map(_width, text))


@cache
def _width(letter: str) -> float:
    if letter in "iljtfrI.,:;'|!()[] ":
        return 0.33
    if ord(letter) > 0x2E80:
        return 1.0  # Chinese, Japanese and Korean
    return 0.85 if letter in "mwMW@%" else 0.68 if letter.isupper() else 0.58


def _short(number: float) -> str:
    """A coordinate in few letters; whole numbers, which most are, at a quarter of the time."""
    return str(number) if isinstance(number, int) else f"{number:g}"


_ESCAPED: dict[int, str] = dict.fromkeys((*range(32), 0xFFFE, 0xFFFF), "\ufffd")
_ESCAPED |= {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
_TO_ESCAPE = re.compile(f"[{re.escape(''.join(map(chr, _ESCAPED)))}]")  # most texts have nothing of it


def escape(text: str) -> str:
    """Text as it stands in elements and attributes; what XML cannot hold becomes a replacement sign."""
    return text.translate(_ESCAPED) if _TO_ESCAPE.search(text) else text


def hex_short(address: int) -> str:
    """An address for a label: 0x7f…e000 keeps what tells neighbours apart."""
    text = f"{address:#x}"
    return text if len(text) <= 12 else f"{text[:6]}…{text[-4:]}"


def beside(title: str, left: str, right: str) -> str:
    """Two pictures of one state, before and after, as one: nested SVGs keep their own styles and texts."""
    return _joined(title, left, right, across=True)


def below(title: str, top: str, bottom: str) -> str:
    """Two pictures as one, the second under the first."""
    return _joined(title, top, bottom, across=False)


def _joined(title: str, first: str, second: str, across: bool) -> str:
    (wide, tall), (wide2, tall2) = _size(first), _size(second)
    if across:
        x, y, width, height = wide + 24, 28.0, wide + wide2 + 24, max(tall, tall2) + 28
    else:
        x, y, width, height = 0.0, tall + 36, max(wide, wide2), tall + tall2 + 36
    frame = Canvas(width, height, title).svg()
    inner = first.replace("<svg ", '<svg x="0" y="28" ', 1) + second.replace("<svg ", f'<svg x="{x}" y="{y}" ', 1)
    return frame.removesuffix("</svg>") + inner + "</svg>"


def _size(picture: str) -> tuple[float, float]:
    words = picture.split('viewBox="', 1)[1].split('"', 1)[0].split()
    return float(words[2]), float(words[3])
