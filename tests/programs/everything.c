/* Makes a little of everything that a trace can hold: all entry points, a second thread, a child, mappings, the break. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 60, CALLS = 400, MAPPED = 1 << 20 };

static void *churn(void *seed) {
    void *slots[SLOTS] = {0};
    unsigned dice = (unsigned)(size_t)seed;
    for (int i = 0; i < CALLS; i++) {
        dice = dice * 1103515245 + 12345;
        void **slot = &slots[(dice >> 16) % SLOTS];
        if (*slot) {
            free(*slot);
            *slot = NULL;
        } else {
            *slot = malloc((dice >> 8) % 3000);
        }
    }
    for (int i = 0; i < SLOTS; i++)
        free(slots[i]);
    return NULL;
}

static void map(void) {
    char *pages = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 1, MAPPED);
    madvise(pages, 4096, MADV_DONTNEED);
    pages = mremap(pages, MAPPED, 2 * MAPPED, MREMAP_MAYMOVE);
    munmap(pages, 2 * MAPPED);
    sbrk(4096);
}

int main(void) {
    churn((void *)1);
    pthread_t thread;
    pthread_create(&thread, NULL, churn, (void *)2);
    pthread_join(thread, NULL);
    void *large = realloc(malloc(300000), 900000), *small = realloc(calloc(100, 50), 20);
    free(large);
    void *page = memalign(512, 1000), *line = NULL;
    if (posix_memalign(&line, 64, 100))
        return 1;
    malloc_trim(0);
    mallopt(M_MMAP_THRESHOLD, 100000);
    map();
    if (fork() == 0) {
        churn((void *)3);
        free(small);
        _exit(0);
    }
    wait(NULL);
    churn((void *)4);
    free(small);
    free(page);
    free(line);
    return 0;
}
