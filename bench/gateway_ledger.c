/* SPDX-License-Identifier: Apache-2.0 */
/* What was sent, answered and arrived; see gateway_ledger.h. */
#include "gateway_ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct ledger *ledger_map(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *memory = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(struct ledger)) == 0)
        memory = mmap(NULL, sizeof(struct ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        perror(path);
    if (fd >= 0)
        close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

struct ledger_sum ledger_count(struct ledger *ledger, uint32_t first)
{
    uint32_t end = atomic_load(&ledger->next);
    struct ledger_sum sum = {0};

    for (uint32_t i = first; i < end && i < LEDGER_MESSAGES; i++) {
        uint8_t fate = atomic_load(&ledger->fate[i]);
        sum.answered += (fate & LEDGER_ANSWERED) != 0;
        sum.arrived += (fate & LEDGER_ARRIVED) != 0;
        sum.twice += (fate & LEDGER_TWICE) != 0;
        sum.lost += (fate & (LEDGER_ANSWERED | LEDGER_ARRIVED)) == LEDGER_ANSWERED;
    }
    return sum;
}

const char *message_body(size_t size)
{
    static char *body;
    static size_t made;
    uint64_t state = size;

    if (body != NULL && made == size)
        return body;
    body = realloc(body, size);
    if (body == NULL)
        abort();
    made = size;
    for (size_t i = 0; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        body[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : (char)('A' + (state >> 33) % 26);
    }
    if (size >= 2) { /* whatever the size, the last line is whole */
        body[size - 2] = '\r';
        body[size - 1] = '\n';
        if (size >= 3 && (body[size - 3] == '\r'))
            body[size - 3] = 'A';
    }
    return body;
}
