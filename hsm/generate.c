/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making key pairs in a token: C_GenerateKeyPair on a worker, in a session of its own, since the workers'
 * sessions are read-only. A pair that cannot be read back is destroyed again.
 */
#include "error.h"
#include "key.h"
#include "locate.h"
#include "public.h"
#include "uri.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

enum { RANDOM_ID_LEN = 16, TEMPLATE_MAX = 16, RSA_EXPONENT_MAX = 32 };

struct generate_task {
    struct task task;
    struct token *token;
    struct pin *pin; /* NULL with login: the token's own key pad */
    bool login;
    hsm_key_spec spec;
    uint8_t e[RSA_EXPONENT_MAX];
    char *group, *label;
    uint8_t *id;
    size_t id_len;
    bool named_by_id; /* the id is the URI's, not a random one */
    bool asked;       /* C_GenerateKeyPair was called: not to be repeated */
    struct keydata *made;
};

/* ---- Templates ---- */

struct template
{
    CK_ATTRIBUTE list[TEMPLATE_MAX];
    CK_ULONG count;
};

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static void add(struct template *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
    t->list[t->count++] = (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, len};
}

static void add_flag(struct template *t, CK_ATTRIBUTE_TYPE type, bool value)
{
    add(t, type, value ? &yes : &no, sizeof(yes));
}

static void add_name(struct template *t, const struct generate_task *g)
{
    add_flag(t, CKA_TOKEN, true);
    if (g->label)
        add(t, CKA_LABEL, g->label, strlen(g->label));
    add(t, CKA_ID, g->id, g->id_len);
}

static bool is_rsa(hsm_key_type type)
{
    return type == HSM_KEY_RSA || type == HSM_KEY_RSA_PSS;
}

/* PKCS#11 2.40 sections 4.8 and 4.9. */
static void template_private(struct template *t, const struct generate_task *g,
                             CK_MECHANISM_TYPE allowed[PSS_MECHANISMS_MAX])
{
    const hsm_key_spec *spec = &g->spec;
    *t = (struct template){.count = 0};
    add_name(t, g);
    add_flag(t, CKA_PRIVATE, true);
    add_flag(t, CKA_SENSITIVE, true);
    add_flag(t, CKA_EXTRACTABLE, false);
    add_flag(t, CKA_SIGN, spec->use & HSM_USE_SIGN);
    if (is_rsa(spec->type))
        add_flag(t, CKA_DECRYPT, spec->use & HSM_USE_DECRYPT);
    if (spec->type == HSM_KEY_EC)
        add_flag(t, CKA_DERIVE, spec->use & HSM_USE_DERIVE);
    if (spec->type == HSM_KEY_RSA_PSS)
        add(t, CKA_ALLOWED_MECHANISMS, allowed,
            pss_mechanisms_list(spec->pss_hash, allowed) * sizeof(*allowed));
}

/* The parameters of the key are the public template's. */
struct parameters {
    CK_ULONG bits;
    uint8_t curve[CURVE_PARAMS_MAX];
    size_t curve_len;
};

static void template_public(struct template *t, const struct generate_task *g, const struct parameters *p)
{
    const hsm_key_spec *spec = &g->spec;
    *t = (struct template){.count = 0};
    add_name(t, g);
    add_flag(t, CKA_PRIVATE, false);
    add_flag(t, CKA_VERIFY, spec->use & HSM_USE_SIGN);
    if (is_rsa(spec->type)) {
        add_flag(t, CKA_ENCRYPT, spec->use & HSM_USE_DECRYPT);
        add(t, CKA_MODULUS_BITS, &p->bits, sizeof(p->bits));
        add(t, CKA_PUBLIC_EXPONENT, g->e, spec->e_len);
    } else {
        add(t, CKA_EC_PARAMS, p->curve, p->curve_len);
    }
}

static CK_MECHANISM_TYPE mechanism_of(hsm_key_type type)
{
    if (is_rsa(type))
        return CKM_RSA_PKCS_KEY_PAIR_GEN;
    return type == HSM_KEY_EC ? CKM_EC_KEY_PAIR_GEN : CKM_EC_EDWARDS_KEY_PAIR_GEN;
}

