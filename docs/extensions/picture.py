# SPDX-License-Identifier: LGPL-2.1-or-later
"""The `picture` directive: a picture drawn by the code in it when the guide is built.

    ```{picture}
    from memtwin import Machine
    p = Machine(ram="16 MiB").spawn()
    p.malloc(100)
    p.heap()
    ```

The last line is an expression whose value is a view, or a call of pictures.NAME or of a view's svg, which is told the
guide's language. `language` has its name, for an observer. Only the picture is shown, unless the option :code: is
given.
"""

from __future__ import annotations

import ast
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


def draw(code: str, language: str = "en") -> str:
    """Run the code; the value of its last expression, as SVG text in that language. ValueError: it is none."""
    tree = ast.parse(code)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        raise ValueError("the last line of a picture is an expression")
    names: dict[str, Any] = {"language": language}
    exec(compile(ast.Module(tree.body[:-1], []), "<picture>", "exec"), names)
    drawing = last.value
    if isinstance(drawing, ast.Call) and _draws(drawing.func):
        drawing.keywords.append(ast.keyword("language", ast.Constant(language)))
    value = eval(compile(ast.fix_missing_locations(ast.Expression(drawing)), "<picture>", "eval"), names)
    text = value if isinstance(value, str) else value.svg(language=language)
    if "<svg" not in text:
        raise ValueError(f"a picture is SVG text, not {text[:40]!r}")
    return str(text)


def _draws(function: ast.expr) -> bool:
    """Whether it is pictures.NAME, or the svg of a view."""
    return isinstance(function, ast.Attribute) and (ast.unparse(function.value) == "pictures" or function.attr == "svg")


class Picture(SphinxDirective):
    """See the module's text."""

    has_content = True
    option_spec = {"code": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """The picture, behind its code where that is wanted."""
        code = "\n".join(self.content)
        try:
            svg = draw(code, self.config.language or "en")
        except Exception as error:
            raise self.error(f"this picture cannot be drawn: {type(error).__name__}: {error}") from error
        svg = svg[svg.index("<svg") :]
        shown: list[nodes.Node] = [nodes.raw("", f'<figure class="memtwin-picture">{svg}</figure>', format="html")]
        if "code" in self.options:
            shown.insert(0, nodes.literal_block(code, code, language="python"))
        return shown


def setup(app: Any) -> dict[str, bool]:
    """Sphinx's entry."""
    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
