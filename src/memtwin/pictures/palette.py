# SPDX-License-Identifier: LGPL-2.1-or-later
"""One colour for one thing, everywhere: light and dark, and apart for colour-blind eyes (Okabe and Ito's palette).

Colours are CSS classes, so that a page can override them; what must not depend on colour alone also has a pattern of
its own outline: absent things are dashed, changed things have a thick frame.
"""

from __future__ import annotations

from functools import cache

# kind -> (light, dark): fills that carry black text in light mode and white text in dark mode at 4.5:1 or more.
FILLS: dict[str, tuple[str, str]] = {
    "live": ("#7fb9e6", "#0a5c94"),
    "tcache": ("#c6e6f7", "#2b6f8f"),
    "fastbin": ("#8fd9bf", "#00664a"),
    "bin": ("#f4ea7a", "#6f6600"),
    "top": ("#d9d9d9", "#555555"),
    "mmapped": ("#e6b8d2", "#83406a"),
    "fence": ("#a8a8a8", "#777777"),
    "header": ("#5b6b7a", "#b8c4d0"),
    "padding": ("#f2c68c", "#8a5a00"),
    "anonymous": ("#7fb9e6", "#0a5c94"),
    "zero": ("#eef4fa", "#2a333c"),
    "file": ("#f2c68c", "#8a5a00"),
    "shared": ("#e6b8d2", "#83406a"),
    "swapped": ("#f3a27a", "#9c3f00"),
    "table": ("#8fd9bf", "#00664a"),
    "kernel": ("#a8a8a8", "#777777"),
    "free": ("#ffffff", "#1b1f24"),
    "absent": ("#ffffff", "#1b1f24"),
    "text": ("#8fd9bf", "#00664a"),
    "rodata": ("#c9ead9", "#1f5a48"),
    "data": ("#f4ea7a", "#6f6600"),
    "bss": ("#faf4c0", "#4d4800"),
    "heap": ("#7fb9e6", "#0a5c94"),
    "mapping": ("#e6b8d2", "#83406a"),
    "library": ("#c6e6f7", "#2b6f8f"),
    "stack": ("#f3a27a", "#9c3f00"),
    "gap": ("#ffffff", "#1b1f24"),
}

INK = {"ink": ("#14181c", "#f2f5f7"), "faint": ("#5a646e", "#a7b1bb"), "line": ("#8a949e", "#6d7782"),
       "paper": ("#ffffff", "#14181c"), "accent": ("#c1121f", "#ff6b6b")}  # fmt: skip


@cache
def css() -> str:
    """The style sheet that every picture carries."""
    light = "".join(f".mt-{kind}{{fill:{colours[0]}}}" for kind, colours in FILLS.items())
    dark = "".join(f".mt-{kind}{{fill:{colours[1]}}}" for kind, colours in FILLS.items())
    return _RULES + _ink(0) + light + "@media (prefers-color-scheme: dark){" + _ink(1) + dark + "}"


def _ink(mode: int) -> str:
    ink = {name: colours[mode] for name, colours in INK.items()}
    return (
        f".mt-paper{{fill:{ink['paper']}}}.mt-say{{fill:{ink['ink']}}}.mt-faint{{fill:{ink['faint']}}}"
        f".mt-box{{stroke:{ink['line']}}}.mt-line{{stroke:{ink['line']}}}.mt-arrow{{stroke:{ink['ink']}}}"
        f".mt-tip{{fill:{ink['ink']}}}.mt-changed{{stroke:{ink['accent']}}}.mt-accent{{fill:{ink['accent']}}}"
    )


_RULES = (
    "text{font-family:ui-sans-serif,system-ui,'Noto Sans','Noto Sans CJK KR',sans-serif}"
    ".mt-mono{font-family:ui-monospace,'DejaVu Sans Mono',monospace}"
    ".mt-box{stroke-width:1}.mt-line,.mt-arrow{fill:none;stroke-width:1.2}"
    ".mt-absent,.mt-free,.mt-gap{stroke-dasharray:3 2}.mt-changed{stroke-width:3;stroke-dasharray:none}"
    ".mt-dotted{stroke-dasharray:1 3}"
)
