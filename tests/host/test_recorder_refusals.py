# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever the recorder is refused, disk, directory, rights, addresses, the program does not notice."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.host.raw import read_all
from tests.host.watch import build, need_recorder, need_root, run, watch

from memtwin.host.record import recorder_environment

NO_SPACE, LIMIT, FILTER = 1, 2, 5  # enum raw_status
NOBODY = 65534

# Allocates until some MiB of events must have been written; steps in between by argv[1].
BUSY = r"""
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static unsigned long seed = 1;
static unsigned long work(int rounds)
{
    static char *slots[1000];
    unsigned long sum = 0;
    for (int i = 0; i < rounds; i++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        char **slot = &slots[(seed >> 33) % 1000];
        sum += *slot ? (unsigned char)**slot : 0;
        free(*slot);
        size_t size = 16 + (seed >> 40) % 3000;
        *slot = malloc(size);
        memset(*slot, i, size);
    }
    return sum;
}
static void filter(int kill_all, int by_prctl)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_write, 5, 0), BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_exit_group, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_brk, 3, 0), BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_fstat, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_newfstatat, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, kill_all ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog whole = {sizeof program / sizeof *program, program};
    if (geteuid() || by_prctl)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int result = by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole);
    printf("filter %d\n", result);
}
int main(int count, char **words)
{
    unsigned long sum = work(1000);
    char *step = words[1];
    setvbuf(stdout, NULL, _IOLBF, 1000);
    if (!strcmp(step, "chroot"))
        printf("chroot %d %d\n", chroot(words[2]), chdir("/"));
    if (!strcmp(step, "setuid"))
        printf("setuid %d\n", setuid(65534));
    if (!strcmp(step, "closefrom"))
        closefrom(3);
    if (!strcmp(step, "nofile"))
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, 0});
    if (!strcmp(step, "kill filter"))
        filter(1, 1);
    if (!strcmp(step, "kill filter by syscall"))
        filter(1, 0);
    if (!strcmp(step, "errno filter"))
        filter(0, 1);
    if (!strcmp(step, "strict"))
        printf("strict %d\n", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    sum += work(!strcmp(step, "strict") ? 500 : 30000);
    if (strstr(step, "filter") || !strcmp(step, "strict")) {
        write(1, "end\n", 4);
        syscall(strcmp(step, "strict") ? SYS_exit_group : SYS_exit, 4);
    }
    int status = 0;
    if (!fork()) {
        sum = work(1000);
        _exit(sum % 7);
    }
    wait(&status);
    printf("%lu %d\n", sum, status);
    return 3;
}
"""


