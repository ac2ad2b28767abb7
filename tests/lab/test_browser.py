# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab in a real Chromium, as a person uses it. `make lab-browser` opens every lesson; here a few, by a fresh seed."""

from __future__ import annotations

import json
import random
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memtwin.lab.lessons import LANGUAGES, lesson, lessons
from memtwin.lab.words import WORDS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
           "--disable-component-update", "--disable-quic"]  # fmt: skip
PATIENCE = 60_000  # ms

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")


class Lab:
    """A running lab and a page in a browser, with what its console said."""

    def __init__(self, address: str, page: Any) -> None:
        self.base, _, self.token = address.partition("?token=")
        self.page = page
        self.said: list[str] = []
        page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.set_default_timeout(PATIENCE)

    def open(self, row: str, language: str = "en") -> None:
        self.page.goto(f"{self.base}?token={self.token}&lesson={row}&language={language}")
        self.at(1)

    def at(self, position: int | str) -> None:
        """Wait until the page stands at that step."""
        self.page.wait_for_function(
            "p => (document.querySelector('[data-test=counter]')?.textContent ?? '').match(/\\d+/g)?.map(Number)"
            "?.includes(p)", arg=position,
        )  # fmt: skip

    def text(self, name: str) -> str:
        return str(self.page.text_content(f'[data-test="{name}"]'))

    def pictures(self) -> int:
        return int(self.page.locator("[data-test^='picture'] svg").count())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "memtwin", "lab", "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


@pytest.fixture
def lab(browser: Any, address: str) -> Iterator[Lab]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    found = Lab(address, context.new_page())
    yield found
    context.close()
    assert found.said == []


def steps_of(lab: Lab) -> int:
    """How many steps the script has: the larger of the two numbers in "Step 1 of 7"."""
    return max(int(number) for number in re.findall(r"\d+", lab.text("counter")))


def play_lesson(lab: Lab, row: str, language: str) -> None:
    """Open a lesson, go to its end and back by the keyboard alone, look at what must be there."""
    lab.open(row, language)
    assert lesson(row).words[language].title in lab.page.content()
    steps = steps_of(lab)
    assert steps >= 1
    assert lab.pictures() >= 3
    first = lab.text("call")
    lab.page.keyboard.press("End")
    lab.page.wait_for_function(
        "s => (document.querySelector('[data-test=counter]').textContent.match(/\\d+/g) ?? []).every(n => Number(n) === s)",
        arg=steps,
    )
    last = lab.text("call")
    if steps > 1:
        assert last != first
        lab.page.keyboard.press("ArrowLeft")
        lab.at(steps - 1)
    lab.page.keyboard.press("Home")
    lab.page.wait_for_function(
        "w => document.querySelector('[data-test=call]').textContent === w", arg=WORDS[language]["start"]
    )
    lab.page.keyboard.press("ArrowRight")
    lab.page.wait_for_function("w => document.querySelector('[data-test=call]').textContent === w", arg=first)


def some_lessons() -> list[tuple[str, str]]:
    seed = secrets.token_hex(4)
    draw = random.Random(seed)
    return [(row, draw.choice(list(LANGUAGES))) for row in draw.sample(list(lessons()), 3)]


@pytest.mark.parametrize(("row", "language"), some_lessons())
def test_a_lesson_opens_and_steps_forward_and_back_by_the_keyboard(lab: Lab, row: str, language: str) -> None:
    play_lesson(lab, row, language)


@pytest.mark.long
@pytest.mark.parametrize("language", list(LANGUAGES))
@pytest.mark.parametrize("row", list(lessons()))
def test_every_lesson(lab: Lab, row: str, language: str, tmp_path: Path) -> None:
    play_lesson(lab, row, language)


def test_an_own_script_and_a_wrong_one(lab: Lab) -> None:
    lab.open("B1")
    lab.page.fill("textarea", "p = malloc(1000)\nfree(p)\nfree(p)")
    lab.page.click("[data-test=play]")
    lab.page.wait_for_function("() => document.querySelector('[data-test=call]').textContent.includes('malloc(1000)')")
    lab.page.click("[data-test=last]")
    lab.page.wait_for_function("() => document.querySelector('[data-test=call]').textContent.includes('double free')")
    lab.page.fill("textarea", "import os")
    lab.page.click("[data-test=play]")
    lab.page.wait_for_function("() => document.querySelector('[role=alert]').textContent.includes('line 1')")


