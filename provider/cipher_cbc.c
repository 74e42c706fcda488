/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-CBC with HMAC in one, as libssl uses it for TLS 1.1 and 1.2 without encrypt-then-MAC:
 *
 *   init(key, IV), AEAD_MAC_KEY, TLS_VERSION; per record: AEAD_TLS1_AAD, then one update in place, whose first
 *   16 bytes are the explicit IV, random ones when sealing;
 *   and for a write of at least four whole fragments the TLS1_MULTIBLOCK parameters: how much room the records
 *   need, the first one's pseudo header, then all of the payload at once. Here records of one connection meet,
 *   and go through the engine's lanes side by side.
 *
 * Anything else (TLS 1.0 with its chained IVs, the cipher without TLS) is the default provider's: cipher.h.
 * An IV that libssl gives at the beginning never matters: what it would be mixed into is random.
 */
#include "cipher.h"

#include <string.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <sealane/cbc.h>

#define RECORD_HEADER_LEN 5 /* RFC 5246 6.2.1: type, version, length */
#define VERSION_TLS11     0x0302
#define MULTIBLOCK_MIN    4096 /* of payload, as the default provider has it */
#define MULTIBLOCK_EIGHT  8192
#define PART_MIN          1024 /* of payload, in a record that is one of more than libssl asked for */

typedef struct cbc {
    const provider *prov;
    const sealane_cipher *cipher;
    sealane_cbc *engine; /* made at the first record after new keys */
    void *theirs;        /* the default provider's context; NULL: all was libssl's so far */
    cipher_index index;
    bool sealing, has_key, has_mac_key;
    bool due;         /* the next update is a record */
    unsigned version; /* as TLS_VERSION says it, or 0 */
    uint8_t key[SEALANE_KEY_MAX];
    uint8_t iv[SEALANE_CBC_IV_LEN];
    uint8_t mac_key[SEALANE_MAC_MAX];
    uint8_t header[SEALANE_CBC_HEADER_LEN];
    size_t size; /* that the header says: with the IV, and opening with all that is behind the payload */
    size_t pad;  /* what AEAD_TLS1_AAD_PAD answers */
    /* Multiblock. */
    size_t fragment_max;
    uint8_t first_header[SEALANE_CBC_HEADER_LEN];
    bool first_there;
    unsigned interleave, packed_len;
    size_t sealed_len;
} cbc;

static const sealane_cipher_id ids[CIPHERS] = {
    [CIPHER_AES_128_CBC_SHA1] = SEALANE_AES_128_CBC_SHA1,
    [CIPHER_AES_256_CBC_SHA1] = SEALANE_AES_256_CBC_SHA1,
    [CIPHER_AES_128_CBC_SHA256] = SEALANE_AES_128_CBC_SHA256,
    [CIPHER_AES_256_CBC_SHA256] = SEALANE_AES_256_CBC_SHA256,
};

/* ---- life ---- */

static void *cbc_newctx(void *vprov, cipher_index index)
{
    cbc *ctx = OPENSSL_zalloc(sizeof(*ctx));

    if (ctx == NULL)
        return NULL;
    ctx->prov = vprov;
    ctx->index = index;
    ctx->cipher = sealane_cipher_get(ids[index]);
    return ctx;
}

static void engine_drop(cbc *ctx)
{
    sealane_cbc_free(ctx->engine);
    ctx->engine = NULL;
}

static void cbc_freectx(void *vctx)
{
    cbc *ctx = vctx;

    if (ctx == NULL)
        return;
    engine_drop(ctx);
    if (ctx->theirs != NULL)
        cipher_theirs[ctx->index].freectx(ctx->theirs);
    OPENSSL_clear_free(ctx, sizeof(*ctx));
}

static void *cbc_dupctx(void *vctx)
{
    const cbc *from = vctx;
    cbc *ctx = OPENSSL_memdup(from, sizeof(*from));

    if (ctx == NULL)
        return NULL;
    ctx->engine = NULL;
    if (from->theirs == NULL)
        return ctx;
    ctx->theirs = cipher_theirs[ctx->index].dupctx(from->theirs);
    if (ctx->theirs != NULL)
        return ctx;
    cbc_freectx(ctx);
    return NULL;
}

/* ---- over to the default provider ---- */

