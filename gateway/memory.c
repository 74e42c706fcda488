/* SPDX-License-Identifier: Apache-2.0 */
/* See memory.h. */
#include "memory.h"

#include <malloc.h>

#define WAVE_MIN 256u /* fewer connections leave nothing behind that is worth a look at all of the heap */

bool memory_look(struct memory *memory, size_t connections)
{
    if (connections > memory->most)
        memory->most = connections;
    if (memory->most < WAVE_MIN || connections > memory->most / 4)
        return false;
    memory->most = connections;
#ifdef __GLIBC__
    (void)malloc_trim(0); /* of all threads' arenas */
#endif
    return true;
}
