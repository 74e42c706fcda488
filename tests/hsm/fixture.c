/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <CUnit/Basic.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define SO_PIN "officer-pin"

struct count_file *counted;
struct fault_file *fault;

static char directory[64];
static pid_t owner;

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: fixture: %s\n", __FILE__, __LINE__, #condition);                         \
            _exit(99);                                                                                       \
        }                                                                                                    \
    } while (0)

/* ---- Directory and environment ---- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void directory_remove(void)
{
    if (getpid() == owner)
        (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A file of that name in the directory, made known in the environment, in memory. */
static void *file_map(const char *variable, const char *name, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    MUST(setenv(variable, path, 1) == 0);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(map != MAP_FAILED);
    (void)close(fd);
    return map;
}

static void directory_make(void)
{
    char path[128];
    (void)snprintf(directory, sizeof(directory), "/tmp/sealane-hsm-XXXXXX");
    MUST(mkdtemp(directory));
    owner = getpid();
    MUST(atexit(directory_remove) == 0);
    (void)snprintf(path, sizeof(path), "%s/tokens", directory);
    MUST(mkdir(path, 0700) == 0);
    (void)snprintf(path, sizeof(path), "%s/softhsm2.conf", directory);
    FILE *f = fopen(path, "w");
    MUST(f);
    fprintf(f, "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
            directory);
    MUST(fclose(f) == 0);
    MUST(setenv("SOFTHSM2_CONF", path, 1) == 0);
    MUST(setenv("SEALANE_COUNT_MODULE", FAULT_MODULE, 1) == 0);
    MUST(setenv("SEALANE_FAULT_MODULE", SOFTHSM2_MODULE, 1) == 0);
    counted = file_map("SEALANE_COUNT_FILE", "count", sizeof(*counted));
    fault = file_map("SEALANE_FAULT_FILE", "fault", sizeof(*fault));
}

const char *fixture_dir(void)
{
    return directory;
}

const char *fixture_module(void)
{
    return COUNT_MODULE;
}

const char *fixture_softhsm(void)
{
    return SOFTHSM2_MODULE;
}

CK_FUNCTION_LIST *fixture_functions(void)
{
    void *library = dlopen(COUNT_MODULE, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    bool kept =
        library != NULL; /* by whoever has loaded it; a process that only makes tokens keeps it itself */
    if (!library)
        library = dlopen(COUNT_MODULE, RTLD_NOW | RTLD_LOCAL);
    MUST(library);
    CK_C_GetFunctionList get;
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    CK_FUNCTION_LIST *f = NULL;
    MUST(get && get(&f) == CKR_OK);
    if (kept)
        (void)dlclose(library);
    return f;
}

static bool has_label(const CK_TOKEN_INFO *info, const char *label)
{
    return strncmp((const char *)info->label, label, strlen(label)) == 0 && info->label[strlen(label)] == ' ';
}

static CK_SLOT_ID slot_of(CK_FUNCTION_LIST *f, const char *label)
{
    CK_SLOT_ID slots[32];
    CK_ULONG n = 32;
    MUST(f->C_GetSlotList(CK_TRUE, slots, &n) == CKR_OK);
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;
        MUST(f->C_GetTokenInfo(slots[i], &info) == CKR_OK);
        bool initialised = info.flags & CKF_TOKEN_INITIALIZED;
        if (label ? initialised && has_label(&info, label) : !initialised)
            return slots[i];
    }
    fprintf(stderr, "fixture: no slot with token '%s'\n", label ? label : "(none)");
    _exit(99);
}

CK_SLOT_ID fixture_slot(const char *token)
{
    return slot_of(fixture_functions(), token);
}

/* ---- Tokens and keys ---- */