/* ---- On the worker ---- */

struct pair {
    CK_OBJECT_HANDLE public, private;
};

static CK_RV pair_make(struct generate_task *g, const struct place *place, bool by_name, struct pair *out,
                       hsm_error *err)
{
    struct parameters p = {.bits = g->spec.bits};
    struct template public, private;
    CK_MECHANISM_TYPE allowed[PSS_MECHANISMS_MAX];
    CK_MECHANISM mechanism = {mechanism_of(g->spec.type), NULL, 0};
    if (!is_rsa(g->spec.type) && !curve_params(g->spec.type, g->group, by_name, p.curve, &p.curve_len)) {
        (void)error_set(err, HSM_E_UNSUPPORTED, CKR_CURVE_NOT_SUPPORTED, "%s: no curve is called '%s'",
                        place->where, g->group ? g->group : "");
        return CKR_CURVE_NOT_SUPPORTED;
    }
    template_public(&public, g, &p);
    template_private(&private, g, allowed);
    g->asked = true;
    return CK(place->functions, err, place->where, C_GenerateKeyPair, place->session, &mechanism, public.list,
              public.count, private.list, private.count, &out->public, &out->private);
}

static void pair_destroy(const struct place *place, const struct pair *pair)
{
    (void)CK(place->functions, NULL, place->where, C_DestroyObject, place->session, pair->private);
    (void)CK(place->functions, NULL, place->where, C_DestroyObject, place->session, pair->public);
}

/* Is the name free? Two keys may share a label if their ids differ, so the id alone decides where it is given. */
static hsm_status name_check(const struct generate_task *g, const struct place *place, hsm_error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_OBJECT_HANDLE *list = NULL;
    size_t count = 0;
    struct wanted wanted = {.class = &class};
    if (g->named_by_id) {
        wanted.id = g->id;
        wanted.id_len = g->id_len;
    } else {
        wanted.label = g->label;
    }
    if (!g->named_by_id && !g->label)
        return HSM_OK;
    hsm_status status = object_search(place, &wanted, &list, &count, err);
    OPENSSL_free(list);
    if (status == HSM_OK && count > 0)
        status =
            error_set(err, HSM_E_EXISTS, 0, "%s: it has a private key of that %s already; choose another",
                      place->where, g->named_by_id ? "id" : "label");
    return status;
}

static hsm_status pair_generate(struct generate_task *g, struct worker *worker, const struct place *place,
                                hsm_error *err)
{
    struct pair pair = {0};
    hsm_status status = name_check(g, place, err);
    if (status != HSM_OK)
        return status;
    CK_RV rv = pair_make(g, place, false, &pair, err);
    /* Tokens older than PKCS#11 3.0 know Edwards curves by a name only. */
    if (rv != CKR_OK && !ckr_is_loss(rv) && mechanism_of(g->spec.type) == CKM_EC_EDWARDS_KEY_PAIR_GEN)
        rv = pair_make(g, place, true, &pair, err);
    if (rv != CKR_OK)
        return ckr_status(rv);
    status =
        keydata_read(&g->made, g->token, place, pair.private, HSM_CLASS_PRIVATE, NULL, worker->epoch, err);
    if (status != HSM_OK)
        pair_destroy(place, &pair);
    return status;
}

/* A second session of the worker, that may write; it shares the login of the first (PKCS#11 2.40 section 5.6). */
static hsm_status writable_open(struct generate_task *g, const struct place *place, struct place *out,
                                hsm_error *err)
{
    CK_SESSION_INFO info;
    *out = *place;
    CK_RV rv = CK(place->functions, err, place->where, C_GetSessionInfo, place->session, &info);
    if (rv == CKR_OK)
        rv = CK(place->functions, err, place->where, C_OpenSession, info.slotID,
                CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &out->session);
    if (rv == CKR_OK)
        module_sessions_add(token_owner(g->token)->module, 1);
    return ckr_status(rv);
}

