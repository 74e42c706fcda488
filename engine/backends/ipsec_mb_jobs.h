/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager through which a thread hands IPsec-MB jobs. Jobs of one manager run side by side in the lanes
 * of the library, and a manager is for one thread only (unlike direct calls: ipsec_mb.c).
 */
#ifndef ENGINE_IPSEC_MB_JOBS_H
#define ENGINE_IPSEC_MB_JOBS_H

#include <intel-ipsec-mb.h>

/* The calling thread's, without any job in it; NULL without memory. Freed when the thread ends. */
IMB_MGR *ipsec_mb_jobs_manager(void);

#endif