/* DER of the curves' names, as CKA_EC_PARAMS wants them. */
static const struct curve {
    const char *name;
    uint8_t oid[16];
    CK_ULONG len;
} curves[] = {
    {"p256", {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, 10},
    {"p384", {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}, 7},
    {"p521", {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23}, 7},
    {"ed25519", {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'}, 14},
    {"ed448", {0x13, 0x0a, 'e', 'd', 'w', 'a', 'r', 'd', 's', '4', '4', '8'}, 12},
    {"x25519", {0x13, 0x0a, 'c', 'u', 'r', 'v', 'e', '2', '5', '5', '1', '9'}, 12},
};

static CK_OBJECT_HANDLE generate(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_MECHANISM_TYPE mechanism,
                                 CK_ATTRIBUTE *parameters, CK_ULONG parameter_count, const char *label,
                                 uint8_t id, bool always)
{
    CK_BBOOL yes = CK_TRUE, again = always ? CK_TRUE : CK_FALSE;
    void *text = (void *)(uintptr_t)label;
    CK_ATTRIBUTE public[8] = {
        {CKA_TOKEN, &yes, 1}, {CKA_VERIFY, &yes, 1}, {CKA_LABEL, text, strlen(label)}, {CKA_ID, &id, 1}};
    CK_ATTRIBUTE private[] = {{CKA_TOKEN, &yes, 1},
                              {CKA_PRIVATE, &yes, 1},
                              {CKA_SENSITIVE, &yes, 1},
                              {CKA_SIGN, &yes, 1},
                              {CKA_ALWAYS_AUTHENTICATE, &again, 1},
                              {CKA_LABEL, text, strlen(label)},
                              {CKA_ID, &id, 1}};
    CK_MECHANISM m = {mechanism, NULL, 0};
    CK_OBJECT_HANDLE pub = 0, priv = 0;
    memcpy(public + 4, parameters, parameter_count * sizeof(*parameters));
    MUST(f->C_GenerateKeyPair(session, &m, public, 4 + parameter_count, private, 7, &pub, &priv) == CKR_OK);
    return pub;
}

static void generate_rsa(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_ULONG bits, const char *label,
                         uint8_t id)
{
    uint8_t e[] = {1, 0, 1};
    CK_ATTRIBUTE parameters[] = {{CKA_MODULUS_BITS, &bits, sizeof(bits)},
                                 {CKA_PUBLIC_EXPONENT, e, sizeof(e)}};
    (void)generate(f, session, CKM_RSA_PKCS_KEY_PAIR_GEN, parameters, 2, label, id, false);
}

static CK_OBJECT_HANDLE generate_ec(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, int curve,
                                    const char *label, uint8_t id, bool always)
{
    CK_ATTRIBUTE parameters = {CKA_EC_PARAMS, (void *)(uintptr_t)curves[curve].oid, curves[curve].len};
    return generate(f, session, curve >= 3 ? CKM_EC_EDWARDS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, &parameters,
                    1, label, id, always);
}

/* A certificate that has the public key in it; nobody checks its signature, so a passing key makes one. */
static void certificate_store(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, const uint8_t *point,
                              size_t len, uint8_t id)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    char group[] = "prime256v1";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point, len),
        OSSL_PARAM_construct_end()};
    EVP_PKEY *key = NULL, *signer = EVP_EC_gen("P-256");
    MUST(ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
         EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1);
    X509 *cert = X509_new();
    uint8_t *der = NULL, subject[] = {0x30, 0x00};
    MUST(cert && signer && X509_set_version(cert, 2) && X509_set_pubkey(cert, key) &&
         X509_gmtime_adj(X509_getm_notBefore(cert), 0) && X509_gmtime_adj(X509_getm_notAfter(cert), 86400) &&
         ASN1_INTEGER_set(X509_get_serialNumber(cert), 7) && X509_sign(cert, signer, EVP_sha256()) > 0);
    int der_len = i2d_X509(cert, &der);
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_CERTIFICATE_TYPE type = CKC_X_509;
    char label[] = "bare";
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)},
                               {CKA_CERTIFICATE_TYPE, &type, sizeof(type)},
                               {CKA_TOKEN, &yes, 1},
                               {CKA_PRIVATE, &no, 1},
                               {CKA_LABEL, label, 4},
                               {CKA_ID, &id, 1},
                               {CKA_SUBJECT, subject, sizeof(subject)},
                               {CKA_VALUE, der, (CK_ULONG)der_len}};
    CK_OBJECT_HANDLE object;
    MUST(der_len > 0 && f->C_CreateObject(session, template, 8, &object) == CKR_OK);
    OPENSSL_free(der);
    X509_free(cert);
    EVP_PKEY_free(key);
    EVP_PKEY_free(signer);
    EVP_PKEY_CTX_free(ctx);
}

/* A private key whose public key object is replaced by a certificate. */
static void generate_bare(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, uint8_t id)
{
    uint8_t point[128];
    CK_ATTRIBUTE a = {CKA_EC_POINT, point, sizeof(point)};
    CK_OBJECT_HANDLE pub = generate_ec(f, session, 0, "bare", id, false);
    MUST(f->C_GetAttributeValue(session, pub, &a, 1) == CKR_OK && a.ulValueLen == 67);
    certificate_store(f, session, point + 2, 65, id);
    MUST(f->C_DestroyObject(session, pub) == CKR_OK);
}

