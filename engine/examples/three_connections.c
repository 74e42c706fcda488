/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three connections, two versions, three keys: what each has to say is sealed in one call, and opened in one
 * call at the other end. Build against an installed library:
 *
 *     cc three_connections.c $(pkg-config --cflags --libs sealane) -o three_connections
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sealane/engine.h>
#include <sealane/record.h>

#define CONNECTIONS 3

static const struct {
    uint16_t suite;
    const char *says;
} connections[CONNECTIONS] = {
    {0x1301, "EHLO one.example\r\n"},                      /* TLS_AES_128_GCM_SHA256 */
    {0x1302, "MAIL FROM:<two@two.example>\r\n"},           /* TLS_AES_256_GCM_SHA384 */
    {0xc030, "RCPT TO:<three@three.example>\r\nDATA\r\n"}, /* TLS 1.2, ECDHE-RSA-AES256-GCM-SHA384 */
};

/* In a server, key and IV come from the handshake's key schedule: RFC 8446 7.3, RFC 5246 6.3. */
static sealane_key *key_make(size_t connection, sealane_direction direction)
{
    const sealane_suite *suite = sealane_suite_find(connections[connection].suite);
    uint8_t secret[SEALANE_KEY_MAX], iv[SEALANE_NONCE_LEN];
    sealane_key_params params = {.suite = suite, .direction = direction, .key = secret, .iv = iv};
    sealane_key *key = NULL;

    memset(secret, 0x10 + (int)connection, sizeof(secret));
    memset(iv, 0x20 + (int)connection, sizeof(iv));
    params.key_len = sealane_cipher_get(suite->cipher)->key_len;
    params.iv_len = sealane_suite_iv_len(suite);
    sealane_result result = sealane_key_new(&key, &params);
    if (result != SEALANE_OK) {
        fprintf(stderr, "%s: %s\n", suite->name, sealane_result_text(result));
        exit(EXIT_FAILURE);
    }
    return key;
}

int main(void)
{
    static uint8_t wire[CONNECTIONS][SEALANE_RECORD_MAX], plain[CONNECTIONS][SEALANE_RECORD_MAX];
    sealane_key *client[CONNECTIONS], *server[CONNECTIONS];
    struct iovec says[CONNECTIONS];
    sealane_seal_op seal[CONNECTIONS];
    sealane_open_op open[CONNECTIONS];
    int failed = 0;

    for (size_t i = 0; i < CONNECTIONS; i++) {
        client[i] = key_make(i, SEALANE_SEALING);
        server[i] = key_make(i, SEALANE_OPENING);
        says[i] = (struct iovec){(void *)(uintptr_t)connections[i].says, strlen(connections[i].says)};
        seal[i] = (sealane_seal_op){.key = client[i],
                                    .type = SEALANE_APPLICATION_DATA,
                                    .payload = &says[i],
                                    .payload_count = 1,
                                    .out = wire[i],
                                    .out_size = sizeof(wire[i])};
    }
    sealane_batch_seal(seal, CONNECTIONS);

    for (size_t i = 0; i < CONNECTIONS; i++) /* a seal that failed has out_len 0, which no open accepts */
        open[i] = (sealane_open_op){.key = server[i],
                                    .record = wire[i],
                                    .record_len = seal[i].out_len,
                                    .out = plain[i],
                                    .out_size = sizeof(plain[i])};
    sealane_batch_open(open, CONNECTIONS);

    for (size_t i = 0; i < CONNECTIONS; i++) {
        failed += open[i].result != SEALANE_OK;
        printf("%zu bytes on the wire, %s: %.*s", seal[i].out_len, sealane_result_text(open[i].result),
               (int)open[i].payload_len, (const char *)plain[i]);
        sealane_key_free(client[i]);
        sealane_key_free(server[i]);
    }
    printf("sealed by %s\n", sealane_last_sealed_by());
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