static bool replay_version(const cbc *ctx, void *theirs)
{
    unsigned version = ctx->version;
    OSSL_PARAM params[] = {OSSL_PARAM_uint(OSSL_CIPHER_PARAM_TLS_VERSION, &version), OSSL_PARAM_END};

    return version == 0 || cipher_theirs[ctx->index].set_ctx_params(theirs, params) == 1;
}

static bool replay(const cbc *ctx, void *theirs)
{
    uint8_t header[SEALANE_CBC_HEADER_LEN]; /* the default provider writes to it */

    memcpy(header, ctx->header, sizeof(header));
    if (!ctx->has_key)
        return true;
    return cipher_theirs_init(ctx->index, theirs, ctx->sealing, ctx->key, ctx->cipher->key_len, ctx->iv,
                              sizeof(ctx->iv), NULL) == 1 &&
           (!ctx->has_mac_key || cipher_theirs_set_bytes(ctx->index, theirs, OSSL_CIPHER_PARAM_AEAD_MAC_KEY,
                                                         ctx->mac_key, ctx->cipher->tag_len)) &&
           replay_version(ctx, theirs) &&
           (!ctx->due || cipher_theirs_set_bytes(ctx->index, theirs, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, header,
                                                 sizeof(header)));
}

/* From here on the context is theirs. */
static bool theirs_take(cbc *ctx)
{
    if (ctx->theirs != NULL)
        return true;
    ctx->theirs = cipher_theirs_new(ctx->prov, ctx->index);
    if (ctx->theirs == NULL)
        return false;
    if (!replay(ctx, ctx->theirs)) {
        cipher_theirs[ctx->index].freectx(ctx->theirs);
        ctx->theirs = NULL;
        return false;
    }
    engine_drop(ctx);
    OPENSSL_cleanse(ctx->key, sizeof(ctx->key));
    OPENSSL_cleanse(ctx->mac_key, sizeof(ctx->mac_key));
    return true;
}

/* ---- keys ---- */

static int cbc_set_ctx_params(void *vctx, const OSSL_PARAM params[]);

static int cbc_init(cbc *ctx, bool sealing, const uint8_t *key, size_t key_len, const uint8_t *iv,
                    size_t iv_len, const OSSL_PARAM params[])
{
    if (ctx->theirs != NULL || key == NULL || key_len != ctx->cipher->key_len || iv == NULL ||
        iv_len != sizeof(ctx->iv))
        return theirs_take(ctx) &&
               cipher_theirs_init(ctx->index, ctx->theirs, sealing, key, key_len, iv, iv_len, params);
    engine_drop(ctx);
    ctx->sealing = sealing;
    memcpy(ctx->key, key, key_len);
    memcpy(ctx->iv, iv, iv_len);
    ctx->has_key = true;
    ctx->due = false;
    return params == NULL || cbc_set_ctx_params(ctx, params);
}

static int cbc_encrypt_init(void *vctx, const unsigned char *key, size_t key_len, const unsigned char *iv,
                            size_t iv_len, const OSSL_PARAM params[])
{
    return cbc_init(vctx, true, key, key_len, iv, iv_len, params);
}

static int cbc_decrypt_init(void *vctx, const unsigned char *key, size_t key_len, const unsigned char *iv,
                            size_t iv_len, const OSSL_PARAM params[])
{
    return cbc_init(vctx, false, key, key_len, iv, iv_len, params);
}

static bool engine_ready(cbc *ctx)
{
    return ctx->engine != NULL ||
           sealane_cbc_new(&ctx->engine, ctx->cipher->id, ctx->sealing, ctx->key, ctx->cipher->key_len,
                           ctx->mac_key, ctx->cipher->tag_len) == SEALANE_OK;
}

/* ---- one record ---- */

/* Behind the payload: MAC and padding, of which there is at least the length byte. */
static size_t tail_len(const cbc *ctx, size_t payload_len)
{
    const size_t block = SEALANE_CBC_IV_LEN;

    return (payload_len + ctx->cipher->tag_len + block) / block * block - payload_len;
}

static bool record_comes(const cbc *ctx, const uint8_t *out, size_t out_size, const uint8_t *in, size_t len)
{
    return ctx->due && out == in && in != NULL && out_size >= len &&
           (ctx->sealing ? len == ctx->size + ctx->pad
                         : len % SEALANE_CBC_IV_LEN == 0 && ctx->version >= VERSION_TLS11);
}