static CK_SESSION_HANDLE token_make(CK_FUNCTION_LIST *f, const char *label)
{
    CK_UTF8CHAR padded[32];
    CK_SESSION_HANDLE session = 0;
    CK_SLOT_ID slot = slot_of(f, NULL);
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, strlen(label));
    CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    CK_UTF8CHAR so[] = SO_PIN, user[] = FIXTURE_PIN;
    MUST(f->C_InitToken(slot, so, strlen(SO_PIN), padded) == CKR_OK);
    MUST(f->C_OpenSession(slot, flags, NULL, NULL, &session) == CKR_OK);
    MUST(f->C_Login(session, CKU_SO, so, strlen(SO_PIN)) == CKR_OK);
    MUST(f->C_InitPIN(session, user, strlen(FIXTURE_PIN)) == CKR_OK);
    MUST(f->C_Logout(session) == CKR_OK);
    MUST(f->C_Login(session, CKU_USER, user, strlen(FIXTURE_PIN)) == CKR_OK);
    return session;
}

static int provision_main(void *arg)
{
    (void)arg;
    CK_FUNCTION_LIST *f = fixture_functions();
    MUST(f->C_Initialize(NULL) == CKR_OK);
    CK_SESSION_HANDLE session = token_make(f, FIXTURE_TOKEN);
    generate_rsa(f, session, 2048, "rsa", 1);
    generate_rsa(f, session, 3072, "rsa3072", 2);
    generate_ec(f, session, 0, "p256", 3, false);
    generate_ec(f, session, 1, "p384", 4, false);
    generate_ec(f, session, 2, "p521", 5, false);
    generate_ec(f, session, 0, "always", 6, true);
    generate_ec(f, session, 3, "ed25519", 7, false);
    generate_bare(f, session, 8);
    generate_ec(f, session, 4, "ed448", 9, false);
    generate_ec(f, session, 5, "x25519", 10, false);
    (void)f->C_Finalize(NULL);
    return 0;
}

struct token_and_key {
    const char *token, *key;
};

static int add_main(void *arg)
{
    const struct token_and_key *names = arg;
    CK_FUNCTION_LIST *f = fixture_functions();
    MUST(f->C_Initialize(NULL) == CKR_OK);
    generate_ec(f, token_make(f, names->token), 0, names->key, 1, false);
    (void)f->C_Finalize(NULL);
    return 0;
}

struct copy {
    const char *token, *label;
    uint8_t id;
    EVP_PKEY *key;
};

