# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs whose malloc is not glibc's run as ever, and their file says whose it is; so do programs that are not for us."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from importlib.resources import files
from pathlib import Path

import pytest
from tests.host.watch import build, need_recorder, run, watch

from memtwin.host.record import recorder_environment

OTHER_MALLOC = 3
LIBRARIES = {"libjemalloc2": "libjemalloc.so.2", "libtcmalloc-minimal4": "libtcmalloc_minimal.so.4", "libmimalloc2.0": "libmimalloc.so.2"}  # fmt: skip
WORK = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <malloc.h>
static void *work(void *argument)
{
    for (int i = 0; i < 20000; i++) {
        char *p = i % 3 ? malloc(i % 700 + 1) : i % 2 ? calloc(3, i % 99 + 1) : aligned_alloc(64, 640);
        p[0] = i;
        p = realloc(p, i % 1000 + 1);
        void *q = NULL;
        posix_memalign(&q, 128, 256);
        free(q);
        free(p);
    }
    return NULL;
}
int main(void)
{
    pthread_t id[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&id[i], NULL, work, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(id[i], NULL);
    puts("done");
    return 0;
}
"""


def library(package: str) -> str:
    path = Path("/usr/lib/x86_64-linux-gnu") / LIBRARIES[package]
    if not path.exists():
        pytest.skip(f"no {LIBRARIES[package]}: apt install {package}")
    return str(path)


@pytest.mark.parametrize("package", LIBRARIES)
@pytest.mark.parametrize("place", ["linked", "preloaded before", "preloaded behind"])
def test_another_malloc(tmp_path: Path, package: str, place: str) -> None:
    need_recorder()
    path = library(package)
    program = build(tmp_path, WORK, "-pthread", *(["-Wl,--no-as-needed", path] if place == "linked" else []))
    (tmp_path / "raw").mkdir()
    ours = recorder_environment(tmp_path / "raw")["LD_PRELOAD"]
    words = {"linked": {}, "preloaded before": {"LD_PRELOAD": f"{path}:{ours}"}, "preloaded behind": {"LD_PRELOAD": f"{ours}:{path}"}}[place]  # fmt: skip
    (image,) = watch(tmp_path / "raw", program, environment=words)
    assert image.header["status"] == OTHER_MALLOC and image.events == []
    assert image.texts["malloc_path"].endswith(LIBRARIES[package])


def test_redis(tmp_path: Path) -> None:
    """Debian's redis-server is linked to jemalloc: it serves as ever."""
    need_recorder()
    server = shutil.which("redis-server")
    if not server:
        pytest.skip("no redis-server: apt install redis-server")
    (tmp_path / "raw").mkdir()
    place = tmp_path / "socket"
    command = [server, "--port", "0", "--unixsocket", str(place), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, env=recorder_environment(tmp_path / "raw"), stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if place.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(place))
            for i in range(500):
                client.sendall(f"SET key{i} {'x' * (i + 1)}\r\n".encode())
                assert client.recv(100) == b"+OK\r\n"
            client.sendall(b"SHUTDOWN NOSAVE\r\n")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    (image,) = (i for i in watch(tmp_path / "raw2", server, "--version"))
    assert image.header["status"] == OTHER_MALLOC and "jemalloc" in image.texts["malloc_path"]


def test_a_malloc_of_the_programs_own(tmp_path: Path) -> None:
    program = build(tmp_path, r"""
#include <stdio.h>
#include <stddef.h>
static char pool[1 << 20]; static size_t used;
void *malloc(size_t n) { void *p = pool + used; used += (n + 15) & ~15ul; return p; }
void free(void *p) {}
int main(void) { puts("hello"); return 7; }
""")  # fmt: skip
    (image,) = watch(tmp_path / "raw", program)
    assert image.header["status"] == OTHER_MALLOC and image.texts["malloc_path"] == program


def test_a_program_that_takes_mallocs_address(tmp_path: Path) -> None:
    """Not position-independent: the address of malloc lies in the program, which does not define it (Debian's python3)."""
    text = '#include <stdio.h>\n#include <stdlib.h>\nvoid *(*volatile get)(size_t);\nvoid (*volatile give)(void *);\n' \
        'int main(void) { get = malloc; give = free; for (int i = 0; i < 50; i++) give(get(333)); printf("%d\\n", (long)get < 0x1000000); }\n'  # fmt: skip
    program = build(tmp_path, text, "-fno-pie", "-no-pie")
    assert run([program])[1] == b"1\n"
    (image,) = watch(tmp_path / "raw", program)
    assert [event.fields[0] for event in image.events if event.op == "MALLOC"].count(333) == 50


def test_a_static_program(tmp_path: Path) -> None:
    assert watch(tmp_path / "raw", build(tmp_path, WORK, "-static", "-pthread")) == []


def test_children_of_another_kind(tmp_path: Path) -> None:
    """A recorded shell starts a 32-bit program and one of musl: their loaders do not complain."""
    need_recorder()
    player = files("memtwin") / "host" / "player32"
    programs = [str(player)] if Path("/lib/ld-linux.so.2").exists() else []
    if shutil.which("musl-gcc"):
        (tmp_path / "m.c").write_text('#include <stdio.h>\nint main(void) { puts("musl"); return 4; }\n')
        subprocess.run(["musl-gcc", "m.c", "-o", "m"], cwd=tmp_path, check=True)
        programs.append(str(tmp_path / "m"))
    if not programs:
        pytest.skip("neither /lib/ld-linux.so.2 nor musl-gcc: apt install libc6-i386 musl-tools")
    images = watch(tmp_path / "raw", "sh", "-c", "; ".join(f"{p} </dev/null; echo $?" for p in programs))
    assert len(images) == 1


@pytest.mark.parametrize("words", [["ls", "-lR", "/etc"], ["python3", "-c", "import json; print(len(json.dumps([*range(99999)])))"], ["sort", "/etc/services"], ["perl", "-e", "print join ',', map { $_ x 3 } 1..9999"], ["bash", "-c", "for i in $(seq 40); do x+=$(echo $i); done; echo ${#x}"], ["gcc", "--version"], ["git", "--version"]], ids=lambda words: words[0])  # fmt: skip
@pytest.mark.parametrize("fast", [False, True], ids=["exact", "fast"])
def test_programs_that_everybody_has(tmp_path: Path, words: list[str], fast: bool) -> None:
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]} here")
    for image in watch(tmp_path / "raw", *words, fast=fast):
        assert image.gaps() == 0 and image.header["lost"] == 0
    assert run(["true"])[0] == 0
