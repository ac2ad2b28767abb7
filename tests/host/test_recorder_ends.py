# SPDX-License-Identifier: LGPL-2.1-or-later
"""However a program ends, what it did until then can be read; and its children have files of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.host.raw import Image, read_all
from tests.host.watch import build, need_recorder, run, watch

from memtwin.host.record import recorder_environment

# 3,000 blocks, every other one freed; argv[1] says how it ends. The blocks' addresses go to the file argv[2].
ENDS = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <spawn.h>
#include <sys/wait.h>
extern char **environ;
int main(int count, char **words)
{
    static void *blocks[3000];
    for (int i = 0; i < 3000; i++) {
        blocks[i] = malloc(24 + i % 500);
        if (i % 2)
            free(blocks[i]);
    }
    int file = open(words[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    write(file, blocks, sizeof blocks);
    close(file);
    char *how = words[1];
    if (!strcmp(how, "kill"))
        kill(getpid(), SIGKILL);
    if (!strcmp(how, "crash"))
        *(volatile int *)0 = 1;
    if (!strcmp(how, "abort"))
        abort();
    if (!strcmp(how, "_exit"))
        _exit(9);
    if (!strcmp(how, "quick_exit"))
        quick_exit(9);
    if (!strcmp(how, "exec"))
        execl("/bin/echo", "echo", "hello", NULL);
    if (!strcmp(how, "no exec"))
        execl("/no/such/file", "x", NULL);
    return 5;
}
"""

ENDINGS = {"kill": -9, "crash": -11, "abort": -6, "_exit": 9, "quick_exit": 9, "exec": 0, "no exec": 5, "return": 5}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_was_recorded_until_the_end_is_there(tmp_path: Path, how: str) -> None:
    program = build(tmp_path, ENDS)
    images = watch(tmp_path / "raw", program, how, str(tmp_path / "blocks"))
    assert run([program, how, str(tmp_path / "blocks")])[0] == ENDINGS[how]
    need_recorder()
    run([program, how, str(tmp_path / "blocks")], recorder_environment(tmp_path / "raw"))
    image = [image for image in read_all(tmp_path / "raw") if image.texts["executable"] == program][-1]
    data = (tmp_path / "blocks").read_bytes()
    blocks = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    found = [event for event in image.events if event.op == "MALLOC" and 24 <= event.fields[0] < 524]
    assert [event.fields[1] for event in found][-3000:] == blocks
    assert image.gaps() == 0 and image.header["lost"] == 0
    assert (image.ops()[-1] == "END") == (how in ("_exit", "quick_exit", "return", "no exec"))
    assert ("EXEC" in image.ops()) == ("exec" in how)
    assert len(images) == 1 + (how == "exec")
    assert image.outcomes == ([-2] if how == "no exec" else [])


CHILDREN = r"""
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static int tree(int depth)
{
    char *mine = malloc(1000 + depth);
    memset(mine, depth, 1000);
    int status = 0, sum = depth;
    for (int i = 0; depth < 3 && i < 2; i++) {
        if (!fork())
            exit(tree(depth + 1));
        wait(&status);
        sum += WEXITSTATUS(status);
    }
    free(mine);
    return sum;
}
int main(int count, char **words)
{
    int status = 0;
    pid_t pid;
    char *echo[] = {"echo", "hello", NULL};
    void *first = malloc(77);
    fflush(stdout);
    switch (words[1][0]) {
    case 't':
        status = tree(0);
        break;
    case 'v':
        if (!(pid = vfork())) {
            execv("/bin/echo", echo);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        break;
    case 'w': /* a child of vfork that allocates, and ends without exec */
        if (!(pid = vfork())) {
            free(malloc(123));
            _exit(3);
        }
        waitpid(pid, &status, 0);
        status = WEXITSTATUS(status);
        break;
    case 's':
        posix_spawn(&pid, "/bin/echo", NULL, NULL, echo, environ);
        waitpid(pid, &status, 0);
        break;
    case 'y':
        status = system("echo one; /bin/echo two");
        break;
    case 'p': {
        char text[100] = "";
        FILE *pipe = popen("/bin/echo three", "r");
        fgets(text, sizeof text, pipe);
        pclose(pipe);
        puts(text);
    }
    }
    void *last = malloc(78);
    free(first);
    free(last);
    return status;
}
"""