static void writable_close(struct generate_task *g, const struct place *place)
{
    (void)CK(place->functions, NULL, place->where, C_CloseSession, place->session);
    module_sessions_add(token_owner(g->token)->module, -1);
}

static hsm_status generate_once(struct generate_task *g, struct worker *worker, hsm_error *err)
{
    struct place place, writable;
    hsm_status status = token_session_await(g->token, worker, &g->task, &place, err);
    if (status == HSM_OK && g->login)
        status = token_login(g->token, worker, g->pin, err);
    if (status == HSM_OK)
        status = token_login_state(g->token, err);
    if (status == HSM_OK)
        status = writable_open(g, &place, &writable, err);
    if (status != HSM_OK)
        return status;
    status = pair_generate(g, worker, &writable, err);
    writable_close(g, &writable);
    return status;
}

static bool generate_repair(struct generate_task *g, struct worker *worker, CK_RV rv, unsigned attempt)
{
    if (!worker->has_session || g->asked)
        return false;
    if (ckr_is_loss(rv) && attempt == 0) {
        token_lost(g->token, worker);
        return true;
    }
    return token_retry_login(g->token, worker, rv, attempt);
}

static void generate_run(struct task *task, struct worker *worker)
{
    struct generate_task *g = (struct generate_task *)task;
    for (unsigned attempt = 0;; attempt++) {
        hsm_error why = {0};
        hsm_status status = generate_once(g, worker, &why);
        task->err = status == HSM_OK ? (hsm_error){0} : why;
        if (status == HSM_OK || !generate_repair(g, worker, why.ckr, attempt))
            break;
    }
}

static void generate_destroy(struct task *task)
{
    struct generate_task *g = (struct generate_task *)task;
    pin_free(g->pin);
    keydata_free(g->made);
    OPENSSL_free(g->group);
    OPENSSL_free(g->label);
    OPENSSL_free(g->id);
    OPENSSL_free(g);
}

static const struct task_ops generate_ops = {.run = generate_run, .destroy = generate_destroy};

/* ---- On the caller's thread ---- */

static unsigned use_of(hsm_key_type type)
{
    switch (type) {
    case HSM_KEY_RSA:
        return HSM_USE_SIGN | HSM_USE_DECRYPT;
    case HSM_KEY_EC:
        return HSM_USE_SIGN | HSM_USE_DERIVE;
    case HSM_KEY_RSA_PSS:
    case HSM_KEY_ED25519:
    case HSM_KEY_ED448:
        break;
    }
    return HSM_USE_SIGN;
}

static bool name_copy(struct generate_task *g, const hsm_uri *uri)
{
    g->named_by_id = uri->id_len > 0;
    g->id_len = g->named_by_id ? uri->id_len : RANDOM_ID_LEN;
    g->id = g->named_by_id ? OPENSSL_memdup(uri->id, uri->id_len) : OPENSSL_malloc(RANDOM_ID_LEN);
    if (!g->id || (!g->named_by_id && RAND_bytes(g->id, RANDOM_ID_LEN) != 1))
        return false;
    return !uri->object || (g->label = OPENSSL_strdup(uri->object)) != NULL;
}

static bool spec_copy(struct generate_task *g, const hsm_key_spec *spec)
{
    static const uint8_t f4[] = {1, 0, 1};
    g->spec = *spec;
    if (!spec->e) {
        g->spec.e = f4;
        g->spec.e_len = sizeof(f4);
    }
    if (spec->use == 0)
        g->spec.use = use_of(spec->type);
    memcpy(g->e, g->spec.e, g->spec.e_len);
    return !spec->group || (g->group = OPENSSL_strdup(spec->group)) != NULL;
}

