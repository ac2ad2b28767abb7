# SPDX-License-Identifier: LGPL-2.1-or-later
"""A sheet to draw on: boxes, words and arrows in the house's style, with a title and a description for who cannot see.

Coordinates are pixels from the top left. Nothing else in pictures/ knows the drawing library.
"""

from __future__ import annotations

import itertools

import drawsvg

from memtwin.pictures.palette import css

_names = itertools.count()


class Canvas:
    """One picture. title: what it shows, in a few words; description: what it says, for a screen reader."""

    def __init__(self, width: float, height: float, title: str, description: str = "") -> None:
        self.width, self.height = width, height
        name = f"mt{next(_names)}"
        self._drawing = drawsvg.Drawing(
            width, height, id_prefix=name, role="img", aria_labelledby=f"{name}-title {name}-desc"
        )
        self._drawing.append_css(css())
        self._drawing.append(drawsvg.Raw(f'<title id="{name}-title">{escape(title)}</title>'))
        self._drawing.append(drawsvg.Raw(f'<desc id="{name}-desc">{escape(description or title)}</desc>'))
        self._drawing.append(drawsvg.Rectangle(0, 0, width, height, class_="mt-paper"))
        self.say(8, 18, title, size=14, weight="600")

    def box(
        self, x: float, y: float, width: float, height: float, kind: str, hover: str = "", changed: bool = False,
        key: str = "",
    ) -> None:  # fmt: skip
        """A rectangle of a kind of palette.FILLS; hover: its tooltip; key: what a page may ask `explain` about."""
        classes = f"mt-box mt-{kind}" + (" mt-changed" if changed else "")
        box = drawsvg.Rectangle(x, y, max(width, 0.5), max(height, 0.5), class_=classes, rx=2)
        if key:
            box.args["data-key"] = escape(key)
        if hover:
            box.append_title(clean(hover))
        self._drawing.append(box)

    def say(
        self, x: float, y: float, text: str, size: float = 11, anchor: str = "start", faint: bool = False,
        mono: bool = False, weight: str = "400",
    ) -> None:  # fmt: skip
        """Words with their baseline at y."""
        classes = ("mt-faint" if faint else "mt-say") + (" mt-mono" if mono else "")
        self._drawing.append(
            drawsvg.Text(clean(text), size, x, y, text_anchor=anchor, class_=classes, font_weight=weight)
        )

    def line(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A thin line."""
        self._drawing.append(drawsvg.Line(x1, y1, x2, y2, class_="mt-line"))

    def arrow(self, x1: float, y1: float, x2: float, y2: float, bend: float = 0) -> None:
        """An arrow; `bend` lifts its middle by that many pixels."""
        path = drawsvg.Path(class_="mt-arrow")
        path.M(x1, y1).Q((x1 + x2) / 2, (y1 + y2) / 2 - 2 * bend, x2, y2)
        self._drawing.append(path)
        self._tip(x2, y2, (x1 + x2) / 2, (y1 + y2) / 2 - 2 * bend)

    def _tip(self, x: float, y: float, from_x: float, from_y: float) -> None:
        length = ((x - from_x) ** 2 + (y - from_y) ** 2) ** 0.5 or 1
        dx, dy = (x - from_x) / length * 7, (y - from_y) / length * 7
        tip = drawsvg.Lines(x, y, x - dx - dy / 2, y - dy + dx / 2, x - dx + dy / 2, y - dy - dx / 2, close=True,
                            class_="mt-tip")  # fmt: skip
        self._drawing.append(tip)

    def legend(self, x: float, y: float, kinds: dict[str, str]) -> None:
        """A row of samples: kind -> its name."""
        for kind, name in kinds.items():
            self.box(x, y - 9, 11, 11, kind)
            self.say(x + 15, y, name, size=10)
            x += 24 + 6.2 * len(name)

    def svg(self) -> str:
        """The picture as text that can stand in an HTML page or, with its namespace, in a file."""
        return str(self._drawing.as_svg(header=""))


def clean(text: str) -> str:
    """Text that XML can hold: control characters become a replacement sign. The drawing library escapes its texts."""
    return "".join(letter if letter >= " " else "\ufffd" for letter in text)


def escape(text: str) -> str:
    """Text for the places that the drawing library does not escape: raw elements and attributes."""
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def hex_short(address: int) -> str:
    """An address for a label: 0x7f…e000 keeps what tells neighbours apart."""
    text = f"{address:#x}"
    return text if len(text) <= 12 else f"{text[:6]}…{text[-4:]}"


def beside(title: str, left: str, right: str) -> str:
    """Two pictures of one state, before and after, as one: nested SVGs keep their own styles and texts."""
    sizes = [_size(picture) for picture in (left, right)]
    width, height = sizes[0][0] + sizes[1][0] + 24, max(size[1] for size in sizes) + 28
    sheet = Canvas(width, height, title)
    frame = sheet.svg()
    second = right.replace("<svg ", f'<svg x="{sizes[0][0] + 24}" y="28" ', 1)
    first = left.replace("<svg ", '<svg x="0" y="28" ', 1)
    return frame.removesuffix("</svg>") + first + second + "</svg>"


def _size(picture: str) -> tuple[float, float]:
    words = picture.split('viewBox="', 1)[1].split('"', 1)[0].split()
    return float(words[2]), float(words[3])
