/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys in PKCS#11 tokens: finding them, their public parts, and operations with the private ones.
 *
 * This is the border of the hsm room; the provider stands on it. It is not installed, so its names are the
 * room's own (`hsm_`), without the library's prefix.
 *
 * How the objects live
 *   hsm       one PKCS#11 module with its settings. Cheap to make: nothing is loaded, no thread and no session
 *             is started before the first find or operation of the process (the daemon may still fork).
 *   hsm_key   one key of a token, found by URI. Reference-counted. Holds the public part as plain memory, so
 *             every question about the key is answered without the token. A key found before a fork works in
 *             parent and child: the child initialises the module anew and finds its objects again.
 *   hsm_job   one operation on its way through the token. It owns copies of its input and output, so whoever
 *             asked may vanish while the token works.
 * A key or a job keeps its hsm alive; hsm_free drops the caller's reference only.
 *
 * Results    Functions return HSM_OK or an hsm_status and, where they take one, fill `*err` (never NULL-checked
 *            by callers: passing NULL is fine) with one line that says what, where and what to do. No PIN, digest or
 *            signature is ever in it.
 * Threads    Everything here may be called from any number of threads at once. Cryptoki itself runs on worker
 *            threads of this room, never on the small stack of an ASYNC job. On the caller's thread it runs only where
 *            settings.caller_thread lets it, and, one operation at a time, in a process that may start no thread.
 * Secrets    PINs are copied into locked memory, wiped when no longer needed, and given to a token again only
 *            after a login with them has succeeded before. A PIN that the token called wrong is not tried again.
 */
#ifndef SEALANE_HSM_H
#define SEALANE_HSM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum hsm_status {
    HSM_OK = 0,
    HSM_E_URI,         /* not an RFC 7512 URI that we understand */
    HSM_E_SETTINGS,    /* a setting is missing or wrong: no module path, unreadable PIN file */
    HSM_E_MODULE,      /* the module cannot be loaded or initialised */
    HSM_E_NO_TOKEN,    /* no token matches the URI, or it was taken out */
    HSM_E_NO_OBJECT,   /* the token is there, the object is not */
    HSM_E_AMBIGUOUS,   /* several private keys match where one is needed */
    HSM_E_PIN_NEEDED,  /* the token wants a PIN and none was given */
    HSM_E_PIN,         /* the PIN is wrong, locked, or must not be tried: last try, or already refused */
    HSM_E_UNSUPPORTED, /* the token or this version cannot do that */
    HSM_E_BUSY,        /* the queue of operations is full */
    HSM_E_TIMEOUT,     /* the token did not answer in time */
    HSM_E_REFUSED,     /* the token refuses this very input */
    HSM_E_EXISTS,      /* an object of that name is there already */
    HSM_E_TOKEN,       /* any other error of the token; err->ckr says which */
    HSM_E_SPACE,       /* the output buffer is too small */
    HSM_E_MEMORY,
    HSM_E_SHUTDOWN, /* the process is ending */
} hsm_status;

typedef struct hsm_error {
    hsm_status status;
    unsigned long ckr; /* the CK_RV behind it, 0 if none */
    char text[320];    /* one line, no newline */
} hsm_error;

/* Name of a CK_RV ("CKR_PIN_INCORRECT"), static; "CKR_?" for unknown ones. */
const char *hsm_ckr_name(unsigned long ckr);

/* ---- URIs (RFC 7512) ------------------------------------------------------------------------------------ */

typedef enum hsm_class { HSM_CLASS_ANY, HSM_CLASS_PRIVATE, HSM_CLASS_PUBLIC, HSM_CLASS_CERT } hsm_class;

/* A parsed URI. Attributes that were not in it are NULL (id: id_len 0; slot_id: has_slot_id false). */
typedef struct hsm_uri {
    char *token, *manufacturer, *model, *serial;                        /* of the token */
    char *library_manufacturer, *library_description, *library_version; /* of the module */
    char *slot_manufacturer, *slot_description;
    char *object; /* CKA_LABEL */
    uint8_t *id;  /* CKA_ID */
    size_t id_len;
    unsigned long slot_id;
    bool has_slot_id;
    hsm_class type;
    char *pin_value, *pin_source, *module_path, *module_name;
} hsm_uri;

/* Parses `text` into `*uri`. On failure `*uri` is empty and err says which attribute and why. */
hsm_status hsm_uri_parse(hsm_uri *uri, const char *text, hsm_error *err);
/* Frees the members, wipes the PIN, leaves an empty URI. */
void hsm_uri_clear(hsm_uri *uri);
/* The URI as text, percent-encoded, without pin-value; malloc'd, the caller frees. NULL if out of memory. */
char *hsm_uri_text(const hsm_uri *uri);

