/* The first thread ends by pthread_exit while another one goes on: glibc keeps its cache and its arena.

   mainless [fork]   fork: a child of the second thread ends that way, in which the second thread is the first */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 400 };

static pthread_t first;

static void churn(int rounds) {
    void *blocks[BLOCKS];
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < BLOCKS; i++)
            blocks[i] = malloc(24 + 16 * (i * 7 % 60));
        for (int i = 0; i < BLOCKS; i++)
            free(blocks[i]);
    }
}

static void *later(void *unused) {
    churn(3);
    return unused;
}

static void *second(void *forks) {
    pthread_join(first, NULL);
    churn(5);
    if (forks && fork() == 0) {
        pthread_t third;
        churn(2);
        pthread_create(&third, NULL, later, NULL);
        pthread_exit(NULL);
    }
    wait(NULL);
    pthread_t third;
    pthread_create(&third, NULL, later, NULL);
    pthread_join(third, NULL);
    churn(5);
    exit(0);
}

int main(int argc, char **argv) {
    pthread_t thread;
    churn(4);
    first = pthread_self();
    pthread_create(&thread, NULL, second, argc > 1 ? argv : NULL);
    churn(4);
    pthread_exit(NULL);
}
