# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's page: a script on the left, what it does to the memory on the right, step by step, forward and back.

Nothing of the twin runs in this process: a Playback does, within limits. Everything that a page shows of it is text or
SVG that memtwin itself made.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from nicegui import app, run, ui
from nicegui.events import GenericEventArguments, KeyEventArguments, ValueChangeEventArguments

from memtwin.errors import UserError
from memtwin.lab.lessons import LANGUAGES, lesson, lessons
from memtwin.lab.playback import Playback
from memtwin.lab.quiz import question
from memtwin.lab.scene import LIBRARIES
from memtwin.lab.words import WORDS
from memtwin.libc.release import DEFAULT, RELEASES
from memtwin.pictures.palette import INK

P = ParamSpec("P")
R = TypeVar("R")
MOST_PAGES = 8
_open_pages: set[int] = set()

CALLS = (
    "p = malloc(100)", "p = calloc(10, 8)", "p = realloc(p, 200)", "free(p)", 'write(p, "text")', "x = read(p, 16)",
    "m = mmap(length=4 * PAGE)", "touch(m, 4 * PAGE)", "munmap(m, 4 * PAGE)", "mprotect(m, PAGE, PROT_READ)",
    "madvise(m, PAGE, MADV_DONTNEED)", "old = sbrk(PAGE)", "child = fork()", 'child.write(p, "own")', "malloc_trim(0)",
)  # fmt: skip

STEPS = (("first", "first_page", "Home"), ("back", "chevron_left", "ArrowLeft"),
         ("forward", "chevron_right", "ArrowRight"), ("last", "last_page", "End"))  # fmt: skip

_STYLE = """
<style>
  body { background: Canvas; color: CanvasText; color-scheme: light dark; }
  .mt-script textarea { font-family: ui-monospace, monospace; font-size: 13px; line-height: 1.45; }
  .mt-picture { overflow-x: auto; border: 1px solid color-mix(in srgb, CanvasText 20%, transparent); }
  .mt-picture { border-radius: 6px; background: PAPER; }
  @media (prefers-color-scheme: dark) { .mt-picture { background: DARK; } }
  .mt-picture .mt-here { stroke: #0072b2; stroke-width: 4; stroke-dasharray: none; }
  .mt-picture svg { display: block; }
  .mt-picture svg text { pointer-events: none; }
  .mt-call { font-family: ui-monospace, monospace; font-weight: 600; overflow-wrap: anywhere; }
  [data-key] { cursor: help; }
  :focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
</style>
""".replace("PAPER", INK["paper"][0]).replace("DARK", INK["paper"][1])

# Added when the page is up: a script that arrives in HTML later is not run.
_LISTEN = """
  let last = "";
  for (const kind of ["mouseover", "focusin", "click"])
    document.addEventListener(kind, event => {
      const thing = event.target.closest?.("[data-key]");
      const key = thing ? thing.getAttribute("data-key") : "";
      if (key && key !== last) emitEvent("explain", key);
      last = key;
    });
  document.addEventListener("keydown", event => {
    const picture = event.target.closest?.(".mt-picture");
    const way = {ArrowDown: 1, ArrowUp: -1}[event.key];
    const parts = picture && way ? [...picture.querySelectorAll("[data-key]")] : [];
    if (!parts.length) return;
    event.preventDefault();
    const here = parts.findIndex(part => part.classList.contains("mt-here"));
    const next = here < 0 && way < 0 ? parts.length - 1 : (here + way + parts.length) % parts.length;
    parts[here]?.classList.remove("mt-here");
    parts[next].classList.add("mt-here");
    parts[next].scrollIntoView({block: "nearest"});
    emitEvent("explain", last = parts[next].getAttribute("data-key"));
  });
"""


