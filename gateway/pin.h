/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: the SHA-256 of a certificate or of its public key (SubjectPublicKeyInfo, as RFC 7469, 2.4, takes it),
 * by which a partner is known without any authority.
 *
 * As text: "certificate:" or "key:" and 64 hexadecimal digits, with or without colons between bytes.
 */
#ifndef GATEWAY_PIN_H
#define GATEWAY_PIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/x509.h>

#define PIN_LEN 32u

enum pin_kind { PIN_CERTIFICATE, PIN_KEY };

struct pin {
    enum pin_kind kind;
    uint8_t digest[PIN_LEN];
};

/* Both digests of one certificate. */
struct fingerprints {
    bool known;
    uint8_t certificate[PIN_LEN], key[PIN_LEN];
};

#define PIN_TEXT_MAX 80u

bool pin_parse(struct pin *out, const char *text);
void pin_format(enum pin_kind kind, const uint8_t digest[PIN_LEN], char out[PIN_TEXT_MAX]);
/* `known` is false on failure. */
void fingerprints_take(struct fingerprints *out, OSSL_LIB_CTX *libctx, X509 *x509);
/* True if one of the pins is this certificate's; never for one that is not known. */
bool fingerprints_match(const struct fingerprints *prints, const struct pin *pins, size_t count);

#endif