/* Sealing gives all of the record; opening the payload's length, which is 16 bytes into it. */
static bool record_run(cbc *ctx, uint8_t *body, size_t len, size_t *out_len)
{
    sealane_cbc_op op = {
        .body = body, .len = ctx->sealing ? ctx->size - SEALANE_CBC_IV_LEN : len, .random_there = true};

    ctx->due = false;
    memcpy(op.header, ctx->header, sizeof(op.header));
    if (!engine_ready(ctx) || (ctx->sealing ? sealane_cbc_seal : sealane_cbc_open)(ctx->engine, &op, 1) != 1)
        return false;
    *out_len = ctx->sealing ? len : op.payload_len;
    return true;
}

static int cbc_update(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                      const unsigned char *in, size_t len)
{
    cbc *ctx = vctx;

    if (ctx->theirs != NULL || !record_comes(ctx, out, out_size, in, len))
        return theirs_take(ctx) &&
               cipher_theirs[ctx->index].update(ctx->theirs, out, out_len, out_size, in, len);
    *out_len = 0;
    if (record_run(ctx, out, len, out_len))
        return 1;
    ERR_raise(ERR_LIB_PROV, PROV_R_CIPHER_OPERATION_FAILED); /* whatever is wrong with it */
    return 0;
}

static int cbc_final(void *vctx, unsigned char *out, size_t *out_len, size_t out_size)
{
    cbc *ctx = vctx;

    return theirs_take(ctx) && cipher_theirs[ctx->index].final(ctx->theirs, out, out_len, out_size);
}

static int cbc_cipher(void *vctx, unsigned char *out, size_t *out_len, size_t out_size,
                      const unsigned char *in, size_t len)
{
    cbc *ctx = vctx;

    return theirs_take(ctx) && cipher_theirs[ctx->index].cipher(ctx->theirs, out, out_len, out_size, in, len);
}

static bool announce(cbc *ctx, const OSSL_PARAM *p)
{
    const uint8_t *aad = p->data;
    size_t size;

    if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data_size != SEALANE_CBC_HEADER_LEN || !ctx->has_key ||
        !ctx->has_mac_key || (aad[9] << 8 | aad[10]) < VERSION_TLS11)
        return false;
    size = (size_t)aad[11] << 8 | aad[12];
    if (ctx->sealing && size < SEALANE_CBC_IV_LEN)
        return false;
    memcpy(ctx->header, aad, sizeof(ctx->header));
    ctx->size = size;
    ctx->pad = ctx->sealing ? tail_len(ctx, size - SEALANE_CBC_IV_LEN) : ctx->cipher->tag_len;
    ctx->due = true;
    return true;
}

/* ---- multiblock ---- */

static size_t packed_record_len(const cbc *ctx, size_t payload_len)
{
    return RECORD_HEADER_LEN + SEALANE_CBC_IV_LEN + payload_len + tail_len(ctx, payload_len);
}

/*
 * How the default provider divides a payload among 4 or 8 records, so that the sizes are those that libssl
 * knows from it: the last one takes the remainder, or most of it.
 */
static void parts_divide(size_t len, unsigned records, size_t *part, size_t *last)
{
    *part = len / records;
    *last = len - *part * (records - 1);
    if (*last > *part && (*last + SEALANE_CBC_HEADER_LEN + 9) % 64 < records - 1) {
        (*part)++;
        *last -= records - 1;
    }
}

/*
 * libssl asks for as many records as there are whole fragments, 4 or 8. Where the engine has more lanes they
 * are filled with shorter records: hash and cipher are serial within a record, so a write of 64 KB in 16
 * records takes less than half of the time that it takes in 4. Nobody needs the records to be long.
 */
static unsigned records_fit(const cbc *ctx, unsigned records, size_t len)
{
    const size_t lanes = sealane_cbc_lanes(ctx->cipher->id);

    while (records * 2 <= lanes && len / (records * 2) >= PART_MIN)
        records *= 2;
    return records;
}

/* EVP_CTRL_TLS1_1_MULTIBLOCK_MAX_BUFSIZE: room per fragment, for as many records as it may become. */
static size_t fragment_room(const cbc *ctx)
{
    const size_t lanes = sealane_cbc_lanes(ctx->cipher->id), records = lanes <= 4 ? 1 : lanes / 4;
    const size_t most = RECORD_HEADER_LEN + SEALANE_CBC_IV_LEN + ctx->cipher->tag_len + SEALANE_CBC_IV_LEN;

    return ctx->fragment_max + records * most;
}

