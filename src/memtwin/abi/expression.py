# SPDX-License-Identifier: LGPL-2.1-or-later
"""Integer constant expressions, as array sizes, bit-field widths and enumerators have them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from pycparser import c_ast

from memtwin.abi.ctype import Array, Record, Type
from memtwin.abi.layout import align_of, fields, lay_out, size_of
from memtwin.errors import UserError

MAX_BITS = 64
_BINARY: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_UNARY: dict[str, Callable[[int], int]] = {
    "-": operator.neg, "+": operator.pos, "~": operator.invert, "!": operator.not_,
}  # fmt: skip


def evaluate(node: Any, constants: Mapping[str, int], type_of: Callable[[Any], Type]) -> int:
    """The value of an expression; constants: enumerators by name; type_of: the type that a type node means.

    UserError with the place: not constant, a division by zero, or a value that no integer type holds.
    """
    value = int(_value(node, constants, type_of))
    if not -(1 << (MAX_BITS - 1)) <= value < 1 << MAX_BITS:
        raise UserError(f"{place_of(node)}: a constant that needs more than {MAX_BITS} bits")
    return value


def _value(node: Any, constants: Mapping[str, int], type_of: Callable[[Any], Type]) -> int:
    if isinstance(node, c_ast.Constant):
        return _constant(node)
    if isinstance(node, c_ast.ID) and node.name in constants:
        return constants[node.name]
    if isinstance(node, c_ast.Cast):
        return evaluate(node.expr, constants, type_of)
    if isinstance(node, c_ast.TernaryOp):
        chosen = node.iftrue if evaluate(node.cond, constants, type_of) else node.iffalse
        return evaluate(chosen, constants, type_of)
    if isinstance(node, c_ast.UnaryOp):
        if node.op in ("sizeof", "_Alignof", "alignof") and isinstance(node.expr, c_ast.Typename):
            kind = type_of(node.expr.type)
            return size_of(kind) if node.op == "sizeof" else align_of(kind)
        if node.op == "sizeof" and isinstance(node.expr, c_ast.Constant) and node.expr.type == "string":
            return _string_size(node.expr)
        if node.op in _UNARY:
            return int(_UNARY[node.op](evaluate(node.expr, constants, type_of)))
    if isinstance(node, c_ast.BinaryOp):
        return _binary(node, evaluate(node.left, constants, type_of), evaluate(node.right, constants, type_of))
    if isinstance(node, c_ast.FuncCall) and getattr(node.name, "name", "") == "offsetof":
        record, path = node.args.exprs
        return _offset(path, type_of(record.type), constants, type_of)[0]
    raise UserError(f"{place_of(node)}: no integer constant that is known here")


def _offset(node: Any, kind: Type, constants: Mapping[str, int], type_of: Callable[[Any], Type]) -> tuple[int, Type]:
    """Where a member designator such as `a.b[2]` lies in a record, bytes; and the type of what lies there."""
    if isinstance(node, c_ast.ID):
        found = (
            next((one for one in fields(lay_out(kind)) if one.path == node.name), None)
            if isinstance(kind, Record)
            else None
        )
        if found is None or found.place.member.bits is not None:
            raise UserError(f"{place_of(node)}: no member {node.name!r} that has an offset")
        return found.offset, found.place.member.type
    if isinstance(node, c_ast.StructRef) and node.type == ".":
        start, outer = _offset(node.name, kind, constants, type_of)
        more, inner = _offset(node.field, outer, constants, type_of)
        return start + more, inner
    if isinstance(node, c_ast.ArrayRef):
        start, outer = _offset(node.name, kind, constants, type_of)
        if isinstance(outer, Array):
            return start + evaluate(node.subscript, constants, type_of) * size_of(outer.element), outer.element
    raise UserError(f"{place_of(node)}: no member that is known here")


def _string_size(node: Any) -> int:
    """sizeof a string of bytes, its 0 included."""
    if not node.value.startswith('"'):
        raise UserError(f"{place_of(node)}: no integer constant that is known here")
    return len(re.sub(r"\\(?:[0-7]{1,3}|x[0-9a-fA-F]+|.)", "x", node.value[1:-1]).encode()) + 1


def _binary(node: Any, left: int, right: int) -> int:
    if node.op in _BINARY:
        return int(_BINARY[node.op](left, right))
    if node.op in ("&&", "||"):
        return int(bool(left and right) if node.op == "&&" else bool(left or right))
    if node.op in ("/", "%"):
        if right == 0:
            raise UserError(f"{place_of(node)}: a division by zero")
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return quotient if node.op == "/" else left - quotient * right
    if node.op in ("<<", ">>") and 0 <= right < MAX_BITS:
        return left << right if node.op == "<<" else left >> right
    raise UserError(f"{place_of(node)}: {node.op} has no constant value here")


def _constant(node: Any) -> int:
    text: str = node.value
    if node.type == "char":
        body = text[text.index("'") + 1 : -1].encode().decode("unicode_escape", "replace")
        if len(body) == 1:
            return ord(body)
    elif text in ("true", "false"):
        return int(text == "true")
    elif "int" in node.type:
        digits = text.replace("'", "").rstrip("uUlL").lower()
        try:
            octal = digits.startswith("0") and digits.isdigit() and len(digits) > 1
            return int(digits, 8 if octal else 0)
        except ValueError:
            pass
    raise UserError(f"{place_of(node)}: {text[:40]!r} is no integer")


def place_of(node: Any) -> str:
    """ "line 3, column 7" of a node."""
    coord = node.coord
    return f"line {coord.line}, column {coord.column}" if coord else "in the declarations"