def test_the_task_of_malloc_check_is_done_in_the_page(lab: Lab) -> None:
    """Lesson F1: a line of the environment above the script, then another C library beside it."""
    lab.open("F1")
    call = "() => document.querySelector('[data-test=call]').textContent"
    lab.page.fill("textarea", f"MALLOC_CHECK_ = 1\n{lesson('F1').script.strip()}")
    lab.page.click("[data-test=play]")
    lab.page.wait_for_function(f"{call}.includes('2: malloc(24)')", timeout=PATIENCE)
    for _ in range(3):
        lab.page.click("[data-test=forward]")
        lab.page.wait_for_timeout(300)
    lab.page.wait_for_function("() => document.querySelector('[data-test=told]').textContent.includes('*** Error in')")
    lab.page.fill("textarea", f"MALLOC_CHECK_ = 3\n{lesson('F1').script.strip()}")
    lab.page.click("[data-test=library]")
    lab.page.click("[role=option] >> text='glibc 2.33'")
    lab.page.wait_for_function(f"{call}.includes('2: malloc(24)')", timeout=PATIENCE)
    lab.page.click("[data-test=last]")
    lab.page.wait_for_function(f"{call}.includes('has ended')", timeout=PATIENCE)
    lab.page.click("[data-test=back]")
    lab.page.wait_for_function(f"{call}.includes('free(): invalid pointer')", timeout=PATIENCE)


def focus(lab: Lab, selector: str, most: int = 60) -> None:
    """Press Tab until that thing has the focus."""
    for _ in range(most):
        if lab.page.evaluate("s => !!document.activeElement?.closest(s)", selector):
            return
        lab.page.keyboard.press("Tab")
    raise AssertionError(f"{most} times Tab, and {selector} is not reached")


def test_the_keyboard_alone_suffices(lab: Lab) -> None:
    """Write a script, play it, add a call, step, explain a thing in a picture, see a quiz's answer, change the lesson."""
    lab.open("B1")
    keys = lab.page.keyboard
    focus(lab, "textarea")
    keys.press("Control+A")
    keys.type("p = malloc(4000)\nfree(p)")
    focus(lab, "[data-test=play]")
    keys.press("Enter")
    lab.page.wait_for_function("() => document.querySelector('[data-test=call]').textContent.includes('malloc(4000)')")
    focus(lab, "[data-test=add]")
    keys.press("Enter")
    lab.page.wait_for_selector("[role=option]")
    keys.press("ArrowDown")
    keys.press("Enter")
    lab.page.wait_for_function("() => document.querySelector('[data-test=counter]').textContent.includes('3')")
    focus(lab, "[data-test=quiz] .q-item")
    keys.press("Enter")
    focus(lab, "[data-test=answer]")
    keys.press("Enter")
    lab.page.wait_for_selector("[data-test=solution]")
    focus(lab, "[data-test=back]")
    keys.press("Enter")
    lab.at(2)
    focus(lab, "[data-test='picture heap']")
    keys.press("ArrowDown")
    lab.page.wait_for_function("() => document.querySelector('[data-test=explanation]').textContent.length > 10")
    lab.page.keyboard.press("Shift+Tab")
    for _ in range(60):
        if lab.page.evaluate("() => !!document.activeElement?.closest('[data-test=lesson]')"):
            break
        keys.press("Shift+Tab")
    keys.press("Enter")
    lab.page.wait_for_selector("[role=option]")
    keys.press("ArrowDown")
    keys.press("Enter")
    lab.page.wait_for_url("**lesson=*")


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_whatever_lies_under_the_pointer_is_explained_in_the_page_s_language(lab: Lab, language: str) -> None:
    lab.open("A6", language)
    lab.page.locator("[data-test^='picture'] [data-key]").first.hover()
    lab.page.wait_for_function("() => document.querySelector('[data-test=explanation]').textContent.length > 10")
    said = [lab.text("explanation"), *lab.page.locator("[data-test^='picture'] svg > title").all_text_contents()]
    assert len(said) > 4
    assert [bool(re.search("[가-힣]", text)) for text in said] == [language == "ko"] * len(said)