/*
 * How many records a write becomes, and the length of all of it. 0: the default provider sees to it.
 * libssl says the number, and gives the length where that of the header should be; who says the length in
 * the header leaves the number to us, and has room for no more than the default provider makes.
 */
static unsigned records_choose(const cbc *ctx, const uint8_t *aad, size_t said, unsigned wanted, size_t *len)
{
    *len = (size_t)aad[11] << 8 | aad[12];
    if (sealane_cbc_lanes(ctx->cipher->id) < 4)
        return 0;
    if (*len != 0)
        return *len < MULTIBLOCK_MIN ? 0 : *len < MULTIBLOCK_EIGHT ? 4 : 8;
    *len = said;
    wanted = wanted / 4 * 4;
    if (wanted != 4 && wanted != 8)
        return 0;
    return ctx->fragment_max == 0 ? wanted : records_fit(ctx, wanted, said);
}

/* EVP_CTRL_TLS1_1_MULTIBLOCK_AAD */
static bool multiblock_announce(cbc *ctx, const OSSL_PARAM params[], const OSSL_PARAM *p)
{
    const OSSL_PARAM *wanted = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_INTERLEAVE);
    const uint8_t *aad = p->data;
    size_t len, part, last;
    unsigned records;

    if (p->data_type != OSSL_PARAM_OCTET_STRING || aad == NULL || p->data_size < SEALANE_CBC_HEADER_LEN ||
        wanted == NULL || !OSSL_PARAM_get_uint(wanted, &records) || !ctx->sealing || !ctx->has_key ||
        !ctx->has_mac_key || (aad[9] << 8 | aad[10]) < VERSION_TLS11)
        return false;
    records = records_choose(ctx, aad, p->data_size, records, &len);
    if (records == 0)
        return false;
    memcpy(ctx->first_header, aad, sizeof(ctx->first_header));
    ctx->first_there = true;
    parts_divide(len, records, &part, &last);
    ctx->interleave = records;
    ctx->packed_len = (unsigned)(packed_record_len(ctx, part) * (records - 1) + packed_record_len(ctx, last));
    return true;
}

static void sequence_add(uint8_t header[SEALANE_CBC_HEADER_LEN], uint64_t n)
{
    uint64_t sequence;

    memcpy(&sequence, header, sizeof(sequence));
    sequence = __builtin_bswap64(__builtin_bswap64(sequence) + n);
    memcpy(header, &sequence, sizeof(sequence));
}

/* Lays a record out: header, room for the IV, payload. Returns its length when sealed. */
static size_t part_lay_out(const cbc *ctx, sealane_cbc_op *op, uint8_t *out, const uint8_t *in, size_t len)
{
    const size_t packed = packed_record_len(ctx, len), body = packed - RECORD_HEADER_LEN;

    memcpy(out, ctx->first_header + 8, 3);
    out[3] = (uint8_t)(body >> 8);
    out[4] = (uint8_t)body;
    op->body = out + RECORD_HEADER_LEN;
    op->len = len;
    op->random_there = false;
    memcpy(op->body + SEALANE_CBC_IV_LEN, in, len);
    return packed;
}

/* EVP_CTRL_TLS1_1_MULTIBLOCK_ENCRYPT */
static bool multiblock_seal(cbc *ctx, const OSSL_PARAM params[], const OSSL_PARAM *p)
{
    const OSSL_PARAM *wanted = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_INTERLEAVE);
    const OSSL_PARAM *from = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_ENC_IN);
    sealane_cbc_op ops[SEALANE_CBC_BATCH_MAX];
    size_t part, last, at = 0;
    unsigned records;

    if (p->data_type != OSSL_PARAM_OCTET_STRING || from == NULL ||
        from->data_type != OSSL_PARAM_OCTET_STRING || wanted == NULL ||
        !OSSL_PARAM_get_uint(wanted, &records) || records != ctx->interleave || !ctx->first_there ||
        !engine_ready(ctx))
        return false;
    parts_divide(from->data_size, records, &part, &last);
    for (unsigned i = 0; i < records; i++) {
        memcpy(ops[i].header, ctx->first_header, sizeof(ops[i].header));
        sequence_add(ops[i].header, i);
        at += part_lay_out(ctx, &ops[i], (uint8_t *)p->data + at, (const uint8_t *)from->data + i * part,
                           i < records - 1 ? part : last);
    }
    ctx->first_there = false; /* never the same sequence numbers twice */
    ctx->sealed_len = at;
    return sealane_cbc_seal(ctx->engine, ops, records) == records;
}