/* ---- The module ------------------------------------------------------------------------------------------ */

typedef struct hsm hsm;

/*
 * With which modules something is done. HSM_NEAR: those that are known to do all their work in this process
 * (SoftHSM2, NSS's softokn), without a device or another process that could stop answering.
 */
typedef enum hsm_modules { HSM_NEAR, HSM_ALL, HSM_NONE } hsm_modules;

/* All strings are copied; NULL or 0 means the default. */
typedef struct hsm_settings {
    const char *module_path; /* the PKCS#11 library. Required. */
    const char *init_args;   /* C_Initialize pReserved, for modules that want it (NSS) */
    const char *pin;     /* "file:PATH" (first line of it), "credential:NAME" (systemd), or the PIN itself */
    unsigned sessions;   /* most sessions and worker threads at once; default 16, capped by the token */
    unsigned queue;      /* most operations waiting; default 1024 */
    unsigned timeout_ms; /* longest wait for one operation; default 10000 */
    unsigned idle_ms;    /* a session that is not used for so long is closed, but the last; default 10000 */
    /*
     * Groups of tokens that hold the same keys: "NAME: MEMBER, MEMBER | NAME: MEMBER, ...". A member is the
     * label of a token, or a pkcs11: URI with attributes of a token and, if its PIN is its own, a pin-source.
     * A URI whose token attribute is NAME then means all of them: operations are spread over those that are
     * in order, and one that fails because of a token is given to the next. NULL: none.
     */
    const char *groups;
    /*
     * Who waits for an operation outside a job does it on his own thread, in a session that is free at that
     * moment. That spares two wake-ups; but timeout_ms cannot end it, since nothing takes a thread out of a
     * module that hangs.
     */
    hsm_modules caller_thread;
    /*
     * Operations use a copy of the key in a session (C_CopyObject), for tokens that look into their files for each use
     * of an object of the token. The copy is as private, sensitive and unextractable as the key, goes with its
     * session, and is used for HSM_COPY_MS at a time: then the key itself must still be there.
     */
    hsm_modules key_copies;
    bool no_finalize; /* leave the module initialised at unload (pkcs11-provider's quirk no-deinit) */
} hsm_settings;

#define HSM_COPY_MS 1000
#define HSM_NEVER   UINT_MAX /* as idle_ms: sessions are kept */

hsm_status hsm_new(hsm **out, const hsm_settings *settings, hsm_error *err);
void hsm_free(hsm *h);
/*
 * Ends the workers and finalises the module. For a genuine unload of the provider: no thread may be inside
 * the room. At process exit it is not called; hsm registers what exit needs by itself.
 */
void hsm_shutdown(hsm *h);

/*
 * Asks a human or a keeper of secrets for the PIN of the token named `token_label`. Writes at most `size`
 * bytes to `pin` and their number to `*len`; returns false if there is none. Called at most once per find and token,
 * on the caller's thread.
 */
typedef bool (*hsm_pin_callback)(void *arg, const char *token_label, char *pin, size_t size, size_t *len);

/* ---- Finding objects -------------------------------------------------------------------------------------- */

typedef struct hsm_key hsm_key;

/* What a find returns: a key (private or public) or a certificate. */
typedef struct hsm_object {
    hsm_class type;
    hsm_key *key;  /* PRIVATE, PUBLIC */
    uint8_t *cert; /* CERT: DER */
    size_t cert_len;
    char *uri;   /* names this very object, without PIN */
    char *label; /* CKA_LABEL, "" if none */
} hsm_object;

/*
 * Finds the objects that `uri` names, searching by template. PIN: the URI's pin-value or pin-source, else the
 * settings', else `ask` (may be NULL). `type` narrows further (HSM_CLASS_ANY: what the URI says).
 * `*list` (malloc'd, hsm_objects_free) has `*count` >= 1 entries on HSM_OK; HSM_E_NO_OBJECT if none match.
 * A private key whose public part the token does not tell (no public attributes, no public key object, no
 * certificate with the same CKA_ID) is left out with err filled if nothing else was found.
 */
hsm_status hsm_find(hsm *h, const hsm_uri *uri, hsm_class type, hsm_pin_callback ask, void *ask_arg,
                    hsm_object **list, size_t *count, hsm_error *err);
void hsm_objects_free(hsm_object *list, size_t count);
/* Frees what these entries hold, but not the list that they are in. */
void hsm_objects_clear(hsm_object *entries, size_t count);

/* ---- Keys -------------------------------------------------------------------------------------------------- */

typedef enum hsm_key_type {
    HSM_KEY_RSA,
    HSM_KEY_RSA_PSS,
    HSM_KEY_EC,
    HSM_KEY_ED25519,
    HSM_KEY_ED448
} hsm_key_type;

