/* SPDX-License-Identifier: Apache-2.0 */
/* Actors as the benchmark sees them: starting, ordering, ending. Their own life is in handshakes_act.c. */
#include "handshakes_actor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fault.h"
#include "handshakes_act.h"

#define START_MS 60000 /* RSA keys are made, modules loaded */
#define GRACE_MS 60000 /* over the length of a stretch */
#define END_MS   20000

/* ---- What the process finds ---- */

static bool write_file(const char *folder, const char *name, const void *bytes, size_t len)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "w");
    if (f == NULL)
        return false;
    bool done = fwrite(bytes, 1, len, f) == len;
    return fclose(f) == 0 && done;
}

/* The same settings for both: Sealane takes the names of pkcs11-provider. */
static bool write_configuration(const actor *a, const stage *s)
{
    char text[4096];
    int len = snprintf(text, sizeof(text),
                       "openssl_conf = init\n[init]\nproviders = providers\n[providers]\ndefault = own\n");
    const char *module = a->work.latency_ms > 0 ? s->shim : s->module;

    if (a->who->loaded != LOADED_NONE)
        len += snprintf(text + len, sizeof(text) - (size_t)len,
                        "pkcs11 = pkcs11\n[pkcs11]\nmodule = %s\npkcs11-module-path = %s\n"
                        "pkcs11-module-token-pin = %s\nactivate = 1\n",
                        a->who->loaded == LOADED_SEALANE ? s->provider : s->peer, module, s->pin);
    if (a->who->loaded != LOADED_NONE && s->init_args[0] != '\0')
        len +=
            snprintf(text + len, sizeof(text) - (size_t)len, "pkcs11-module-init-args = %s\n", s->init_args);
    if (a->who->loaded == LOADED_SEALANE)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "sealane-sessions = %u\n", s->sessions);
    /* Without it SoftHSM2 is finalised after its own destructors, and the process crashes at exit. */
    if (a->who->loaded == LOADED_PEER)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "pkcs11-module-quirks = no-deinit\n");
    len += snprintf(text + len, sizeof(text) - (size_t)len, "[own]\nactivate = 1\n");
    return (size_t)len < sizeof(text) && write_file(a->folder, "openssl.cnf", text, (size_t)len);
}

static bool write_orders_of_shim(const actor *a)
{
    static const struct fault_file none;
    struct fault_file orders = none;

    memcpy(orders.magic, FAULT_MAGIC, sizeof(orders.magic));
    orders.rule[0].function = FAULT_Sign;
    orders.rule[0].delay_us = a->work.latency_ms * 1000;
    orders.rule[0].times = FAULT_EVER;
    return write_file(a->folder, "shim", &orders, sizeof(orders));
}

/* Signatures that the token was asked for, as the shim between it and the provider counted them. */
static uint64_t signatures_counted(const actor *a)
{
    char path[128];
    struct fault_file counted;
    FILE *f;
    uint64_t sum = 0;

    snprintf(path, sizeof(path), "%s/shim", a->folder);
    f = fopen(path, "r");
    if (f != NULL && fread(&counted, sizeof(counted), 1, f) == 1)
        sum = counted.calls[FAULT_Sign];
    if (f != NULL)
        fclose(f);
    return sum;
}

static bool folder_make(actor *a, const stage *s)
{
    static const char name[] = "/bench-XXXXXX";
    const char *tmp = getenv("TMPDIR");

    if (tmp == NULL)
        tmp = "/tmp";
    if (strlen(tmp) + sizeof(name) > sizeof(a->folder)) {
        fprintf(stderr, "bench-handshakes: TMPDIR is longer than %zu bytes; name a shorter one\n",
                sizeof(a->folder) - sizeof(name));
        return false;
    }
    memcpy(a->folder, tmp, strlen(tmp));
    memcpy(a->folder + strlen(tmp), name, sizeof(name));
    if (mkdtemp(a->folder) == NULL) {
        a->folder[0] = '\0';
        return false;
    }
    return write_configuration(a, s) && write_orders_of_shim(a);
}

static void folder_remove(actor *a)
{
    static const char *const names[] = {"openssl.cnf", "shim"};
    char path[128];

    if (a->folder[0] == '\0')
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", a->folder, names[i]);
        unlink(path);
    }
    rmdir(a->folder);
    a->folder[0] = '\0';
}

/* ---- The process ---- */

