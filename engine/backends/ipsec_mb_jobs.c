/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One manager per thread: made at the thread's first job (the library tests itself then, so it costs some
 * milliseconds, once), freed by a destructor of the thread. Nothing of it is shared, so a child of fork()
 * goes on with its copy.
 */
#include "ipsec_mb_jobs.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
/* "initial-exec" as in counters.c: 8 bytes of the static TLS reserve. */
static _Thread_local IMB_MGR *mine __attribute__((tls_model("initial-exec")));

static void manager_free(void *manager)
{
    mine = NULL;
    free_mb_mgr(manager); /* no job is ever left in it, and the library wipes its lanes after each */
}

static void key_make(void)
{
    key_made = pthread_key_create(&key, manager_free) == 0;
}

static IMB_MGR *manager_make(void)
{
    IMB_ARCH arch;
    IMB_MGR *manager;

    /* Without a destructor it would be lost at the thread's end: rather none. */
    if (pthread_once(&key_once, key_make) != 0 || !key_made)
        return NULL;
    manager = alloc_mb_mgr(0);
    if (manager == NULL)
        return NULL;
    init_mb_mgr_auto(manager, &arch);
    if (imb_get_errno(manager) != 0 || pthread_setspecific(key, manager) != 0) {
        free_mb_mgr(manager);
        return NULL;
    }
    mine = manager;
    return manager;
}

IMB_MGR *ipsec_mb_jobs_manager(void)
{
    return mine != NULL ? mine : manager_make();
}
