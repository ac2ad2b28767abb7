# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a step of the lab takes in scripts of 50,000 calls: forward, back, and a jump. Goal: under 100 ms.

A step is what the page waits for: the state after it, with its pictures as SVG. Where Chromium and Playwright are
there, also what a person waits for: from the key to the page that shows the step.

    python benchmarks/lab.py [STEPS]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from memtwin.lab.playback import Playback

GOAL_SECONDS = 0.1
SCRIPTS = {
    "a heap that only grows": "for i in range({n} // 2):\n    b[i] = malloc(24 + i % 700)\n    touch(b[i], 24)\n",
    "a heap full of holes": "for i in range({n} // 2):\n    b[i] = malloc(24 + i * 97 % 3000)\n"
    "for i in range({n} // 2):\n    free(b[i * 7 % ({n} // 2)])\n",
    "mappings of a page": "for i in range({n} // 2):\n    m[i] = mmap(length=PAGE)\n    touch(m[i], PAGE)\n",
    "two processes": "p = mmap(length=4096 * PAGE)\ntouch(p, 4096 * PAGE)\nchild = fork()\n"
    "for i in range({n} - 3):\n    child.write(p + i % 4096 * PAGE, \"x\")\n",
}  # fmt: skip


def moves(steps: int, seed: int) -> dict[str, list[tuple[int, int]]]:
    """Pairs of steps, from and to, by the kind of the move."""
    draw = random.Random(seed)
    places = [draw.randrange(2, steps - 1) for _ in range(8)]
    return {
        "forward": [(place, place + 1) for place in places],
        "back": [(place, place - 1) for place in places],
        "jump": [(place, draw.randrange(1, steps)) for place in places],
    }


def measured(show: Callable[[int], Any], pairs: list[tuple[int, int]]) -> list[float]:
    """Seconds of each second step."""
    seconds = []
    for start, end in pairs:
        show(start)
        begin = time.perf_counter()
        show(end)
        seconds.append(time.perf_counter() - begin)
    return seconds


def row(name: str, move: str, seconds: list[float]) -> None:
    median, worst = statistics.median(seconds), max(seconds)
    reached = "reached" if worst < GOAL_SECONDS else "missed"
    print(f"{name:26} {move:12} {median * 1e3:7.1f} ms  worst {worst * 1e3:7.1f} ms   goal 100 ms: {reached}")


@contextmanager
def browser_page(script: str) -> Iterator[Any]:
    """The lab's page with that script, in a real Chromium; None where there is none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        yield None
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file, sync_playwright() as playwright:
        file.write(script)
        file.flush()
        command = [sys.executable, "-m", "memtwin", "lab", "--no-browser", "--json", "--script", file.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
            page.goto(json.loads(server.stdout.readline())["address"])
            page.wait_for_function(
                "() => document.querySelectorAll('[data-test^=picture] svg').length > 2", timeout=60_000
            )
            yield page
            page.context.browser.close()
            server.terminate()


def press(page: Any, key: str) -> float:
    """Seconds from a key to the page that shows the step."""
    text = page.text_content("[data-test=counter]")
    begin = time.perf_counter()
    page.keyboard.press(key)
    page.wait_for_function("t => document.querySelector('[data-test=counter]').textContent !== t", arg=text)
    return time.perf_counter() - begin


def main(steps: int = 50_000, seed: int = 7) -> None:
    load, processors = os.getloadavg()[0], os.cpu_count()
    print(f"{steps} steps, seed {seed}; at the start {load:.1f} processes run or wait for {processors} processors")
    for name, script in SCRIPTS.items():
        source = script.format(n=steps)
        with Playback() as playback:
            begin = time.perf_counter()
            loaded = playback.load(source, {"ram": "256 MiB"})
            print(f"{name:26} {'load':12} {time.perf_counter() - begin:7.2f} s, {loaded['steps']} steps")
            for move, pairs in moves(loaded["steps"], seed).items():
                row(name, move, measured(playback.step, pairs))
    holes = SCRIPTS["a heap full of holes"].format(n=steps)
    with browser_page(holes) as page:
        if page is None:
            print("in a browser: not measured: apt install chromium, pip install playwright")
            return
        press(page, "End")
        row("in a browser, with holes", "back", [press(page, "ArrowLeft") for _ in range(8)])
        row("in a browser, with holes", "forward", [press(page, "ArrowRight") for _ in range(7)])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