static void become_actor(const actor *a, const stage *s, int order, int answer)
{
    char path[128];

    if (dup2(order, ACTOR_ORDER_FD) < 0 || dup2(answer, ACTOR_ANSWER_FD) < 0)
        _exit(126);
    snprintf(path, sizeof(path), "%s/openssl.cnf", a->folder);
    setenv("OPENSSL_CONF", path, 1);
    snprintf(path, sizeof(path), "%s/shim", a->folder);
    setenv("SEALANE_FAULT_FILE", path, 1);
    setenv("SEALANE_FAULT_MODULE", s->module, 1);
    execl("/proc/self/exe", "bench-handshakes", ACTOR_ARGUMENT, (char *)NULL);
    _exit(127);
}

static bool process_start(actor *a, const stage *s)
{
    int order[2], answer[2];

    if (pipe2(order, O_CLOEXEC) != 0)
        return false;
    if (pipe2(answer, O_CLOEXEC) != 0) {
        close(order[0]), close(order[1]);
        return false;
    }
    fflush(NULL);
    a->pid = fork();
    if (a->pid == 0)
        become_actor(a, s, order[0], answer[1]);
    close(order[0]), close(answer[1]);
    a->order = order[1];
    a->answer = answer[0];
    return a->pid > 0;
}

/* All of `len` bytes within `ms`; false: the process has ended, or hangs. */
static bool answer_read(actor *a, void *to, size_t len, unsigned ms, char why[TEXT_MAX])
{
    struct pollfd ready = {.fd = a->answer, .events = POLLIN};

    for (size_t got = 0; got < len;) {
        int n = poll(&ready, 1, (int)ms);
        if (n < 0 && errno == EINTR)
            continue;
        ssize_t part = n > 0 ? read(a->answer, (char *)to + got, len - got) : 0;
        if (part <= 0) {
            snprintf(why, TEXT_MAX, n == 0 ? "hangs: no answer within %u ms" : "the process has ended", ms);
            return false;
        }
        got += (size_t)part;
    }
    return true;
}

static bool order_write(actor *a, const void *from, size_t len)
{
    return write(a->order, from, len) == (ssize_t)len;
}

bool actor_start(actor *a, const contestant *who, const work *w, const stage *s, char why[TEXT_MAX])
{
    struct act_order first = {.contestant = {0}, .work = *w, .stage = *s};
    struct act_ready ready;

    *a = (actor){.who = who, .work = *w, .order = -1, .answer = -1};
    snprintf(why, TEXT_MAX, "the process cannot be started: %s", strerror(errno));
    snprintf(first.contestant, sizeof(first.contestant), "%s", who->name);
    signal(SIGPIPE, SIG_IGN);
    if (!folder_make(a, s) || !process_start(a, s) || !order_write(a, &first, sizeof(first)))
        return false;
    if (!answer_read(a, &ready, sizeof(ready), START_MS, why))
        return false;
    snprintf(why, TEXT_MAX, "%s", ready.failure);
    return ready.failure[0] == '\0';
}

bool actor_work(actor *a, unsigned ms, stretch *out, char why[TEXT_MAX])
{
    uint32_t order = ms;

    memset(out, 0, sizeof(*out));
    if (order_write(a, &order, sizeof(order)))
        return answer_read(a, out, sizeof(*out), ms + GRACE_MS, why);
    snprintf(why, TEXT_MAX, "the process has ended");
    return false;
}

/* A process that has no more orders to wait for ends by itself. */
static bool process_end(actor *a, char why[TEXT_MAX])
{
    int status = 0;

    for (unsigned waited = 0; waited < END_MS; waited += 10) {
        if (waitpid(a->pid, &status, WNOHANG) == a->pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return true;
            snprintf(why, TEXT_MAX, WIFSIGNALED(status) ? "killed by signal %d at its end" : "exit status %d",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
            return false;
        }
        usleep(10000);
    }
    kill(a->pid, SIGKILL);
    waitpid(a->pid, &status, 0);
    snprintf(why, TEXT_MAX, "does not end");
    return false;
}

bool actor_end(actor *a, char why[TEXT_MAX])
{
    struct act_total total = {0};
    const uint32_t no_more = 0;
    bool good = true;

    if (a->pid > 0) {
        if (order_write(a, &no_more, sizeof(no_more)))
            good = answer_read(a, &total, sizeof(total), GRACE_MS, why);
        close(a->order), close(a->answer);
        good = process_end(a, why) && good;
        if (good && a->work.latency_ms > 0 && a->who->token && signatures_counted(a) < total.done) {
            snprintf(why, TEXT_MAX, "%llu done, but the token was asked for %llu signatures",
                     (unsigned long long)total.done, (unsigned long long)signatures_counted(a));
            good = false;
        }
    }
    a->pid = 0;
    folder_remove(a);
    return good;
}