/* Both halves of a P-256 key as objects of the token. */
static void key_store(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, const struct copy *c)
{
    uint8_t point[67] = {0x04, 65}, value[32];
    size_t len = 0;
    BIGNUM *d = NULL;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_OBJECT_CLASS private = CKO_PRIVATE_KEY, public = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_EC;
    uint8_t id = c->id;
    CK_ATTRIBUTE names[] = {{CKA_KEY_TYPE, &type, sizeof(type)},
                            {CKA_TOKEN, &yes, 1},
                            {CKA_LABEL, (void *)(uintptr_t)c->label, strlen(c->label)},
                            {CKA_ID, &id, 1},
                            {CKA_EC_PARAMS, (void *)(uintptr_t)curves[0].oid, curves[0].len}};
    CK_ATTRIBUTE a[10];
    CK_OBJECT_HANDLE object;
    MUST(EVP_PKEY_get_octet_string_param(c->key, OSSL_PKEY_PARAM_PUB_KEY, point + 2, 65, &len) == 1 &&
         len == 65 && EVP_PKEY_get_bn_param(c->key, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1 &&
         BN_bn2binpad(d, value, sizeof(value)) == sizeof(value));
    BN_free(d);
    memcpy(a, names, sizeof(names));
    a[5] = (CK_ATTRIBUTE){CKA_CLASS, &private, sizeof(private)};
    a[6] = (CK_ATTRIBUTE){CKA_VALUE, value, sizeof(value)};
    a[7] = (CK_ATTRIBUTE){CKA_SIGN, &yes, 1};
    a[8] = (CK_ATTRIBUTE){CKA_SENSITIVE, &yes, 1};
    a[9] = (CK_ATTRIBUTE){CKA_EXTRACTABLE, &no, 1};
    MUST(f->C_CreateObject(session, a, 10, &object) == CKR_OK);
    a[5] = (CK_ATTRIBUTE){CKA_CLASS, &public, sizeof(public)};
    a[6] = (CK_ATTRIBUTE){CKA_EC_POINT, point, sizeof(point)};
    a[7] = (CK_ATTRIBUTE){CKA_VERIFY, &yes, 1};
    MUST(f->C_CreateObject(session, a, 8, &object) == CKR_OK);
}

static int copy_main(void *arg)
{
    const struct copy *c = arg;
    CK_FUNCTION_LIST *f = fixture_functions();
    MUST(f->C_Initialize(NULL) == CKR_OK);
    key_store(f, token_make(f, c->token), c);
    (void)f->C_Finalize(NULL);
    return 0;
}

struct many {
    unsigned count;
    fixture_name *name;
};

/* A pair whose name is as the caller wants it; not private, so that SoftHSM2 writes the name in clear. */
static int named_main(void *arg)
{
    const struct many *many = arg;
    CK_FUNCTION_LIST *f = fixture_functions();
    CK_SESSION_HANDLE session = 0;
    CK_UTF8CHAR user[] = FIXTURE_PIN;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    char label[16];
    uint8_t id[4];
    CK_MECHANISM m = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_OBJECT_HANDLE public, private;
    many->name(0, label, id);
    CK_ATTRIBUTE pub[] = {{CKA_TOKEN, &yes, 1},
                          {CKA_LABEL, label, strlen(label)},
                          {CKA_ID, id, sizeof(id)},
                          {CKA_EC_PARAMS, (void *)(uintptr_t)curves[0].oid, curves[0].len}};
    CK_ATTRIBUTE priv[] = {pub[0], pub[1], pub[2], {CKA_PRIVATE, &no, 1}, {CKA_SIGN, &yes, 1}};
    MUST(f->C_Initialize(NULL) == CKR_OK);
    MUST(f->C_OpenSession(fixture_slot(FIXTURE_TOKEN), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                          &session) == CKR_OK);
    MUST(f->C_Login(session, CKU_USER, user, strlen(FIXTURE_PIN)) == CKR_OK);
    MUST(f->C_GenerateKeyPair(session, &m, pub, 4, priv, 5, &public, &private) == CKR_OK);
    (void)f->C_Finalize(NULL);
    return 0;
}

/* An object's file of SoftHSM2. */
struct object_file {
    char folder[512];
    uint8_t data[8192];
    size_t len;
};

static struct object_file found_files[2];
static unsigned found_count;
static const char *found_label;

static int object_look(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    size_t len = strlen(path);
    struct object_file o;
    (void)st;
    if (kind != FTW_F || len < 8 || strcmp(path + len - 7, ".object") != 0 || found_count == 2)
        return 0;
    FILE *f = fopen(path, "rb");
    MUST(f);
    o.len = fread(o.data, 1, sizeof(o.data), f);
    (void)fclose(f);
    if (!memmem(o.data, o.len, found_label, strlen(found_label)))
        return 0;
    (void)snprintf(o.folder, sizeof(o.folder), "%.*s", ftw->base - 1, path);
    found_files[found_count++] = o;
    return 0;
}

/* All of `from` in the file becomes `to`. */
static void replace(struct object_file *o, const void *from, const void *to, size_t len)
{
    for (uint8_t *at = o->data; (at = memmem(at, o->len - (size_t)(at - o->data), from, len)); at += len)
        memcpy(at, to, len);
}

static void object_clone(const struct object_file *template, const struct many *many, unsigned i,
                         unsigned which)
{
    char first_label[16], label[16], path[600];
    uint8_t first_id[4], id[4];
    struct object_file o = *template;
    many->name(0, first_label, first_id);
    many->name(i, label, id);
    replace(&o, first_label, label, strlen(label));
    replace(&o, first_id, id, sizeof(id));
    (void)snprintf(path, sizeof(path), "%s/00000000-0000-0000-%04u-%012u.object", o.folder, which, i);
    FILE *f = fopen(path, "wb");
    MUST(f && fwrite(o.data, 1, o.len, f) == o.len && fclose(f) == 0);
}

static void counters_clear(void)
{
    memset((void *)counted, 0, sizeof(*counted));
}

void fixture_start(void)
{
    setvbuf(stdout, NULL, _IONBF, 0); /* children must not print what the parent has buffered */
    directory_make();
    MUST(run_child(provision_main, NULL, true) == 0);
    counters_clear();
}

void fixture_add_token(const char *token, const char *key)
{
    MUST(run_child(add_main, &(struct token_and_key){token, key}, true) == 0);
    counters_clear();
}

void fixture_add_copy(const char *token, const char *label, uint8_t id, EVP_PKEY *key)
{
    MUST(run_child(copy_main, &(struct copy){token, label, id, key}, true) == 0);
    counters_clear();
}

void fixture_add_keys(unsigned count, fixture_name *name)
{
    struct many many = {count, name};
    char label[16];
    uint8_t id[4];
    MUST(run_child(named_main, &many, true) == 0);
    name(0, label, id);
    found_label = label;
    found_count = 0;
    MUST(nftw(directory, object_look, 16, FTW_PHYS) == 0 && found_count == 2);
    for (unsigned i = 1; i < count; i++) {
        object_clone(&found_files[0], &many, i, 0);
        object_clone(&found_files[1], &many, i, 1);
    }
    counters_clear();
}

/* ---- Short ways ---- */

hsm *fixture_hsm_with(const hsm_settings *settings)
{
    hsm_settings s = *settings;
    hsm_error err = {0};
    hsm *h = NULL;
    s.module_path = COUNT_MODULE;
    if (s.idle_ms == 0)
        s.idle_ms = HSM_NEVER; /* what a test counts shall not depend on how slow the machine is */
    if (hsm_new(&h, &s, &err) != HSM_OK)
        fprintf(stderr, "hsm_new: %s\n", err.text);
    return h;
}

hsm *fixture_hsm(void)
{
    /* Tests of time-outs say their own; no other shall fail because a loaded machine is slow. */
    return fixture_hsm_with(&(hsm_settings){.pin = FIXTURE_PIN, .timeout_ms = 120000});
}

void give_way(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

hsm_status find_one(hsm *h, const char *text, hsm_key **key, hsm_error *err)
{
    hsm_uri uri;
    hsm_object *list = NULL;
    size_t count = 0;
    *key = NULL;
    hsm_status status = hsm_uri_parse(&uri, text, err);
    if (status == HSM_OK) {
        do /* no test looks for a key in a token that hangs */
            status = hsm_find(h, &uri, HSM_CLASS_PRIVATE, NULL, NULL, &list, &count, err);
        while (status == HSM_E_TIMEOUT);
    }
    if (status == HSM_OK)
        *key = hsm_key_ref(list[0].key);
    hsm_objects_free(list, count);
    hsm_uri_clear(&uri);
    return status;
}

hsm_key *find_key(hsm *h, const char *label)
{
    char uri[128];
    hsm_error err = {0};
    hsm_key *key = NULL;
    (void)snprintf(uri, sizeof(uri), "pkcs11:token=%s;object=%s", FIXTURE_TOKEN, label);
    if (find_one(h, uri, &key, &err) != HSM_OK) {
        fprintf(stderr, "find '%s': %s\n", label, err.text);
        CU_FAIL("a key that is there is not found");
    }
    return key;
}

/* The DigestInfo of SHA-256, SHA-384 and SHA-512 up to the digest (RFC 8017 section 9.2, note 1). */
static size_t digest_info(hsm_hash hash, const uint8_t *digest, size_t len, uint8_t *out)
{
    uint8_t last = hash == HSM_SHA256 ? 1 : hash == HSM_SHA384 ? 2 : 3;
    uint8_t head[] = {0x30,        (uint8_t)(17 + len),
                      0x30,        0x0d,
                      0x06,        0x09,
                      0x60,        0x86,
                      0x48,        0x01,
                      0x65,        0x03,
                      0x04,        0x02,
                      last,        0x05,
                      0x00,        0x04,
                      (uint8_t)len};
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), digest, len);
    return sizeof(head) + len;
}