hsm_key *hsm_key_ref(hsm_key *key);
void hsm_key_free(hsm_key *key);

typedef enum hsm_hash { HSM_HASH_NONE, HSM_SHA1, HSM_SHA224, HSM_SHA256, HSM_SHA384, HSM_SHA512 } hsm_hash;

/* What an RSA-PSS key is restricted to (RFC 4055 section 3.1). hash HSM_HASH_NONE: to nothing but PSS. */
typedef struct hsm_pss {
    hsm_hash hash, mgf_hash;
    unsigned salt_min; /* bytes */
} hsm_pss;

/* The public part, as plain memory that lives as long as the key. Numbers big-endian, no leading zeros. */
typedef struct hsm_public {
    hsm_key_type type;
    const uint8_t *n, *e; /* RSA, RSA-PSS */
    size_t n_len, e_len;
    hsm_pss pss;          /* RSA-PSS */
    const char *group;    /* EC: OpenSSL's name of the curve: "prime256v1", "secp384r1", "secp521r1" */
    const uint8_t *point; /* EC: uncompressed, 0x04 first. Ed25519, Ed448: the key of RFC 8032 */
    size_t point_len;
    unsigned bits; /* of the modulus, the field or the Edwards curve's key */
} hsm_public;

const hsm_public *hsm_key_public(const hsm_key *key);
bool hsm_key_is_private(const hsm_key *key);
const char *hsm_key_uri(const hsm_key *key);   /* canonical, without PIN */
const char *hsm_key_label(const hsm_key *key); /* "" if none */

/* ---- Operations --------------------------------------------------------------------------------------------- */

/*
 * What a private key is asked to do. The name says kind and mechanism; input and output are:
 *
 *   scheme                  Cryptoki                        input                       output
 *   HSM_RSA_PKCS1      C_Sign CKM_RSA_PKCS             DigestInfo, or up to k - 11 k bytes
 *   HSM_RSA_PSS        C_Sign CKM_RSA_PKCS_PSS         digest                      k bytes
 *   HSM_RSA_RAW        C_Sign CKM_RSA_X_509            k bytes                     k bytes
 *   HSM_ECDSA          C_Sign CKM_ECDSA                digest, cut to the order    r || s, each half
 *   HSM_EDDSA          C_Sign CKM_EDDSA                the whole message           RFC 8032's R || S
 *   HSM_RSA_PKCS1_DECRYPT   C_Decrypt CKM_RSA_PKCS          k bytes                     the message
 *   HSM_RSA_OAEP_DECRYPT    C_Decrypt CKM_RSA_PKCS_OAEP     k bytes                     the message
 *   HSM_RSA_RAW_DECRYPT     C_Decrypt CKM_RSA_X_509         k bytes                     k bytes
 *   HSM_ECDH         C_DeriveKey CKM_ECDH1_DERIVE    peer's point, uncompressed  x of the shared point
 *
 * (k: length of the modulus.) Hashing is the caller's; so is padding where he asks for a raw operation.
 */
typedef enum hsm_scheme {
    HSM_RSA_PKCS1,
    HSM_RSA_PSS,
    HSM_RSA_RAW,
    HSM_ECDSA,
    HSM_EDDSA,
    HSM_RSA_PKCS1_DECRYPT,
    HSM_RSA_OAEP_DECRYPT,
    HSM_RSA_RAW_DECRYPT,
    HSM_ECDH,
    HSM_SCHEMES
} hsm_scheme;

typedef struct hsm_mechanism {
    hsm_scheme scheme;
    hsm_hash hash;        /* PSS: of the digest; OAEP: of the label */
    hsm_hash mgf_hash;    /* PSS, OAEP: of MGF1 */
    size_t salt_len;      /* PSS: bytes */
    const uint8_t *label; /* OAEP: may be NULL; copied on submission */
    size_t label_len;
} hsm_mechanism;

#define HSM_OUTPUT_MAX  1024        /* bytes: RSA-8192 */
#define HSM_BLOCK_MAX   1024        /* bytes of input, but for EdDSA */
#define HSM_MESSAGE_MAX (64u << 20) /* EdDSA: bytes of message that are handed to a token */

/* Length of what `scheme` gives with `key`; the most, where the message decides. 0: the key cannot do that. */
size_t hsm_output_len(const hsm_key *key, hsm_scheme scheme);

/*
 * Does one operation and waits for it, at most settings.timeout_ms. `*out_len` holds the room in `out` on entry,
 * the length of the result on return. HSM_E_UNSUPPORTED: the token does not do this with this key, so that the
 * caller may try it another way; HSM_E_REFUSED: it refuses this very input (a badly padded ciphertext, a point
 * off the curve).
 */