@pytest.fixture
def busy(tmp_path: Path) -> str:
    return build(tmp_path, BUSY)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 512 KiB."""
    need_root("mount a small file system")
    path = tmp_path / "small"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_nothing_in_the_way(tmp_path: Path, busy: str) -> None:
    first, child = watch(tmp_path / "raw", busy, "nothing")
    assert first.ops().count("MALLOC") >= 31_000 and first.gaps() == child.gaps() == 0
    assert child.ops().count("MALLOC") >= 1000


def test_the_disk_is_full_after_a_while(busy: str, small_disk: Path) -> None:
    (first,) = watch(small_disk, busy, "nothing")
    assert first.header["status"] == NO_SPACE and first.header["error"] != 0
    assert len(first.events) > 1000 and first.gaps() == 0
    assert first.header["stopped_at"] >= first.events[-1].number


def test_the_disk_is_full_from_the_start(busy: str, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(512 << 10))
    assert watch(small_disk, busy, "nothing") == []
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_no_inode_is_left(tmp_path: Path, busy: str) -> None:
    need_root("mount a small file system")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", str(path)], check=True)
    try:
        assert watch(path, busy, "nothing") == []
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_directory_that_may_not_be_written(tmp_path: Path, busy: str) -> None:
    (tmp_path / "raw").mkdir(mode=0o555)
    open_to_all(tmp_path)
    images = watch(tmp_path / "raw", busy, "nothing", before=become_nobody if os.getuid() == 0 else None)
    assert images == []


def open_to_all(tmp_path: Path) -> None:
    """Let other users come as far as this directory."""
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o711)


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.mark.parametrize("directory", ["relative", "", "/no/such/directory", "/dev/null", "/" + "x" * 5000])
def test_a_directory_that_is_none(busy: str, directory: str) -> None:
    need_recorder()
    environment = recorder_environment(Path("/")) | {"MEMTWIN_TRACE": directory}
    assert run([busy, "nothing"], environment) == run([busy, "nothing"])


@pytest.mark.parametrize("size", [0, 4096, 100_000, 200_000, 1 << 20])
def test_a_limit_on_the_size_of_files(tmp_path: Path, busy: str, size: int) -> None:
    images = watch(
        tmp_path / "raw", busy, "nothing", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    )
    if size < 131072:
        assert images == []
    else:
        assert images[0].header["status"] == LIMIT and images[0].gaps() == 0 and len(images[0].events) > 1000


@pytest.mark.parametrize("size", [64 << 20, 24 << 20, 14 << 20, 8 << 20])
def test_a_limit_on_the_address_space(tmp_path: Path, busy: str, size: int) -> None:
    """With room enough for the recorder the program goes on; the recorder leaves when there is none for itself."""
    images = watch(
        tmp_path / "raw", busy, "nothing", before=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))
    )
    if size == 64 << 20:
        assert images[0].header["status"] == 0 and images[0].ops()[-1] == "END"
    for image in images:
        assert image.gaps() == 0


def test_no_descriptor_is_free(tmp_path: Path, busy: str) -> None:
    images = watch(tmp_path / "raw", busy, "nofile")
    assert images[0].ops()[-1] == "END" and images[0].gaps() == 0


def test_all_descriptors_are_closed(tmp_path: Path, busy: str) -> None:
    first, _ = watch(tmp_path / "raw", busy, "closefrom")
    assert first.ops()[-1] == "END" and first.gaps() == 0


def test_another_root(tmp_path: Path, busy: str) -> None:
    need_root("chroot")
    (tmp_path / "empty").mkdir()
    images = watch(tmp_path / "raw", busy, "chroot", str(tmp_path / "empty"))
    assert images[0].ops()[-1] == "END" and images[0].gaps() == 0
    assert len(images) == 1  # the child cannot make a file


def test_rights_given_up(tmp_path: Path, busy: str) -> None:
    need_root("become somebody else")
    (tmp_path / "raw").mkdir(mode=0o700)
    images = watch(tmp_path / "raw", busy, "setuid")
    assert images[0].ops()[-1] == "END" and images[0].gaps() == 0 and len(images) == 1


@pytest.mark.parametrize("how", ["kill filter", "kill filter by syscall", "errno filter"])
def test_a_filter_of_system_calls(tmp_path: Path, busy: str, how: str) -> None:
    """It allows brk and write and kills for all else: what the recorder may need was got before."""
    if how == "kill filter by syscall":
        need_root("install a filter without PR_SET_NO_NEW_PRIVS")
    (first,) = watch(tmp_path / "raw", busy, how)
    assert len(first.events) >= 31_000 and first.gaps() == 0
    assert first.notes and first.notes[-1][0] == 3


def test_strict_seccomp(tmp_path: Path, busy: str) -> None:
    (first,) = watch(tmp_path / "raw", busy, "strict")
    assert len(first.events) > 1000 and first.gaps() == 0


def test_a_setuid_program_of_another_user(tmp_path: Path) -> None:
    need_root("become somebody else")
    open_to_all(tmp_path)
    program = build(
        tmp_path, '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d %d\\n", getuid(), geteuid()); }'
    )
    Path(program).chmod(0o4755)
    (tmp_path / "raw").mkdir(mode=0o777)
    (tmp_path / "raw").chmod(0o777)
    assert watch(tmp_path / "raw", program, before=become_nobody) == []


@pytest.mark.parametrize("words", [["su", "--version"], ["passwd", "--status"]], ids=["su", "passwd"])
def test_su_and_passwd(tmp_path: Path, words: list[str]) -> None:
    if not shutil.which(words[0]):
        pytest.skip(f"no {words[0]}: apt install passwd util-linux")
    watch(tmp_path / "raw", *words, before=become_nobody if os.getuid() == 0 else None)


def test_a_used_place(tmp_path: Path) -> None:
    """A program that has something mapped where the recorder wants to be: the recorder stays away or gives up."""
    program = build(tmp_path, r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
int main(void)
{
    char *p = mmap((void *)0x210000000000, 64ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | 0x100000, -1, 0);
    char *mine = p == MAP_FAILED ? mmap((void *)0x210000100000, 64ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) : p;
    for (long i = 0; i < 100; i++)
        mine[i << 20] = i;
    for (int i = 0; i < 300000; i++)
        free(malloc(i % 5000));
    for (long i = 0; i < 100; i++)
        if (mine[i << 20] != i)
            return 1;
    return 0;
}
""")  # fmt: skip
    (image,) = watch(tmp_path / "raw", program)
    assert run([program])[0] == 0 and image.header["status"] in (0, LIMIT)
    assert read_all(tmp_path / "raw")