static const char *hash_name(hsm_hash hash)
{
    return hash == HSM_SHA256 ? "SHA2-256" : hash == HSM_SHA384 ? "SHA2-384" : "SHA2-512";
}

hsm_status sign_any(hsm_key *key, hsm_error *err)
{
    uint8_t in[64], sig[HSM_OUTPUT_MAX], digest[32] = {1, 2, 3};
    size_t len = sizeof(sig);
    if (hsm_key_public(key)->type == HSM_KEY_EC)
        return hsm_operate(key, &(hsm_mechanism){.scheme = HSM_ECDSA}, digest, sizeof(digest), sig, &len,
                           err);
    size_t in_len = digest_info(HSM_SHA256, digest, sizeof(digest), in);
    return hsm_operate(key, &(hsm_mechanism){.scheme = HSM_RSA_PKCS1}, in, in_len, sig, &len, err);
}

hsm_status sign_patiently(hsm_key *key)
{
    hsm_status status;
    do
        status = sign_any(key, NULL);
    while (status == HSM_E_TIMEOUT);
    return status;
}

static EVP_PKEY *public_key(const hsm_public *p)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *n = p->n ? BN_bin2bn(p->n, (int)p->n_len, NULL) : NULL;
    BIGNUM *e = p->e ? BN_bin2bn(p->e, (int)p->e_len, NULL) : NULL;
    bool rsa = p->type == HSM_KEY_RSA;
    if (rsa) {
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e);
    } else {
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, p->group, 0);
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, p->point, p->point_len);
    }
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, rsa ? "RSA" : "EC", NULL);
    if (EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(n);
    BN_free(e);
    return pkey;
}