static hsm_status spec_check(const hsm_uri *uri, const hsm_key_spec *spec, hsm_error *err)
{
    if (uri->type != HSM_CLASS_ANY && uri->type != HSM_CLASS_PRIVATE)
        return error_set(err, HSM_E_URI, 0,
                         "PKCS#11 URI: a new key pair has 'type' private, or none is given");
    if (is_rsa(spec->type) && (spec->bits < 1024 || spec->bits > HSM_OUTPUT_MAX * 8))
        return error_set(err, HSM_E_UNSUPPORTED, 0, "an RSA key of %u bits cannot be made; 1024 to %d can",
                         spec->bits, HSM_OUTPUT_MAX * 8);
    if (spec->e_len > RSA_EXPONENT_MAX)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "an RSA exponent of %zu bytes is too long", spec->e_len);
    if (spec->type == HSM_KEY_EC && !spec->group)
        return error_set(err, HSM_E_UNSUPPORTED, 0, "a new EC key needs the name of its curve");
    return HSM_OK;
}

/* The one token that the URI names. */
static hsm_status token_choose(hsm *h, const hsm_uri *uri, struct token **out, hsm_error *err)
{
    struct slot *slots = NULL;
    size_t count = 0;
    hsm_status status = tokens_locate(h, uri, &slots, &count, err);
    if (status != HSM_OK)
        return status;
    if (count > 1) {
        char there[200];
        slots_describe(slots, count, there, sizeof(there));
        status = error_set(
            err, HSM_E_AMBIGUOUS, 0,
            "%zu tokens fit the URI: %s; a new key needs one, named by token= or serial=", count, there);
    } else {
        *out = hsm_token(h, &slots[0]);
        if (*out)
            token_seen(*out);
        else
            status = error_set(err, HSM_E_MEMORY, 0, "out of memory");
    }
    slots_free(slots, count);
    return status;
}

/* The PIN if one is needed. */
static hsm_status login_prepare(struct generate_task *g, const struct pin_sources *sources, hsm_error *err)
{
    const struct slot *slot = token_slot(g->token);
    if (!slot->login_required || token_knows_pin(g->token))
        return HSM_OK;
    hsm_status status = pin_resolve(&g->pin, sources, slot->label, err);
    g->login = status == HSM_OK && (g->pin || slot->pin_pad);
    return status;
}

/* Submits, waits, and makes a key of what was made. Takes over the caller's reference to `g`. */
static hsm_status generate_wait(hsm *h, struct generate_task *g, hsm_key **key, hsm_error *err)
{
    hsm_error why = {0};
    hsm_status status = token_submit(g->token, &g->task, NULL, NULL, err);
    if (status != HSM_OK) {
        task_discard(&g->task);
        return status;
    }
    if (!task_wait(&g->task, HSM_GENERATE_MS, &why))
        return error_copy(err, &why);
    status = error_copy(err, &g->task.err);
    if (status == HSM_OK) {
        *key = key_new(h, g->made, NULL);
        if (*key)
            g->made = NULL;
        else
            status = error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", token_where(g->token));
    }
    task_release(&g->task);
    return status;
}

hsm_status hsm_generate(hsm *h, const hsm_uri *uri, const hsm_key_spec *spec, hsm_pin_callback ask,
                        void *ask_arg, hsm_key **key, hsm_error *err)
{
    struct token *token = NULL;
    struct pin_sources sources = {.uri = uri, .setting = hsm_pin_setting(h), .ask = ask, .ask_arg = ask_arg};
    *key = NULL;
    hsm_status status = spec_check(uri, spec, err);
    if (status == HSM_OK)
        status = token_choose(h, uri, &token, err);
    if (status != HSM_OK)
        return status;
    struct generate_task *g = OPENSSL_zalloc(sizeof(*g));
    if (!g)
        return error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", token_where(token));
    task_init(&g->task, &generate_ops);
    g->task.op = STATS_GENERATE;
    g->token = token;
    if (!name_copy(g, uri) || !spec_copy(g, spec))
        status = error_set(err, HSM_E_MEMORY, 0, "%s: out of memory", token_where(token));
    if (status == HSM_OK)
        status = login_prepare(g, &sources, err);
    if (status != HSM_OK) {
        task_discard(&g->task);
        return status;
    }
    return generate_wait(h, g, key, err);
}
