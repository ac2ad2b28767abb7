# SPDX-License-Identifier: LGPL-2.1-or-later
"""`memtwin record` as a user runs it: the program is as it would be without, and the trace is there."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.host.watch import need_recorder

from memtwin.trace.reader import open_trace

MEMTWIN = [sys.executable, "-m", "memtwin"]


@pytest.fixture(autouse=True)
def recorder() -> None:
    need_recorder()


def record(directory: Path, *program: str, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [*MEMTWIN, "record", "-o", str(directory), "--", *program]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload,no-any-return]


def test_output_input_and_status_pass_through(tmp_path: Path) -> None:
    done = record(tmp_path / "t", "sh", "-c", "cat; echo no >&2; exit 7", input="yes\n")
    assert (done.returncode, done.stdout) == (7, "yes\n")
    first, second = done.stderr.splitlines()
    assert first == "no" and second.startswith(f"memtwin: {tmp_path}/t: ") and "2 processes" in second
    trace = open_trace(tmp_path / "t")
    assert trace.complete and trace.command[0] == "sh"
    assert trace.processes[0].origin == "start"
    assert not (tmp_path / "t" / "raw").exists()
    assert all(image.header.lost == 0 for image in trace.processes)


def test_the_programs_own_options_need_no_dashes(tmp_path: Path) -> None:
    command = [*MEMTWIN, "record", "-o", str(tmp_path / "t"), "ls", "-d", "--", "/"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "/\n"


def test_json_stands_on_the_last_line(tmp_path: Path) -> None:
    command = [*MEMTWIN, "record", "--json", "-o", str(tmp_path / "t"), "--", "echo", "hello"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    value = json.loads(out[1])
    assert out[0] == "hello" and value["status"] == 0 and value["events"] > 0 and value["reason"] is None


@pytest.mark.parametrize("name", ["SEGV", "TERM", "KILL", "INT"])
def test_a_program_killed_by_a_signal(tmp_path: Path, name: str) -> None:
    done = record(tmp_path / "t", "sh", "-c", f"kill -{name} $$")
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"]
    assert open_trace(tmp_path / "t").processes[0].header.ending == "killed"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_forwarded(tmp_path: Path, sent: signal.Signals) -> None:
    name = sent.name.removeprefix("SIG")
    shell = f"trap 'echo got; exit 3' {name}; echo ready; while :; do sleep 0.05; done"
    command = [*MEMTWIN, "record", "-o", str(tmp_path / "t"), "--", "sh", "-c", shell]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "got\n")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the child execs at once
def test_a_terminals_interrupt_arrives_once(tmp_path: Path) -> None:
    shell = "trap 'echo got' INT; echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; exit 5"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*MEMTWIN, "record", "-o", str(tmp_path / "t"), "--", "sh", "-c", shell])
    text = read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    text += read_until(terminal, None)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert text.count(b"got") == 1
    assert os.waitstatus_to_exitcode(status) == 5
    assert open_trace(tmp_path / "t").complete


def read_until(terminal: int, word: bytes | None) -> bytes:
    text, deadline = b"", time.monotonic() + 60
    while (word is None or word not in text) and time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        text += piece
    return text


def test_the_mask_and_the_dispositions_are_those_without_memtwin(tmp_path: Path) -> None:
    words = ["grep", "^Sig[BIC]", "/proc/self/status"]
    plain = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert without_libcs_own(record(tmp_path / "t", *words).stdout) == without_libcs_own(plain)


def without_libcs_own(text: str) -> dict[str, int]:
    """The sets of signals, without 32 and 33: posix_spawn sets them to be ignored (glibc, sysdeps/unix/sysv/linux/spawni.c)."""
    sets = (line.split() for line in text.splitlines())
    return {name: int(mask, 16) & ~(3 << 31) for name, mask in sets}


# ---- nothing to record -----------------------------------------------------------------------------------------------


def nothing(done: subprocess.CompletedProcess[str], directory: Path) -> str:
    """The one line that says why nothing was recorded; the directory is gone."""
    assert not directory.exists()
    (line,) = done.stderr.splitlines()
    return line


def compile_c(directory: Path, text: str, *options: str, compiler: str = "cc") -> Path:
    (directory / "x.c").write_text(text)
    subprocess.run([compiler, "x.c", "-o", "x", *options], cwd=directory, check=True)
    return directory / "x"


HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 7; }\n'


def test_a_static_program_runs_and_one_line_says_why(tmp_path: Path) -> None:
    done = record(tmp_path / "t", str(compile_c(tmp_path, HELLO, "-static")))
    assert (done.returncode, done.stdout) == (7, "hello\n")
    assert "statically linked" in nothing(done, tmp_path / "t")


def test_musl(tmp_path: Path) -> None:
    if not shutil.which("musl-gcc"):
        pytest.skip("no musl-gcc: apt install musl-tools")
    done = record(tmp_path / "t", str(compile_c(tmp_path, HELLO, compiler="musl-gcc")))
    assert (done.returncode, done.stdout) == (7, "hello\n")
    assert "musl" in nothing(done, tmp_path / "t")


def test_a_program_with_an_allocator_of_its_own(tmp_path: Path) -> None:
    text = HELLO + "#include <stddef.h>\nstatic char pool[1 << 20]; static size_t used;\n" \
        "void *malloc(size_t n) { void *p = pool + used; used += (n + 15) & ~15ul; return p; }\n" \
        "void free(void *p) { (void)p; }\n"  # fmt: skip
    done = record(tmp_path / "t", str(compile_c(tmp_path, text, "-fno-builtin")))
    assert (done.returncode, done.stdout) == (7, "hello\n")
    assert f"its own malloc, {tmp_path}/x" in nothing(done, tmp_path / "t")


def test_a_program_with_a_sanitizer(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text(HELLO)
    built = subprocess.run(
        ["cc", "-fsanitize=address", "x.c", "-o", "x"], cwd=tmp_path, capture_output=True, check=False
    )
    if built.returncode:
        pytest.skip("no libasan: apt install libgcc-12-dev")
    done = record(tmp_path / "t", str(tmp_path / "x"))
    assert (done.returncode, done.stdout) == (7, "hello\n")
    assert "sanitizer" in nothing(done, tmp_path / "t")


@pytest.mark.parametrize(
    ("sanitizer", "finds"), [("address", "heap-buffer-overflow"), ("thread", "data race"), ("leak", "")]
)
def test_a_child_with_a_sanitizer_runs_as_it_does_alone(tmp_path: Path, sanitizer: str, finds: str) -> None:
    text = """
    #include <pthread.h>
    #include <stdio.h>
    #include <stdlib.h>
    static char *shared;
    static void *count(void *unused) { shared[0]++; return unused; }
    int main(int argc, char **argv) {
        pthread_t other;
        shared = malloc(8);
        pthread_create(&other, NULL, count, NULL);
        shared[0]++;
        pthread_join(other, NULL);
        for (int i = 0; i < 100; i++) free(realloc(malloc(i), 2 * i));
        printf("%d\\n", shared[argc > 1 ? 8 : 0]);
        free(shared);
        return 0;
    }"""
    (tmp_path / "x.c").write_text(text)
    build = ["cc", "-w", "-pthread", f"-fsanitize={sanitizer}", "x.c", "-o", "x"]
    if subprocess.run(build, cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip(f"no runtime for -fsanitize={sanitizer}: apt install libgcc-12-dev")
    words = "too far" if sanitizer == "address" else ""
    alone = subprocess.run([str(tmp_path / "x"), *words.split()], capture_output=True, text=True, check=False)
    done = record(tmp_path / "t", "sh", "-c", f"{tmp_path}/x {words}; exit $?")
    assert (done.returncode, done.stdout) == (alone.returncode, alone.stdout)
    assert finds in alone.stderr and finds in done.stderr
    assert [image.command[0] for image in open_trace(tmp_path / "t").processes] == ["sh"]


def test_a_static_programs_children_are_recorded(tmp_path: Path) -> None:
    text = '#include <unistd.h>\nint main(void) { execl("/bin/echo", "echo", "hello", NULL); return 1; }\n'
    done = record(tmp_path / "t", str(compile_c(tmp_path, text, "-static")))
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert open_trace(tmp_path / "t").processes[0].command == ("echo", "hello")


def test_a_program_that_becomes_a_static_one_says_so(tmp_path: Path) -> None:
    done = record(tmp_path / "t", "sh", "-c", f"exec {compile_c(tmp_path, HELLO, '-static')}")
    assert done.stdout == "hello\n"
    (shell,) = open_trace(tmp_path / "t").processes
    assert shell.header.ending == "exec" and "left no recording" in shell.header.notes[0]
    done = record(tmp_path / "u", "sh", "-c", "exec /bin/echo")
    assert not any(image.header.notes for image in open_trace(tmp_path / "u").processes)


@pytest.mark.parametrize(
    "program", [["/no/such/program"], ["no-such-program"], ["/tmp"], []], ids=["path", "name", "directory", "none"]
)
def test_what_cannot_be_started_is_one_line(tmp_path: Path, program: list[str]) -> None:
    done = record(tmp_path / "t", *program)
    assert (done.returncode, done.stdout) == (2, "")
    assert not (tmp_path / "t").exists()
    if program:
        assert done.stderr.startswith("memtwin: ") and done.stderr.count("\n") == 1


def test_a_directory_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear\n")
    done = record(tmp_path, "true")
    assert done.returncode == 2 and "neither empty nor a trace" in done.stderr
    assert (tmp_path / "letter").exists()