/* r || s to the DER that libcrypto verifies. */
static size_t ecdsa_to_der(const uint8_t *sig, size_t len, uint8_t **der)
{
    ECDSA_SIG *s = ECDSA_SIG_new();
    *der = NULL;
    ECDSA_SIG_set0(s, BN_bin2bn(sig, (int)len / 2, NULL), BN_bin2bn(sig + len / 2, (int)len / 2, NULL));
    int der_len = i2d_ECDSA_SIG(s, der);
    ECDSA_SIG_free(s);
    return der_len > 0 ? (size_t)der_len : 0;
}

static bool verify(const hsm_public *p, hsm_scheme scheme, hsm_hash hash, const uint8_t *digest,
                   size_t digest_len, const uint8_t *sig, size_t sig_len)
{
    uint8_t *der = NULL;
    EVP_PKEY *pkey = public_key(p);
    EVP_PKEY_CTX *ctx = pkey ? EVP_PKEY_CTX_new(pkey, NULL) : NULL;
    const EVP_MD *md = EVP_get_digestbyname(hash_name(hash));
    bool good = ctx && EVP_PKEY_verify_init(ctx) == 1 && EVP_PKEY_CTX_set_signature_md(ctx, md) == 1;
    if (good && scheme == HSM_RSA_PSS)
        good = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, (int)digest_len) == 1;
    if (good && scheme == HSM_ECDSA)
        sig_len = ecdsa_to_der(sig, sig_len, &der);
    good = good && EVP_PKEY_verify(ctx, der ? der : sig, sig_len, digest, digest_len) == 1;
    OPENSSL_free(der);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return good;
}

bool sign_and_verify(hsm_key *key, hsm_scheme scheme, hsm_hash hash, hsm_error *err)
{
    static const char message[] = "MAIL FROM:<alice@example.org>";
    uint8_t digest[64], in[128], sig[HSM_OUTPUT_MAX];
    size_t digest_len = 0, sig_len = sizeof(sig);
    if (EVP_Q_digest(NULL, hash_name(hash), NULL, message, sizeof(message), digest, &digest_len) != 1)
        return false;
    hsm_mechanism mech = {.scheme = scheme};
    size_t in_len = digest_len;
    if (scheme == HSM_RSA_PSS)
        mech = (hsm_mechanism){.scheme = HSM_RSA_PSS, .hash = hash, .mgf_hash = hash, .salt_len = digest_len};
    if (scheme == HSM_RSA_PKCS1)
        in_len = digest_info(hash, digest, digest_len, in);
    else
        memcpy(in, digest, digest_len);
    return hsm_operate(key, &mech, in, in_len, sig, &sig_len, err) == HSM_OK &&
           sig_len == hsm_output_len(key, scheme) &&
           verify(hsm_key_public(key), scheme, hash, digest, digest_len, sig, sig_len);
}

/* ---- Processes and suites ---- */

int run_child(int (*child)(void *), void *arg, bool quick)
{
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        int value = child(arg);
        if (quick)
            _exit(value);
        exit(value);
    }
    int status = 0;
    MUST(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_suite(const char *name, const CU_TestInfo *tests)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite suite = CU_add_suite(name, NULL, NULL);
    for (; suite && tests->pName; tests++)
        (void)CU_add_test(suite, tests->pName, tests->pTestFunc);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures() + (suite ? 0 : 1);
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
