// SPDX-License-Identifier: LGPL-2.1-or-later
// A document service in small: what makes long-running programs grow, in one second.
//
// It loads one big model and drops it again, which silently raises glibc's mmap threshold; then it serves requests.
// Each request builds a document of some 200 KiB out of pieces and leaves a few hundred bytes in an index and a session
// table. At the end of the day the documents are gone and so are nearly all sessions, but the process stays big:
// the documents lay in the heap, and the small things that live on lie between them.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 600, SESSIONS = 60000, PIECES = 24 };

struct session {
    char *user;
    char *token;
};

static uint64_t seed = 20250101;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % sides;
}

static void *take(size_t size)
{
    void *block = malloc(size);
    if (!block) {
        fputs("fragment: out of memory\n", stderr);
        exit(1);
    }
    return memset(block, 'x', size);
}

static struct session sessions[SESSIONS];
static char *documents[REQUESTS];
static char *index_entries[REQUESTS];

static void load_and_drop_model(void)
{
    free(take(24u << 20));
}

static void serve(int request)
{
    char *pieces[PIECES];
    for (int i = 0; i < PIECES; i++)
        pieces[i] = take(64 + dice(4000));
    documents[request] = take((150u << 10) + dice(100u << 10));
    index_entries[request] = take(200 + dice(200));
    for (int i = 0; i < PIECES; i++)
        free(pieces[i]);
    for (int i = 0; i < SESSIONS / REQUESTS; i++) {
        struct session *session = &sessions[request * (SESSIONS / REQUESTS) + i];
        session->user = take(16 + dice(48));
        session->token = take(32 + dice(480));
    }
}

static void expire(int percent)
{
    for (int i = 0; i < SESSIONS; i++)
        if (sessions[i].user && dice(100) < (uint32_t)percent) {
            free(sessions[i].user);
            free(sessions[i].token);
            sessions[i] = (struct session){0};
        }
}

int main(void)
{
    load_and_drop_model();
    for (int request = 0; request < REQUESTS; request++)
        serve(request);
    for (int request = 0; request < REQUESTS; request++)
        free(documents[request]);
    expire(97);
    size_t kept = 0;
    for (int i = 0; i < SESSIONS; i++)
        kept += sessions[i].user != NULL;
    printf("served %d requests, %zu sessions live on\n", REQUESTS, kept);
    return 0;
}
