# SPDX-License-Identifier: LGPL-2.1-or-later
"""Scripts: a few lines of memory calls that run, step by step, on the twin or on the host.

    p = malloc(100)
    write(p, "hello")
    child = fork()
    child.write(p, b"HELLO")
    for i in range(3):
        block[i] = mmap(length=4096 * (i + 1))
    free(p)

The syntax is a small part of Python's, read with `ast` and evaluated here, so that text from a web page can never run
Python: integers, strings, bytes, names, `name[i]`, arithmetic, assignments, `for … in range(…)`, and calls by name,
either of the first process (`malloc(100)`) or of one that a call returned (`child.write(p, "x")`). A call is one step.
Which calls exist is decided by the process: its public methods whose names stand in CALLS.

Before its first statement stands, as in a shell before a program's name, what the process's environment sets:

    MALLOC_CHECK_ = 3
    GLIBC_TUNABLES = "glibc.malloc.tcache_count=0"

These are no names of the script: whoever plays it makes the process with them (`Script.environment`).

A process is anything with such methods that take and return ints, bytes or further processes; the twin's Process and
the host's both are. Killed and UserError raised by a call become the step's outcome; a killed process takes no more
calls, and the script goes on with those that are left.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from memtwin.constants import CONSTANTS
from memtwin.errors import Killed, UserError

# Every call a script may make, with its signature: the public methods that the twin's Process, its threads and the
# host's Process have in common. C's names, order and results (0, -1, EINVAL, a null pointer …); `errno` is an attribute
# of the process. What C returns through a pointer it returns through a pointer here: posix_memalign stores the block's
# address at `memptr`.
CALLS: dict[str, str] = {
    "malloc": "malloc(size) -> pointer",
    "calloc": "calloc(count, size) -> pointer",
    "realloc": "realloc(pointer, size) -> pointer",
    "reallocarray": "reallocarray(pointer, count, size) -> pointer",
    "free": "free(pointer)",
    "memalign": "memalign(alignment, size) -> pointer",
    "posix_memalign": "posix_memalign(memptr, alignment, size) -> error",
    "aligned_alloc": "aligned_alloc(alignment, size) -> pointer",
    "valloc": "valloc(size) -> pointer",
    "pvalloc": "pvalloc(size) -> pointer",
    "malloc_usable_size": "malloc_usable_size(pointer) -> bytes",
    "malloc_trim": "malloc_trim(pad) -> 0 or 1",
    "mallopt": "mallopt(parameter, value) -> 0 or 1",
    "mallinfo": "mallinfo() -> fields",
    "mallinfo2": "mallinfo2() -> fields",
    "malloc_stats": "malloc_stats() -> the text for stderr",
    "malloc_info": "malloc_info() -> the XML text",
    "xmalloc": "xmalloc(size) -> pointer, or the process ends with a message",
    "malloc0": "malloc0(size) -> pointer to zeros",
    "xmalloc0": "xmalloc0(size) -> pointer to zeros, or the process ends with a message",
    "brk": "brk(address) -> 0 or -1",
    "sbrk": "sbrk(increment) -> the old break or -1",
    "mmap": "mmap(address=0, length, prot=PROT_READ|PROT_WRITE, flags=MAP_PRIVATE|MAP_ANONYMOUS, fd=-1, offset=0)",
    "munmap": "munmap(address, length) -> 0 or -1",
    "mremap": "mremap(address, old_length, new_length, flags=MREMAP_MAYMOVE, new_address=0) -> address or -1",
    "mprotect": "mprotect(address, length, prot) -> 0 or -1",
    "madvise": "madvise(address, length, advice) -> 0 or -1",
    "mlock": "mlock(address, length) -> 0 or -1",
    "mlock2": "mlock2(address, length, flags) -> 0 or -1",
    "munlock": "munlock(address, length) -> 0 or -1",
    "mincore": "mincore(address, length) -> bytes, one a page: bit 0 set when the page is in memory",
    "msync": "msync(address, length, flags) -> 0 or -1",
    "memfd_create": "memfd_create(name) -> fd",
    "ftruncate": "ftruncate(fd, length) -> 0 or -1",
    "open": 'open("/dev/zero") -> fd',
    "read": "read(address, length) -> bytes",
    "write": "write(address, data)",
    "read_u64": "read_u64(address) -> the 64-bit word there",
    "write_u64": "write_u64(address, value)",
    "memset": "memset(address, value, length)",
    "memcpy": "memcpy(to, source, length)",
    "touch": "touch(address, length) -> a write access to each page; its page faults are counted",
    "fork": "fork() -> the child process",
    "thread": "thread() -> a new thread: the same calls, its own tcache and arena",
    "exit": "exit(status=0): ends the process, or the thread it is called on",
}

# What a script may set of the environment: what glibc's malloc reads, and the debug library's door.
ENVIRONMENT = (
    "GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_ARENA_MAX", "MALLOC_ARENA_TEST", "MALLOC_CHECK_", "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_", "MALLOC_PERTURB_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_",
)  # fmt: skip
_OF_ENVIRONMENT = ("GLIBC_", "LD_", "MALLOC_")  # how such names begin: none of a script's own does

MAX_SOURCE_BYTES = 1 << 20  # of text: 50,000 lines fit
MAX_STEPS = 200_000  # calls of one run
MAX_OPERATIONS = 2_000_000  # statements and loop rounds of one run, so that empty loops end too
MAX_BYTES = 1 << 20  # of one bytes or str value
MAX_BITS = 128  # of one integer

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}


class ScriptError(UserError):
    """A script that is no script, or that asks for too much; the message names the line."""


@dataclass(frozen=True)
class Step:
    """One call that was made.

    line: 1-based; process: the name it was called on, "" for the first; name, arguments: as called, evaluated;
    result: what it returned, None after an error; error: None, or what ended the process or was wrong with the call;
    errno, minflt, majflt: of the process after it.
    """

    line: int
    process: str
    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    result: Any
    error: Killed | UserError | None
    errno: int = 0
    minflt: int = 0
    majflt: int = 0

    @property
    def text(self) -> str:
        """The call with its values: "child.write(0x55555555b2a0, b'x')"."""
        values = [show_value(value) for value in self.arguments]
        values += [f"{key}={show_value(value)}" for key, value in self.keywords.items()]
        owner = f"{self.process}." if self.process else ""
        return f"{owner}{self.name}({', '.join(values)})"


@dataclass
class Script:
    """A parsed script; `parse` makes it, `run` plays it. environment: what the process is to be made with."""

    source: str
    body: list[ast.stmt] = field(repr=False)
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, process: Any, constants: dict[str, int] = CONSTANTS) -> Iterator[Step]:
        """Play the script on `process`; yields each call after it was made.

        constants: names that have a value from the start. ScriptError names the line of a mistake that
        only shows when run: an unknown name, a number out of bounds, too many steps.
        """
        return _Run(process, dict(constants)).block(self.body)


def parse(source: str) -> Script:
    """Read a script. ScriptError with line and place when it is not one."""
    if len(source) > MAX_SOURCE_BYTES:
        raise ScriptError(f"the script has {len(source):,} characters; {MAX_SOURCE_BYTES:,} are the most")
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ScriptError(f"line {error.lineno}: {error.msg}: {(error.text or '').strip()!r}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ScriptError("the script nests too deeply or holds a null character") from None
    environment = _environment(tree.body)
    body = tree.body[len(environment) :]
    for statement in body:
        _check(statement)
    return Script(source, body, dict(environment))


def _environment(body: list[ast.stmt]) -> list[tuple[str, str]]:
    """The assignments to names of the environment at a script's beginning: names and values."""
    found = []
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.startswith(_OF_ENVIRONMENT):
                if name not in ENVIRONMENT:
                    raise ScriptError(f"line {statement.lineno}: {name}: a script sets {', '.join(ENVIRONMENT)}")
                if not isinstance(value, ast.Constant) or not isinstance(value.value, int | str):
                    raise ScriptError(f"line {statement.lineno}: {name} is set to one number or text")
                found.append((name, str(value.value)))
            case _:
                break
    return found


