/* SPDX-License-Identifier: Apache-2.0 */
/* Does a module itself fit what a URI says of it? RFC 7512 section 2.3. */
#include "error.h"
#include "module-int.h"

#include <stdlib.h>
#include <string.h>

static bool same_file(const char *a, const char *b)
{
    char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);
    bool same = strcmp(a, b) == 0 || (real_a && real_b && strcmp(real_a, real_b) == 0);
    free(real_a);
    free(real_b);
    return same;
}

/* RFC 7512 section 2.3: module-name is the file's name without what the system adds to libraries' names. */
static bool module_is_named(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t len = strlen(name);
    if (strncmp(base, "lib", 3) == 0 && strncmp(name, "lib", 3) != 0)
        base += 3;
    return strncmp(base, name, len) == 0 && (base[len] == '\0' || strcmp(base + len, ".so") == 0);
}

/* An attribute of the URI against what the module says of itself. */
static bool fits(const char *wanted, const unsigned char *padded, size_t len)
{
    while (len > 0 && padded[len - 1] == ' ')
        len--;
    return !wanted || (strlen(wanted) == len && memcmp(wanted, padded, len) == 0);
}

static bool version_fits(const char *wanted, CK_VERSION v)
{
    if (!wanted)
        return true;
    char *end = NULL;
    unsigned long major = strtoul(wanted, &end, 10);
    unsigned long minor =
        *end == '.' ? strtoul(end + 1, NULL, 10) : 0; /* RFC 7512 section 2.3: no minor means 0 */
    return major == v.major && minor == v.minor;
}

hsm_status module_match(struct module *m, const hsm_uri *uri, hsm_error *err)
{
    if ((uri->module_path && !same_file(uri->module_path, m->path)) ||
        (uri->module_name && !module_is_named(m->path, uri->module_name)))
        return error_set(err, HSM_E_SETTINGS, 0, "the URI wants the module '%s', but the settings name '%s'",
                         uri->module_path ? uri->module_path : uri->module_name, m->path);
    if (!uri->library_manufacturer && !uri->library_description && !uri->library_version)
        return HSM_OK;
    CK_INFO info;
    CK_RV rv = CK(m->functions, err, m->path, C_GetInfo, &info);
    if (rv != CKR_OK)
        return err ? err->status : ckr_status(rv);
    if (fits(uri->library_manufacturer, info.manufacturerID, sizeof(info.manufacturerID)) &&
        fits(uri->library_description, info.libraryDescription, sizeof(info.libraryDescription)) &&
        version_fits(uri->library_version, info.libraryVersion))
        return HSM_OK;
    return error_set(
        err, HSM_E_NO_TOKEN, 0, "PKCS#11 module '%s' (%.32s, %u.%u) is not the library that the URI wants",
        m->path, (const char *)info.libraryDescription, info.libraryVersion.major, info.libraryVersion.minor);
}
