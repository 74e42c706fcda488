/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of an operation through the token: outside ASYNC jobs it waits, inside one (ASYNC_start_job(3)) it pauses
 * the job until the token has answered and wakes the job's owner.
 */
#include <sys/eventfd.h>
#include <unistd.h>
#include <openssl/async.h>
#include "key.h"

/*
 * How the owner of a paused job is woken: by a callback if the application wishes (SSL_set_async_callback), otherwise
 * by a descriptor that it watches.
 *
 * Event loops (HAProxy's ssl_async_process_fds and ssl_sock_close) register the descriptor when a job pauses, keep
 * it registered after the job, and look at close for all that the wait context holds. So one that is in the wait
 * context has been seen at a pause and stays open, for all operations of the connection, until the context is freed;
 * one that no pause has shown is not in it.
 */
typedef struct wakeup {
    ASYNC_callback_fn callback;
    void *arg;
    int fd;
    bool known; /* the descriptor is in the wait context */
} wakeup;

/* Its address names our descriptor among those of a wait context. */
static char wakeup_name;

static void wakeup_done(void *arg)
{
    wakeup *w = arg;
    const uint64_t one = 1;

    if (w->callback != NULL)
        w->callback(w->arg);
    else
        (void)!write(w->fd, &one, sizeof(one));
}

static void wakeup_fd_cleanup(ASYNC_WAIT_CTX *wait, const void *id, OSSL_ASYNC_FD fd, void *custom)
{
    (void)wait;
    (void)id;
    (void)custom;
    close(fd);
}

static bool wakeup_setup(wakeup *w, ASYNC_WAIT_CTX *wait)
{
    void *custom;

    *w = (wakeup){.fd = -1};
    if (ASYNC_WAIT_CTX_get_callback(wait, &w->callback, &w->arg) == 1 && w->callback != NULL)
        return true;
    w->callback = NULL;
    w->known = ASYNC_WAIT_CTX_get_fd(wait, &wakeup_name, &w->fd, &custom) == 1;
    if (!w->known)
        w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->fd >= 0;
}

/* Lets the application see the descriptor at the pause that now must follow. */
static bool wakeup_show(wakeup *w, ASYNC_WAIT_CTX *wait)
{
    if (w->callback == NULL && !w->known)
        w->known = ASYNC_WAIT_CTX_set_wait_fd(wait, &wakeup_name, w->fd, NULL, wakeup_fd_cleanup) == 1;
    return w->callback != NULL || w->known;
}

static void wakeup_end(wakeup *w)
{
    uint64_t count;

    if (w->fd >= 0 && w->known)
        (void)!read(w->fd, &count, sizeof(count)); /* unreadable again, for the next operation */
    else if (w->fd >= 0)
        close(w->fd);
}

/* The job's stack is small and may stay asleep for long: only the request lives elsewhere, in the hsm room.
 */
static hsm_status operate_paused(ASYNC_JOB *job, hsm_key *k, const hsm_mechanism *mech, const uint8_t *in,
                                 size_t in_len, uint8_t *out, size_t *out_len, hsm_error *err)
{
    ASYNC_WAIT_CTX *wait = ASYNC_get_wait_ctx(job);
    wakeup w;
    hsm_job *request;

    if (!wakeup_setup(&w, wait))
        return hsm_operate(k, mech, in, in_len, out, out_len, err);
    hsm_status status = hsm_submit(k, mech, in, in_len, wakeup_done, &w, &request, err);
    if (status == HSM_OK) {
        if (!hsm_job_ready(request) && wakeup_show(&w, wait))
            while (ASYNC_pause_job() == 1 && !hsm_job_ready(request))
                ;
        status = hsm_job_finish(request, out, out_len, err);
    }
    wakeup_end(&w);
    return status;
}

hsm_status key_operate(const key *k, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                       uint8_t *out, size_t *out_len, hsm_error *err)
{
    ASYNC_JOB *job = ASYNC_get_current_job();

    return job != NULL ? operate_paused(job, k->token, mech, in, in_len, out, out_len, err)
                       : hsm_operate(k->token, mech, in, in_len, out, out_len, err);
}
