/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of the process. Handlers of exit run in reverse order of registration, so ours, registered after
 * the module was loaded, runs while the module is whole: let the threads finish what they are at, end them,
 * and never enter Cryptoki again. The module is not finalised: others may run their destructors before us,
 * and a C_Finalize after those of SoftHSM2 crashes.
 *
 * atexit and not OPENSSL_atexit: the latter runs with libcrypto's own handler, which was registered before
 * the module was loaded and so comes too late.
 */
#include "exit.h"
#include "pool.h"
#include "process.h"

#include <stdlib.h>

enum {
    EXIT_WAIT_MS = 2000, /* for a token that hangs; else it takes a signature's time */
    EXIT_REST_MS = 100,  /* after that, for the threads that do not hang */
};

static void process_exit(void)
{
    bool quiet = gate_shut(EXIT_WAIT_MS);
    if (!pools_stop_all(quiet ? EXIT_WAIT_MS : EXIT_REST_MS) || !quiet)
        library_pin((const void *)&exit_register);
}

void exit_register(void)
{
    (void)atexit(process_exit);
}