def _check(statement: ast.stmt) -> None:
    """Refuse every statement that is no assignment, call or for-range loop; expressions are checked when evaluated."""
    match statement:
        case ast.Expr() | ast.Pass():
            return
        case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith(_OF_ENVIRONMENT):
            raise ScriptError(f"line {statement.lineno}: {name}: the environment is set before all other statements")
        case ast.Assign(targets=[ast.Name() | ast.Subscript(value=ast.Name())]):
            return
        case ast.For(target=ast.Name(), iter=ast.Call(func=ast.Name(id="range"), keywords=[]), orelse=[]):
            for inner in statement.body:
                _check(inner)
            return
    what = type(statement).__name__.lower()
    raise ScriptError(
        f"line {statement.lineno}: {what}: a script has calls, assignments and `for … in range(…)` only; "
        "the process is there already: begin with a call, such as `p = malloc(100)`"
    )


class _Run:
    """One play of a script: its names and how much it has done."""

    def __init__(self, process: Any, constants: dict[str, int]) -> None:
        self.process = process
        self.names: dict[str, Any] = dict(constants)
        self.cells: dict[tuple[str, int], Any] = {}
        self.steps = 0
        self.operations = 0
        self.dead: set[int] = set()

    def block(self, body: list[ast.stmt]) -> Iterator[Step]:
        for statement in body:
            yield from self.statement(statement)

    def statement(self, statement: ast.stmt) -> Iterator[Step]:
        self.spend(statement)
        match statement:
            case ast.For(target=ast.Name(id=name), iter=ast.Call(args=bounds)):
                for number in self.range_of(statement, bounds):
                    self.spend(statement)
                    self.names[name] = number
                    yield from self.block(statement.body)
            case ast.Expr(value=value):
                yield from self.value_steps(value, lambda result: None)
            case ast.Assign(targets=[target], value=value):
                yield from self.value_steps(value, lambda result: self.assign(target, result))

    def spend(self, node: ast.stmt) -> None:
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            raise ScriptError(f"line {node.lineno}: stopped after {MAX_OPERATIONS:,} statements")

    def range_of(self, node: ast.stmt, bounds: list[ast.expr]) -> range:
        values = [self.value(bound) for bound in bounds]
        if not 1 <= len(values) <= 3 or not all(isinstance(value, int) for value in values):
            raise ScriptError(f"line {node.lineno}: range takes one to three integers")
        if len(values) == 3 and values[2] == 0:
            raise ScriptError(f"line {node.lineno}: range with step 0 never ends")
        return range(*values)

    def value_steps(self, node: ast.expr, use: Callable[[Any], None]) -> Iterator[Step]:
        """Evaluate the right side; when it is a call that is one step, yielded after its result was used."""
        if not isinstance(node, ast.Call):
            use(self.value(node))
            return
        step = self.call(node)
        if step.error is None:
            use(step.result)
        yield step

    def assign(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                self.cells[name, self.integer(index)] = value

    def call(self, node: ast.Call) -> Step:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ScriptError(f"line {node.lineno}: stopped after {MAX_STEPS:,} calls")
        owner, name, process = self.callee(node)
        arguments = tuple(self.value(argument) for argument in node.args)
        keywords = {word.arg: self.value(word.value) for word in node.keywords if word.arg is not None}
        if len(keywords) != len(node.keywords):
            raise ScriptError(f"line {node.lineno}: ** is not part of a script")
        if name == "open" and (arguments, keywords) != (("/dev/zero",), {}):
            raise ScriptError(f'line {node.lineno}: a script opens nothing but "/dev/zero"')
        if name == "write":  # "text" is bytes, as in C
            arguments = tuple(value.encode() if isinstance(value, str) else value for value in arguments)
        if id(process) in self.dead:
            return Step(node.lineno, owner, name, arguments, keywords, None, UserError("this process has ended"))
        result, error = self.perform(process, name, arguments, keywords)
        after = (getattr(process, count, 0) for count in ("errno", "minflt", "majflt"))
        return Step(node.lineno, owner, name, arguments, keywords, result, error, *after)

    def perform(
        self, process: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[Any, Killed | UserError | None]:
        try:
            return getattr(process, name)(*arguments, **keywords), None
        except Killed as error:
            self.dead.add(id(process))
            return None, error
        except UserError as error:
            return None, error
        except TypeError as error:
            return None, UserError(f"{name}: {error}")

    def callee(self, node: ast.Call) -> tuple[str, str, Any]:
        match node.func:
            case ast.Name(id=name):
                owner, process = "", self.process
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                process = self.value(node.func.value)
            case ast.Attribute(value=ast.Subscript() as cell, attr=name):
                owner, process = ast.unparse(cell), self.value(cell)
            case _:
                raise ScriptError(f"line {node.lineno}: {ast.unparse(node.func)[:40]!r} cannot be called")
        if name not in CALLS or isinstance(process, (int, str, bytes)) or not hasattr(process, name):
            raise ScriptError(f"line {node.lineno}: there is no call {name!r}")
        return owner, name, process

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | str() | bytes() as value):
                return self.bounded(node, value)
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Subscript(value=ast.Name(id=name), slice=index):
                key = (name, self.integer(index))
                if key in self.cells:
                    return self.cells[key]
                raise ScriptError(f"line {node.lineno}: {name}[{key[1]}] has no value yet")
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
                return _UNARY[type(sign)](self.integer(operand))
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                return self.arithmetic(node, sign, left, right)
            case ast.Name(id=name):
                raise ScriptError(f"line {node.lineno}: {name!r} has no value yet")
            case ast.Call():
                raise ScriptError(f"line {node.lineno}: give the inner call a line and a name of its own")
        raise ScriptError(f"line {node.lineno}: {ast.unparse(node)[:40]!r} is not part of a script")

    def arithmetic(self, node: ast.BinOp, sign: ast.operator, left: ast.expr, right: ast.expr) -> Any:
        one, other = self.value(left), self.value(right)
        if isinstance(one, (str, bytes)) and isinstance(sign, ast.Mult) and isinstance(other, int):
            if len(one) * other > MAX_BYTES:
                raise ScriptError(f"line {node.lineno}: a text of more than {MAX_BYTES:,} bytes")
            return one * other
        if not isinstance(one, int) or not isinstance(other, int):
            raise ScriptError(f"line {node.lineno}: arithmetic takes integers")
        if isinstance(sign, ast.LShift | ast.RShift) and not 0 <= other <= MAX_BITS:
            raise ScriptError(f"line {node.lineno}: a shift by {other}")
        if isinstance(sign, ast.FloorDiv | ast.Mod) and other == 0:
            raise ScriptError(f"line {node.lineno}: division by zero")
        return self.bounded(node, _BINARY[type(sign)](one, other))

    def integer(self, node: ast.expr) -> int:
        value = self.value(node)
        if isinstance(value, int):
            return value
        raise ScriptError(f"line {node.lineno}: {ast.unparse(node)[:40]!r} is no integer")

    def bounded(self, node: ast.expr, value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise ScriptError(f"line {node.lineno}: a number of more than {MAX_BITS} bits")
        return value


def show_value(value: Any) -> str:
    """A value as a reader wants it: large integers in hexadecimal."""
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value) if abs(value) >= 1 << 16 else str(value)
    return repr(value)
