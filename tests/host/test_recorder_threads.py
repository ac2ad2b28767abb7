# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads, their keys and their ends; forks among them; handlers that come at any time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.host.raw import Image
from tests.host.watch import build, need_root, watch

THREADS = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void *few(void *argument)
{
    long n = (long)argument;
    char *block = malloc(100 + n % 50);
    memset(block, n, 100);
    void *second = calloc(3, 7);
    free(second);
    return block;
}
static void *many(void *argument)
{
    void *slots[64] = {0};
    unsigned seed = (long)argument;
    for (int i = 0; i < 3000; i++) {
        seed = seed * 1664525 + 1013904223;
        free(slots[seed >> 26]);
        slots[seed >> 26] = malloc(1 + (seed >> 12) % 2000);
    }
    for (int i = 0; i < 64; i++)
        free(slots[i]);
    return NULL;
}
int main(int count, char **words)
{
    pthread_t threads[64];
    long sum = 0;
    if (!strcmp(words[1], "short"))
        for (long i = 0; i < 1000; i++) {
            void *block;
            pthread_create(threads, NULL, few, (void *)i);
            pthread_join(*threads, &block);
            sum += *(unsigned char *)block;
            free(block);
        }
    if (!strcmp(words[1], "detached"))
        for (long i = 0; i < 300; i++) {
            pthread_create(threads, NULL, few, (void *)i);
            pthread_detach(*threads);
        }
    if (!strcmp(words[1], "waves"))
        for (int wave = 0; wave < 3; wave++) {
            for (long i = 0; i < 20; i++)
                pthread_create(&threads[i], NULL, many, (void *)(i + wave * 100));
            for (long i = 0; i < 20; i++)
                pthread_join(threads[i], NULL);
        }
    if (!strcmp(words[1], "fork")) {
        for (long i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, many, (void *)i);
        for (int i = 0; i < 20; i++) {
            int status;
            if (!fork()) {
                many((void *)(long)i);
                _exit(i);
            }
            wait(&status);
            sum += WEXITSTATUS(status);
        }
        for (long i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
    if (!strcmp(words[1], "exit")) /* while the others are at it */
        for (long i = 0; i < 8; i++)
            pthread_create(&threads[i], NULL, many, (void *)i);
    if (!strcmp(words[1], "main leaves")) {
        for (long i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, many, (void *)i);
        pthread_exit(NULL);
    }
    printf("%ld\n", sum);
    return 0;
}
"""


def balanced(image: Image) -> None:
    """Each address is live once at a time, in the order of the events: what exact order means."""
    live: set[int] = set()
    for event in image.events:
        if event.op in ("MALLOC", "CALLOC"):
            assert event.fields[-1] not in live, event
            live.add(event.fields[-1])
        elif event.op == "FREE":
            live.discard(event.fields[0])


@pytest.mark.parametrize("how", ["short", "detached", "waves", "fork", "exit", "main leaves"])
@pytest.mark.parametrize("fast", [False, True], ids=["exact", "fast"])
def test_threads_of_all_kinds(tmp_path: Path, how: str, fast: bool) -> None:
    images = watch(tmp_path / "raw", build(tmp_path, THREADS, "-pthread"), how, fast=fast)
    first, ops = images[0], Counter(images[0].ops())
    assert first.header["lost"] == 0 and first.header["status"] == 0
    threads = {"short": 1000, "detached": 300, "waves": 60, "fork": 4, "exit": 8, "main leaves": 4}[how]
    assert ops["THREAD_CREATE"] == threads
    if how not in ("detached", "exit"):
        assert first.gaps() == 0 and ops["THREAD_START"] == threads
        assert ops["THREAD_EXIT"] in (threads, threads + (how == "main leaves"))  # nobody follows the last one
    assert len(images) == (21 if how == "fork" else 1)
    for image in images[1:]:
        assert image.ops().count("MALLOC") == 3000 and image.gaps() == 0
    if not fast:
        for image in images:
            balanced(image)


def test_the_program_has_many_keys(tmp_path: Path) -> None:
    """The recorder's key is number 31: those before it keep their numbers, and 900 are to be had."""
    program = build(tmp_path, r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static pthread_key_t keys[900];
static int destroyed;
static void destroy(void *value) { free(value); __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED); }
static void *thread(void *argument)
{
    for (int i = 0; i < 900; i++)
        pthread_setspecific(keys[i], malloc(i + 1));
    return NULL;
}
int main(void)
{
    int failed = 0;
    for (int i = 0; i < 900; i++) {
        failed += pthread_key_create(&keys[i], destroy) != 0;
        if (i < 31)
            printf("%u ", keys[i]);
    }
    for (int i = 0; i < 5; i++) {
        pthread_t id;
        pthread_create(&id, NULL, thread, NULL);
        pthread_join(id, NULL);
    }
    printf("%d %d\n", failed, destroyed);
}
""", "-pthread")  # fmt: skip
    (image,) = watch(tmp_path / "raw", program)
    assert image.ops().count("FREE") >= 4500 and image.gaps() == 0


def test_a_destructor_that_allocates_to_the_last(tmp_path: Path) -> None:
    program = build(tmp_path, r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static pthread_key_t key;
static int rounds;
static void destroy(void *value) { free(value); rounds++; pthread_setspecific(key, malloc(64)); }
static void *thread(void *argument) { pthread_setspecific(key, malloc(32)); return NULL; }
int main(void)
{
    pthread_key_create(&key, destroy);
    for (int i = 0; i < 50; i++) {
        pthread_t id;
        pthread_create(&id, NULL, thread, NULL);
        pthread_join(id, NULL);
    }
    printf("%d\n", rounds);
}
""", "-pthread")  # fmt: skip
    (image,) = watch(tmp_path / "raw", program)
    assert image.ops().count("THREAD_EXIT") == 50 and image.gaps() == 0


def test_a_tid_comes_again(tmp_path: Path) -> None:
    """The next tid is set before each thread is made, so that many get the same."""
    need_root("choose the next tid")
    program = build(tmp_path, r"""
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void *thread(void *argument) { free(malloc(100)); return malloc(200); }
int main(void)
{
    int file = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
    if (file < 0) return 77;
    for (int i = 0; i < 200; i++) {
        pthread_t id;
        void *block;
        pwrite(file, "30000", 5, 0);
        pthread_create(&id, NULL, thread, NULL);
        pthread_join(id, &block);
        free(block);
    }
    return 0;
}
""", "-pthread")  # fmt: skip
    (image,) = watch(tmp_path / "raw", program)
    starts = [event.fields[0] for event in image.events if event.op == "THREAD_START"]
    if len(starts) == 0:
        pytest.skip("/proc/sys/kernel/ns_last_pid cannot be written")
    assert len(starts) == 200 and max(Counter(starts).values()) > 5, "no tid came twice"
    assert image.ops().count("THREAD_EXIT") == 200 and image.gaps() == 0
    balanced(image)


HANDLERS = r"""
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
static volatile int handled;
static void on_timer(int number)
{
    void *block = malloc(40 + handled % 8);
    free(block);
    handled++;
}
static sigjmp_buf back;
static void jump(int number) { siglongjmp(back, 1); }
static char *guarded;
static void on_fault(int number, siginfo_t *info, void *context)
{
    mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
    free(malloc(300));
}
int main(int count, char **words)
{
    struct itimerval every = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    if (!strcmp(words[1], "allocates")) { /* the handler finds the recorder at work, but never libc's malloc */
        signal(SIGALRM, on_timer);
        setitimer(ITIMER_REAL, &every, NULL);
        while (handled < 300) {
            void *map = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            mprotect(map, 4096, PROT_NONE);
            munmap(map, 8192);
        }
        setitimer(ITIMER_REAL, &never, NULL);
    }
    if (!strcmp(words[1], "jumps")) { /* out of whatever was going on */
        struct sigaction action = {.sa_handler = jump, .sa_flags = SA_NODEFER};
        sigaction(SIGALRM, &action, NULL);
        for (volatile int i = 0; i < 200; i++)
            if (!sigsetjmp(back, 1)) {
                setitimer(ITIMER_REAL, &every, NULL);
                for (;;)
                    munmap(mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 8192);
            }
        setitimer(ITIMER_REAL, &never, NULL);
        free(malloc(10));
    }
    if (!strcmp(words[1], "faults")) {
        struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
        sigaction(SIGSEGV, &action, NULL);
        sigaction(SIGBUS, &action, NULL);
        guarded = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (int i = 0; i < 500; i++) {
            guarded[5] = i;
            mprotect(guarded, 4096, PROT_NONE);
        }
        *(volatile char *)guarded;
    }
    puts("done");
    return 0;
}
"""


@pytest.mark.parametrize("how", ["allocates", "jumps", "faults"])
def test_signal_handlers(tmp_path: Path, how: str) -> None:
    (image,) = watch(tmp_path / "raw", build(tmp_path, HANDLERS), how)
    if how == "jumps":  # what was going on in the recorder never came to its end: lost, and counted
        assert image.ops()[-1] == "END" or image.header["lost"] > 0
        return
    assert image.ops()[-1] == "END"
    if how == "allocates":
        assert sum(40 <= e.fields[0] < 48 for e in image.events if e.op == "MALLOC") + image.header["lost"] >= 300
    if how == "faults":
        assert sum(e.fields[0] == 300 for e in image.events if e.op == "MALLOC") == 501


def test_a_namespace_of_its_own(tmp_path: Path) -> None:
    """dlmopen: a second C library, whose malloc is not the program's and is not recorded."""
    plugin = build(tmp_path, '#include <stdlib.h>\n#include <string.h>\nint work(int n) { char *p = malloc(n); memset(p, 1, n); free(p); free(malloc(200000)); return n; }', "-shared", "-fPIC", name="plugin")  # fmt: skip
    program = build(tmp_path, r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words)
{
    void *library = dlmopen(LM_ID_NEWLM, words[1], RTLD_NOW);
    int (*work)(int) = library ? (int (*)(int))dlsym(library, "work") : NULL;
    int sum = 0;
    for (int i = 0; work && i < 100; i++)
        sum += work(5000 + i);
    free(malloc(4321));
    if (library)
        dlclose(library);
    printf("%d\n", sum);
    return 0;
}
""")  # fmt: skip
    (image,) = watch(tmp_path / "raw", program, plugin)
    assert [e.fields[0] for e in image.events if e.op == "MALLOC"].count(4321) == 1
    assert not any(e.op == "MALLOC" and 5000 <= e.fields[0] < 5100 for e in image.events)