class Page:
    """One open page. source: the script it begins with, "" for the lesson's own."""

    def __init__(self, lesson_id: str, language: str, source: str = "") -> None:
        self.lesson = lesson(lesson_id)
        self.language = language
        self.playback = Playback()
        self.position = self.steps = 0
        self.shown: dict[str, Any] = {}
        self.source = source
        self.busy = False
        self.drawn: dict[str, ui.html] = {}
        self.quiz_seed = secrets.randbelow(1_000_000)

    def word(self, name: str) -> str:
        """One of the page's own words."""
        return WORDS[self.language][name]

    async def build(self) -> None:
        """Lay the page out and play its script."""
        ui.add_head_html(_STYLE)
        ui.on("explain", self.explain)
        ui.keyboard(on_key=self.key, ignore=["input", "select", "textarea"])
        with ui.row().classes("w-full no-wrap items-start gap-6 max-lg:flex-wrap"):
            with ui.column().classes("w-1/3 max-lg:w-full gap-3"):
                self.left()
            with ui.column().classes("w-2/3 max-lg:w-full gap-3"):
                self.right()
        ui.run_javascript(_LISTEN)
        await self.play()

    # the left side: lesson, script, quiz

    def left(self) -> None:
        """The lesson's choice and words, the script and its buttons, the quiz."""
        with ui.row().classes("items-center gap-3 w-full"):
            rows = {id: f"{id}  {one.words[self.language].title}" for id, one in lessons().items()}
            ui.select(rows, value=self.lesson.id, label=self.word("lesson"), on_change=self.choose).classes(
                "grow"
            ).props("data-test=lesson")
            ui.select(LANGUAGES, value=self.language, on_change=self.translate).props("aria-label=Language")
        words = self.lesson.words[self.language]
        ui.label(words.title).classes("text-xl font-semibold").props("role=heading aria-level=1")
        ui.markdown(words.text, extras=["code-friendly"])
        ui.markdown(f"{self.word('task')}: {words.task}", extras=["code-friendly"]).classes("italic")
        self.editor = ui.textarea(self.word("script"), value=self.source or self.lesson.script.strip())
        self.editor.classes("w-full mt-script").props("outlined autogrow spellcheck=false")
        with ui.row().classes("items-center gap-3 w-full"):
            ui.button(self.word("play"), on_click=self.play).props("data-test=play")
            ui.select(list(CALLS), label=self.word("add"), on_change=self.add).classes("grow").props("data-test=add")
            libraries = {name: self.library_name(name) for name in LIBRARIES}
            chosen = self.lesson.machine.get("glibc", DEFAULT)
            self.library = ui.select(libraries, value=chosen, label=self.word("library"), on_change=self.play)
            self.library.classes("min-w-36").props("data-test=library")
        self.problem = ui.label().classes("text-red-700 dark:text-red-300 font-semibold").props("role=alert")
        with ui.expansion(self.word("quiz")).classes("w-full").props("data-test=quiz"):
            self.quiz_box = ui.column().classes("w-full")
        self.ask()

    def library_name(self, name: str) -> str:
        """One of LIBRARIES for people."""
        return self.word("classic").format(release=RELEASES[0]) if name == "classic" else f"glibc {name}"

    def ask(self) -> None:
        """Put a question of the lesson's kind into the quiz box, its answer hidden."""
        one = question(self.lesson.quiz, self.quiz_seed)
        self.quiz_box.clear()
        with self.quiz_box:
            ui.label(one.given).classes("whitespace-pre-wrap mt-call")
            ui.label(one.text[self.language])
            answer = ui.label(f"{one.answer}   ({'; '.join(one.steps)})").classes("whitespace-pre-wrap")
            answer.props("data-test=solution").set_visibility(False)
            with ui.row():
                ui.button(self.word("answer"), on_click=lambda: answer.set_visibility(True)).props(
                    "flat data-test=answer"
                )
                ui.button(self.word("again"), on_click=self.another).props("flat")

    def another(self) -> None:
        """The next question."""
        self.quiz_seed += 1
        self.ask()

    def choose(self, event: ValueChangeEventArguments[str]) -> None:
        """Another lesson."""
        ui.navigate.to(f"/?lesson={event.value}&language={self.language}")

    def translate(self, event: ValueChangeEventArguments[str]) -> None:
        """Another language."""
        ui.navigate.to(f"/?lesson={self.lesson.id}&language={event.value}")

    async def add(self, event: ValueChangeEventArguments[str]) -> None:
        """A call was clicked: it is the script's next line."""
        if event.value:
            self.editor.value = f"{self.editor.value.rstrip()}\n{event.value}"
            event.sender.value = None  # type: ignore[attr-defined]
            await self.play(at_end=True)

    # the right side: steps and pictures

    def right(self) -> None:
        """The step buttons, the call in words, the pictures."""
        with ui.row().classes("items-center gap-2"):
            for name, icon, where in STEPS:
                button = ui.button(icon=icon, on_click=lambda where=where: self.move(where))
                button.props(f'aria-label="{self.word(name)}" data-test={name}').tooltip(self.word(name))
            self.counter = ui.label().props("aria-live=polite data-test=counter")
        self.call = ui.label().classes("mt-call").props("data-test=call")
        self.told = ui.column().classes("gap-1").props("aria-live=polite data-test=told")
        self.counts = ui.label().classes("opacity-75")
        ui.label(self.word("keys")).classes("text-sm opacity-75")
        self.explanation = ui.label().classes("italic min-h-6 whitespace-pre-wrap").props("data-test=explanation")
        self.pictures = ui.column().classes("w-full gap-4").props("data-test=pictures")

    async def play(self, at_end: bool = False) -> None:
        """Load the script, and stand at its first step, or its last."""
        self.problem.text = ""
        machine = {**self.lesson.machine, "glibc": self.library.value}
        try:
            loaded = await bound(self.playback.load, self.editor.value, machine)
        except UserError as error:
            self.problem.text = str(error)
            return
        self.steps = loaded["steps"]
        self.problem.text = loaded["error"] or ""
        await self.show(self.steps if at_end else min(1, self.steps))

    async def move(self, where: str) -> None:
        """To the start, a step back or forward, to the end."""
        wanted = {"Home": 0, "ArrowLeft": self.position - 1, "ArrowRight": self.position + 1, "End": self.steps}[where]
        if 0 <= wanted <= self.steps and wanted != self.position:
            await self.show(wanted)

    async def key(self, event: KeyEventArguments) -> None:
        """A key was pressed outside of the fields."""
        if event.action.keydown and event.key.name in ("Home", "ArrowLeft", "ArrowRight", "End"):
            await self.move(event.key.name)

    async def show(self, position: int) -> None:
        """Show the state after `position` calls; a step asked for while another is under way is left out."""
        if self.busy:
            return
        self.busy = True
        try:
            self.shown = await bound(self.playback.step, position, self.language)
        except UserError as error:
            self.problem.text = str(error)
            return
        finally:
            self.busy = False
        self.position = position
        self.draw()

    def draw(self) -> None:
        """The words and pictures of what is shown."""
        shown = self.shown
        self.counter.text = self.word("step").format(position=self.position, steps=self.steps)
        self.counts.text = self.word("counts").format(**shown["counts"])
        if "call" in shown:
            outcome = shown["error"] or self.word("returned").format(result=shown["result"])
            outcome += f", errno {shown['errno']}" if shown["errno"] else ""
            self.call.text = f"{shown['line']}: {shown['call']} → {outcome}"
        else:
            self.call.text = self.word("start")
        self.told.clear()
        with self.told:
            for sentence in shown.get("sentences", ()):
                ui.label(sentence)
        if list(shown["pictures"]) != list(self.drawn):
            self.hang(list(shown["pictures"]))
        for name, svg in shown["pictures"].items():
            if svg != self.drawn[name].content:
                self.drawn[name].content = svg

    def hang(self, names: list[str]) -> None:
        """A frame for each picture; its content changes when its state does."""
        self.pictures.clear()
        with self.pictures:
            for name in names:
                with ui.column().classes("gap-1 w-full"):
                    ui.label(self.word(name)).classes("font-semibold").props("role=heading aria-level=2")
                    frame = ui.html(sanitize=False).classes("mt-picture w-full").props("tabindex=0")
                    frame.props(f'data-test="picture {name}"')
                self.drawn[name] = frame

    async def explain(self, event: GenericEventArguments) -> None:
        """The pointer rests on a thing in a picture."""
        try:
            self.explanation.text = await bound(self.playback.explain, str(event.args)[:100], self.language)
        except UserError as error:
            self.explanation.text = str(error)


async def bound(call: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """A call that waits for the player, in a thread, so that other pages go on."""
    return cast(R, await run.io_bound(call, *arguments, **keywords))


def install(first_lesson: str, language: str, source: str) -> None:
    """Make the lab's one page."""

    @ui.page("/", title="memtwin lab")
    async def index(lesson: str = first_lesson, language: str = language) -> None:
        client = ui.context.client
        chosen = language if language in LANGUAGES else "en"
        if len(_open_pages) >= MOST_PAGES:
            ui.label(WORDS[chosen]["busy"])
            return
        known = lesson.upper() if lesson.upper() in lessons() else first_lesson
        page = Page(known, chosen, source if known == first_lesson else "")
        _open_pages.add(id(page))

        def close() -> None:
            _open_pages.discard(id(page))
            page.playback.close()

        client.on_delete(close)
        app.on_shutdown(page.playback.close)
        await client.connected()
        await page.build()
