/* SPDX-License-Identifier: Apache-2.0 */
/* What the reports agree on: units, and who is stated against whom. */
#include "records_report.h"

double report_gbps(size_t size, double ns)
{
    return (double)size / ns;
}

const char *report_peer(const result *r)
{
    return result_of(r, "evp-tls13") != NULL ? "evp-tls13" : "evp-tls12";
}

const char *report_ours(const result *r)
{
    static const char *const names[] = {"batch", "aead", "record"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (result_of(r, names[i]) != NULL)
            return names[i];
    return NULL;
}