def sizes(image: Image) -> list[int]:
    return [event.fields[0] for event in image.events if event.op == "MALLOC" and event.fields[0] in (77, 78, 123)]


def test_a_tree_of_forks(tmp_path: Path) -> None:
    images = watch(tmp_path / "raw", build(tmp_path, CHILDREN), "tree")
    assert len(images) == 15
    by_name = {(i.header["pid"], i.header["start_ns"]): i for i in images}
    for image in images[1:]:
        parent = by_name[image.header["parent_pid"], image.header["parent_start_ns"]]
        (fork,) = [e for e in parent.events if e.number == image.header["parent_sequence"]]
        assert fork.op == "FORK"
        assert image.header["pid"] in parent.outcomes
        assert image.events[0].number == 1 and image.gaps() == 0
    assert sum(image.ops().count("FORK") for image in images) == 14


@pytest.mark.parametrize("how", ["vfork", "w: vfork that allocates", "spawn", "y: system", "popen"])
def test_children_that_share_the_memory_for_a_while(tmp_path: Path, how: str) -> None:
    images = watch(tmp_path / "raw", build(tmp_path, CHILDREN), how)
    parent = images[0]
    assert sizes(parent)[0] == 77 and sizes(parent)[-1] == 78
    assert parent.ops()[-1] == "END" and parent.ops().count("END") == 1
    assert parent.gaps() == 0
    others = {Path(image.texts["executable"]).name for image in images[1:]}
    assert others == ({"dash", "echo"} if how in ("y: system",) else others)
    if how in ("vfork", "spawn"):
        assert others == {"echo"}


def test_exec_that_drops_the_environment_is_no_mistake(tmp_path: Path) -> None:
    assert len(watch(tmp_path / "raw", "env", "-i", "/bin/echo", "hello")) == 1


def test_a_script_and_its_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\nls -d /\nkill -TERM $$\n")
    path.chmod(0o755)
    images = watch(tmp_path / "raw", str(path))
    assert {Path(image.texts["executable"]).name for image in images} == {"dash", "ls"}


def test_a_daemon_that_outlives_the_import_goes_on(tmp_path: Path) -> None:
    """The directory is removed under a running program; it does not notice."""
    need_recorder()
    program = build(
        tmp_path,
        "#include <stdlib.h>\n#include <unistd.h>\nint main(void) { char c; write(1, \"x\", 1); read(0, &c, 1);"
        " for (int i = 0; i < 300000; i++) { void *p = malloc(i % 3000); if (i % 3) free(p); } if (!fork()) _exit(0);"
        " return 6; }",
    )  # fmt: skip
    (tmp_path / "raw").mkdir()
    in_end, to_program = os.pipe()
    from_program, out_end = os.pipe()
    pid = os.posix_spawn(program, [program], recorder_environment(tmp_path / "raw"),
                         file_actions=[(os.POSIX_SPAWN_DUP2, in_end, 0), (os.POSIX_SPAWN_DUP2, out_end, 1)])  # fmt: skip
    os.read(from_program, 1)
    for path in (tmp_path / "raw").iterdir():
        path.unlink()
    (tmp_path / "raw").rmdir()
    os.write(to_program, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    for end in (in_end, to_program, from_program, out_end):
        os.close(end)


def test_stopped_and_continued(tmp_path: Path) -> None:
    images = watch(tmp_path / "raw", "sh", "-c", "(sleep 0.2; kill -CONT $$) & kill -STOP $$; wait; echo on")
    assert signal.SIGCONT and images[0].gaps() == 0