/* ---- parameters ---- */

/* libssl asks for AAD_PAD per record. */
static bool get_ours(const cbc *ctx, OSSL_PARAM *p)
{
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD))
        return OSSL_PARAM_set_size_t(p, ctx->pad);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_IVLEN))
        return OSSL_PARAM_set_size_t(p, SEALANE_CBC_IV_LEN);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_KEYLEN))
        return OSSL_PARAM_set_size_t(p, ctx->cipher->key_len);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_ENC_LEN))
        return OSSL_PARAM_set_size_t(p, ctx->sealed_len);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_AAD_PACKLEN))
        return OSSL_PARAM_set_uint(p, ctx->packed_len);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_INTERLEAVE))
        return OSSL_PARAM_set_uint(p, ctx->interleave);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_MAX_BUFSIZE))
        return ctx->fragment_max != 0 && OSSL_PARAM_set_size_t(p, fragment_room(ctx));
    return false;
}

static int cbc_get_ctx_params(void *vctx, OSSL_PARAM params[])
{
    cbc *ctx = vctx;

    for (; params->key != NULL; params++)
        if (ctx->theirs != NULL || !get_ours(ctx, params))
            return theirs_take(ctx) && cipher_theirs[ctx->index].get_ctx_params(ctx->theirs, params);
    return 1;
}

static bool mac_key_set(cbc *ctx, const OSSL_PARAM *p)
{
    if (p->data_type != OSSL_PARAM_OCTET_STRING || p->data == NULL || p->data_size != ctx->cipher->tag_len ||
        ctx->due || !ctx->has_key)
        return false;
    engine_drop(ctx);
    memcpy(ctx->mac_key, p->data, p->data_size);
    ctx->has_mac_key = true;
    return true;
}

static bool version_set(cbc *ctx, const OSSL_PARAM *p)
{
    unsigned version;

    if (!OSSL_PARAM_get_uint(p, &version) || version < VERSION_TLS11 || !ctx->has_key || ctx->due)
        return false;
    ctx->version = version;
    return true;
}

/*
 * The multiblock parameters come two and three together, and what comes with the first is read there. The
 * size of a MAC that the cipher leaves in the record is none.
 */
static bool set_ours(cbc *ctx, const OSSL_PARAM params[], const OSSL_PARAM *p)
{
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD))
        return announce(ctx, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_AEAD_MAC_KEY))
        return mac_key_set(ctx, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS_VERSION))
        return version_set(ctx, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_MAX_SEND_FRAGMENT))
        return OSSL_PARAM_get_size_t(p, &ctx->fragment_max);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_AAD))
        return multiblock_announce(ctx, params, p);
    if (cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_ENC))
        return multiblock_seal(ctx, params, p);
    return cipher_param_is(p, OSSL_CIPHER_PARAM_TLS_MAC_SIZE) ||
           cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_ENC_IN) ||
           cipher_param_is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK_INTERLEAVE);
}

static int cbc_set_ctx_params(void *vctx, const OSSL_PARAM params[])
{
    cbc *ctx = vctx;

    for (const OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++)
        if (ctx->theirs != NULL || !set_ours(ctx, params, p))
            return theirs_take(ctx) && cipher_theirs[ctx->index].set_ctx_params(ctx->theirs, p);
    return 1;
}

CIPHER_TABLE(cipher_aes128cbc_hmac_sha1, CIPHER_AES_128_CBC_SHA1, cbc);
CIPHER_TABLE(cipher_aes256cbc_hmac_sha1, CIPHER_AES_256_CBC_SHA1, cbc);
CIPHER_TABLE(cipher_aes128cbc_hmac_sha256, CIPHER_AES_128_CBC_SHA256, cbc);
CIPHER_TABLE(cipher_aes256cbc_hmac_sha256, CIPHER_AES_256_CBC_SHA256, cbc);
