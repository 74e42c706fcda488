/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PINs in locked memory, and reading them from where the URI or the settings point. Whether a PIN may be
 * shown to a token is token.c's matter. Nothing here writes a PIN, or what may be one, into a message.
 */
#include "pin.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>

static size_t page_len(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (sizeof(struct pin) + page - 1) / page * page;
}

void pin_lock(struct pin *pin)
{
    /* Where RLIMIT_MEMLOCK forbids it, an unlocked PIN is still better than a daemon that does not start. */
    if (pin)
        (void)mlock(pin, page_len());
}

static struct pin *pin_alloc(void)
{
    void *page = mmap(NULL, page_len(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    (void)madvise(page, page_len(), MADV_DONTDUMP);
    pin_lock(page);
    return page;
}

struct pin *pin_new(const char *text, size_t len)
{
    struct pin *pin = len <= PIN_MAX ? pin_alloc() : NULL;
    if (pin) {
        memcpy(pin->text, text, len);
        pin->len = len;
    }
    return pin;
}

void pin_free(struct pin *pin)
{
    if (!pin)
        return;
    OPENSSL_cleanse(pin, sizeof(*pin));
    (void)munmap(pin, page_len());
}

struct pin *pin_copy(const struct pin *pin)
{
    return pin ? pin_new(pin->text, pin->len) : NULL;
}

bool pin_equal(const struct pin *a, const struct pin *b)
{
    return a->len == b->len && CRYPTO_memcmp(a->text, b->text, a->len) == 0;
}

/* ---- Sources ---- */

/* Cuts the text to its first line: editors and `echo` leave a newline behind the PIN. */
static void pin_cut_line(struct pin *pin)
{
    const char *newline = memchr(pin->text, '\n', pin->len);
    size_t len = newline ? (size_t)(newline - pin->text) : pin->len;
    if (len > 0 && newline && pin->text[len - 1] == '\r')
        len--;
    OPENSSL_cleanse(pin->text + len, PIN_MAX - len);
    pin->len = len;
}

/* Reads straight into the locked page, so that no copy of the PIN stays in a buffer of stdio. */
static hsm_status pin_fill(struct pin *pin, int fd, const char *path, hsm_error *err)
{
    while (pin->len < PIN_MAX) {
        ssize_t got = read(fd, pin->text + pin->len, PIN_MAX - pin->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, HSM_E_SETTINGS, 0, "PIN file '%s': cannot be read: %s", path,
                             strerror(errno));
        if (got == 0)
            break;
        pin->len += (size_t)got;
    }
    if (pin->len == PIN_MAX && !memchr(pin->text, '\n', PIN_MAX))
        return error_set(err, HSM_E_SETTINGS, 0, "PIN file '%s': its first line is longer than any PIN",
                         path);
    pin_cut_line(pin);
    if (pin->len == 0)
        return error_set(err, HSM_E_SETTINGS, 0, "PIN file '%s': its first line is empty", path);
    return HSM_OK;
}

static hsm_status pin_read_file(struct pin **out, const char *path, hsm_error *err)
{
    hsm_status status = HSM_OK;
    struct pin *pin = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(err, HSM_E_SETTINGS, 0, "PIN file '%s': cannot be opened: %s", path,
                         strerror(errno));
    pin = pin_alloc();
    if (!pin) {
        status = error_set(err, HSM_E_MEMORY, 0, "PIN file '%s': no memory for a PIN", path);
        goto out;
    }
    status = pin_fill(pin, fd, path, err);
    if (status != HSM_OK)
        goto out;
    *out = pin;
    pin = NULL;
out:
    pin_free(pin);
    (void)close(fd);
    return status;
}

static hsm_status pin_from_text(struct pin **out, const char *text, const char *where, hsm_error *err)
{
    size_t len = strlen(text);
    if (len == 0)
        return error_set(err, HSM_E_SETTINGS, 0, "%s: the PIN is empty", where);
    if (len > PIN_MAX)
        return error_set(err, HSM_E_SETTINGS, 0, "%s: the PIN has more than %d bytes", where, PIN_MAX);
    *out = pin_new(text, len);
    return *out ? HSM_OK : error_set(err, HSM_E_MEMORY, 0, "%s: no memory for a PIN", where);
}

/* RFC 8089: file:/path, file:///path, file://localhost/path. NULL if the file is on another host. */
static const char *file_uri_path(const char *text)
{
    const char *path = text + strlen("file:");
    if (strncmp(path, "//localhost/", 12) == 0)
        return path + 11;
    if (strncmp(path, "///", 3) == 0)
        return path + 2;
    return strncmp(path, "//", 2) == 0 ? NULL : path;
}

static bool is_credential(const char *text)
{
    return strncmp(text, "credential:", 11) == 0;
}

/* systemd.exec(5), LoadCredential=: a file of that name in a directory that only the service can read. */
static hsm_status pin_from_credential(struct pin **out, const char *name, const char *where, hsm_error *err)
{
    const char *directory = secure_getenv("CREDENTIALS_DIRECTORY");
    char path[4096];
    if (name[0] == '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(err, HSM_E_SETTINGS, 0, "%s: '%s' is no name of a credential", where, name);
    if (!directory || directory[0] != '/')
        return error_set(err, HSM_E_SETTINGS, 0,
                         "%s: there are no credentials: CREDENTIALS_DIRECTORY is not set; give the service "
                         "LoadCredential=%s:PATH",
                         where, name);
    int len = snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (len < 0 || (size_t)len >= sizeof(path))
        return error_set(err, HSM_E_SETTINGS, 0, "%s: the credential's path is too long", where);
    return pin_read_file(out, path, err);
}

/*
 * RFC 7512 section 2.4: a file: URI or a path; "|command" is allowed to be refused, and we run no commands.
 * "credential:" is ours.
 */
static hsm_status pin_from_source(struct pin **out, const char *source, const char *where, hsm_error *err)
{
    if (source[0] == '|')
        return error_set(err, HSM_E_SETTINGS, 0, "%s: running a command for the PIN is not supported", where);
    if (is_credential(source))
        return pin_from_credential(out, source + strlen("credential:"), where, err);
    const char *path = strncmp(source, "file:", 5) == 0 ? file_uri_path(source) : source;
    if (!path || path[0] == '\0')
        return error_set(err, HSM_E_SETTINGS, 0, "%s: '%s' names no file of this machine", where, source);
    return pin_read_file(out, path, err);
}

static hsm_status pin_from_caller(struct pin **out, hsm_pin_callback ask, void *ask_arg, const char *label,
                                  hsm_error *err)
{
    struct pin *pin = pin_alloc();
    if (!pin)
        return error_set(err, HSM_E_MEMORY, 0, "token '%s': no memory for a PIN", label);
    if (ask(ask_arg, label, pin->text, PIN_MAX, &pin->len) && pin->len > 0 && pin->len <= PIN_MAX)
        *out = pin;
    else
        pin_free(pin);
    return HSM_OK;
}

hsm_status pin_setting_read(struct pin_setting *out, const char *text, hsm_error *err)
{
    *out = (struct pin_setting){0};
    if (!text)
        return HSM_OK;
    if (strncmp(text, "file:", 5) != 0 && !is_credential(text))
        return pin_from_text(&out->pin, text, "PIN setting", err);
    out->file = OPENSSL_strdup(text);
    return out->file ? HSM_OK : error_set(err, HSM_E_MEMORY, 0, "PIN setting: out of memory");
}

void pin_setting_clear(struct pin_setting *setting)
{
    pin_free(setting->pin);
    OPENSSL_free(setting->file);
    *setting = (struct pin_setting){0};
}

hsm_status pin_resolve(struct pin **out, const struct pin_sources *sources, const char *label, hsm_error *err)
{
    *out = NULL;
    if (sources->uri->pin_value)
        return pin_from_text(out, sources->uri->pin_value, "pin-value of the URI", err);
    if (sources->uri->pin_source)
        return pin_from_source(out, sources->uri->pin_source, "pin-source of the URI", err);
    if (sources->kept) {
        *out = pin_copy(sources->kept);
        return *out ? HSM_OK : error_set(err, HSM_E_MEMORY, 0, "token '%s': no memory for a PIN", label);
    }
    if (sources->setting->file)
        return pin_from_source(out, sources->setting->file, "PIN setting", err);
    if (sources->setting->pin) {
        *out = pin_copy(sources->setting->pin);
        return *out ? HSM_OK : error_set(err, HSM_E_MEMORY, 0, "token '%s': no memory for a PIN", label);
    }
    return sources->ask ? pin_from_caller(out, sources->ask, sources->ask_arg, label, err) : HSM_OK;
}
