/* SPDX-License-Identifier: Apache-2.0 */
/* One question, one answer; see answerer.h. */
#include "answerer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "settings.h"
#include "settings_private.h"

#define QUESTION_MAX 4096u
#define ANSWERS_MAX  32u   /* at once */
#define PATIENCE_MS  10000 /* for a question, and for the answer to be taken */

union stream {
    uv_stream_t stream;
    uv_pipe_t pipe;
    uv_tcp_t tcp;
};

struct answerer {
    union stream listener;
    char *path; /* NULL: TCP */
    const char *end;
    question_handler handler;
    void *owner;
    struct answer *answers;
    unsigned count;
    bool closed;
};

struct answer {
    struct answer *next;
    struct answerer *answerer;
    union stream peer;
    uv_timer_t timer;
    uv_write_t write;
    uv_buf_t text;
    char question[QUESTION_MAX + 1];
    size_t length;
    unsigned handles;
    bool asked, due, closing; /* due: the owner still owes the answer, and with it this memory */
};

static void free_answerer(struct answerer *a)
{
    free(a->path);
    free(a);
}

static void free_answer(struct answer *answer)
{
    struct answerer *a = answer->answerer;

    if (answer->handles > 0 || answer->due)
        return;
    for (struct answer **at = &a->answers; *at != NULL; at = &(*at)->next) {
        if (*at == answer) {
            *at = answer->next;
            break;
        }
    }
    free(answer->text.base);
    free(answer);
    if (--a->count == 0 && a->closed)
        free_answerer(a);
}

static void on_closed(uv_handle_t *handle)
{
    struct answer *answer = handle->data;

    answer->handles--;
    free_answer(answer);
}

static void close_answer(struct answer *answer)
{
    if (answer->closing)
        return;
    answer->closing = true;
    uv_close((uv_handle_t *)&answer->peer, on_closed);
    uv_close((uv_handle_t *)&answer->timer, on_closed);
}

static void on_patience(uv_timer_t *timer)
{
    close_answer(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    close_answer(write->data);
}

void answer_send(struct answer *answer, char *text, size_t len)
{
    answer->due = false;
    answer->text = uv_buf_init(text, (unsigned)len);
    answer->write.data = answer;
    if (answer->closing)
        free_answer(answer);
    else if (text == NULL ||
             uv_write(&answer->write, &answer->peer.stream, &answer->text, 1, on_written) != 0)
        close_answer(answer);
    else
        uv_timer_start(&answer->timer, on_patience, PATIENCE_MS, 0);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
    struct answer *answer = handle->data;

    (void)wanted;
    *buf = uv_buf_init(answer->question + answer->length, (unsigned)(QUESTION_MAX - answer->length));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct answer *answer = stream->data;
    struct answerer *a = answer->answerer;
    char *end;

    (void)buf;
    if (n < 0 || answer->closing) {
        close_answer(answer);
        return;
    }
    answer->length += (size_t)n;
    answer->question[answer->length] = '\0';
    end = strstr(answer->question, a->end);
    if (end == NULL) {
        if (answer->length == QUESTION_MAX)
            close_answer(answer);
        return;
    }
    *end = '\0';
    uv_read_stop(stream);
    uv_timer_stop(&answer->timer); /* what the owner has to do may take its time */
    answer->asked = answer->due = true;
    a->handler(a->owner, answer, answer->question);
}

static void init_stream(struct answerer *a, uv_loop_t *uv, union stream *stream)
{
    if (a->path != NULL)
        uv_pipe_init(uv, &stream->pipe, 0);
    else
        uv_tcp_init(uv, &stream->tcp);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct answerer *a = listener->data;
    struct answer *answer = status == 0 ? calloc(1, sizeof *answer) : NULL;

    if (answer == NULL)
        return;
    answer->answerer = a;
    answer->next = a->answers;
    a->answers = answer;
    a->count++;
    init_stream(a, listener->loop, &answer->peer);
    uv_timer_init(listener->loop, &answer->timer);
    answer->peer.stream.data = answer->timer.data = answer;
    answer->handles = 2;
    if (uv_accept(listener, &answer->peer.stream) != 0 || a->count > ANSWERS_MAX) {
        close_answer(answer);
        return;
    }
    uv_timer_start(&answer->timer, on_patience, PATIENCE_MS, 0);
    uv_read_start(&answer->peer.stream, give_room, on_read);
}

/* A socket file that a dead process left. True if the path is free now. */
static bool clear_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat file;
    bool listening;
    int fd;

    if (lstat(path, &file) != 0)
        return errno == ENOENT;
    if (!S_ISSOCK(file.st_mode) || strlen(path) >= sizeof address.sun_path) {
        errno = EEXIST;
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    listening = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    if (listening) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(path) == 0;
}

static int bind_path(struct answerer *a, unsigned mode)
{
    int error;
    mode_t before;

    if (!clear_path(a->path))
        return -errno;
    before = umask(0177); /* nobody may connect before the mode is right */
    error = uv_pipe_bind(&a->listener.pipe, a->path);
    umask(before);
    if (error == 0 && chmod(a->path, mode) != 0)
        error = -errno;
    return error;
}

static int bind_port(struct answerer *a, const char *address)
{
    struct store store = {0};
    struct endpoint e;
    struct sockaddr_storage to;
    int error = UV_EINVAL, port;

    if (split_endpoint(&store, address, &e)) {
        port = (int)strtol(e.port, NULL, 10);
        error = strchr(e.host, ':') != NULL ? uv_ip6_addr(e.host, port, (struct sockaddr_in6 *)&to)
                                            : uv_ip4_addr(e.host, port, (struct sockaddr_in *)&to);
    }
    if (error == 0)
        error = uv_tcp_bind(&a->listener.tcp, (struct sockaddr *)&to, 0);
    store_free(&store);
    return error;
}

struct answerer *answerer_open(uv_loop_t *uv, const char *address, unsigned mode, const char *end,
                               question_handler handler, void *owner)
{
    struct answerer *a = calloc(1, sizeof *a);
    int error;

    if (a == NULL)
        return NULL;
    a->end = end;
    a->handler = handler;
    a->owner = owner;
    a->path = address[0] == '/' ? strdup(address) : NULL;
    init_stream(a, uv, &a->listener);
    a->listener.stream.data = a;
    error = a->path != NULL ? bind_path(a, mode) : bind_port(a, address);
    if (error == 0)
        error = uv_listen(&a->listener.stream, 16, on_connection);
    if (error == 0)
        return a;
    errno = -error; /* the process ends after this: the handle is left as it is */
    return NULL;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct answerer *a = handle->data;

    a->closed = true;
    if (a->count == 0)
        free_answerer(a);
}

void answerer_close(struct answerer *a)
{
    if (a == NULL)
        return;
    if (a->path != NULL)
        unlink(a->path);
    for (struct answer *answer = a->answers; answer != NULL; answer = answer->next)
        close_answer(answer);
    uv_close((uv_handle_t *)&a->listener, on_listener_closed);
}