hsm_status hsm_operate(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                       uint8_t *out, size_t *out_len, hsm_error *err);

typedef struct hsm_job hsm_job;
/*
 * Called once, when the result is there: from a worker thread, or by hsm_submit itself in a process that may have no
 * threads. Must be short and must not call hsm_.
 */
typedef void (*hsm_job_done)(void *arg);

/*
 * The same without waiting: queues the operation and returns. HSM_OK: `*job` is the caller's until it calls
 * hsm_job_finish or hsm_job_abandon, exactly one of them, once. `done` may be called before this returns.
 */
hsm_status hsm_submit(hsm_key *key, const hsm_mechanism *mech, const uint8_t *in, size_t in_len,
                      hsm_job_done done, void *arg, hsm_job **job, hsm_error *err);
/* True when the result is there. Never blocks. */
bool hsm_job_ready(hsm_job *job);
/*
 * Takes the result out and ends the job, waiting for it if need be (at most settings.timeout_ms). On return
 * `done` has been called or will never be.
 */
hsm_status hsm_job_finish(hsm_job *job, uint8_t *out, size_t *out_len, hsm_error *err);
/* Ends the caller's interest: the result is thrown away. On return `done` is not running and never will be. */
void hsm_job_abandon(hsm_job *job);

/* ---- Making keys --------------------------------------------------------------------------------------------- */

/* What a new key may be used for. */
enum { HSM_USE_SIGN = 1, HSM_USE_DECRYPT = 2, HSM_USE_DERIVE = 4 };

typedef struct hsm_key_spec {
    hsm_key_type type;
    unsigned bits;    /* RSA, RSA-PSS */
    const uint8_t *e; /* RSA, RSA-PSS: public exponent, big-endian; NULL: 65537 */
    size_t e_len;
    const char *group; /* EC: OpenSSL's name of the curve */
    hsm_hash pss_hash; /* RSA-PSS: the only hash it may be used with; HSM_HASH_NONE: any */
    unsigned use;      /* HSM_USE_ bits; 0: all that the type can do */
} hsm_key_spec;

/*
 * Makes a key pair in the one token that `uri` names, under the URI's object= and id= (a random id if none is
 * given), and opens it. The private key is sensitive, not extractable, and visible only after login. An object
 * of that name is never replaced: HSM_E_EXISTS. On any failure nothing of the pair is left in the token. PIN: as
 * for hsm_find. Waits as long as the token needs, at most HSM_GENERATE_MS.
 */
#define HSM_GENERATE_MS 300000
hsm_status hsm_generate(hsm *h, const hsm_uri *uri, const hsm_key_spec *spec, hsm_pin_callback ask,
                        void *ask_arg, hsm_key **key, hsm_error *err);

/* ---- What is going on ------------------------------------------------------------------------------------ */

typedef struct hsm_counters {
    uint64_t signatures; /* and other operations done by tokens */
    uint64_t failures;   /* operations that ended in an error */
    uint64_t logins;     /* C_Login calls */
    uint64_t recoveries; /* sessions reopened after a loss */
    unsigned sessions;   /* open now */
    unsigned queued;     /* operations waiting now */
} hsm_counters;

void hsm_counters_read(hsm *h, hsm_counters *out);

/*
 * The same and more for each token, as JSON text (RFC 8259); free(3). NULL if out of memory.
 *
 *   {"module": PATH, "tokens": [TOKEN, ...], "groups": [{"name": N, "members": [{"name": N, "keys_refused": n}]}]}
 *   TOKEN   {"label", "serial", "state": "closed" | "opening" | "open" | "away" | "hanging",
 *            "sessions": open now, "running", "queued": operations now, "queued_max": the most so far,
 *            "operations": {OPERATION: {"count", "failed",
 *                                       "latency_us": {"sum", "buckets": [[BOUND, count], ...]}}, ...},
 *            "errors": {NAME: count, ...}}
 *   OPERATION   "sign", "decrypt", "derive", "generate", "find"
 *   BOUND       so many took less than BOUND microseconds, but not less than half of it; null: above all bounds.
 *               From the request to the result, waiting for a session included. Empty buckets are left out.
 *   NAME        a CK_RV's ("CKR_DEVICE_ERROR", "0x80000001"), or our own: "timeout", "busy", "no-token", ...
 *
 * Counts are of this process, and of its parent's up to the fork. They only grow.
 */
char *hsm_report(hsm *h);

/* True while the calling thread is inside Cryptoki: a provider must not serve the token's own use of libcrypto. */
bool hsm_inside_cryptoki(void);

#endif
