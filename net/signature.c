/*
 * Signing and checking, by OpenSSL's EVP with SHA-256: whatever key TLS has (ECDSA, RSA) serves.
 *
 * The check trusts nothing that came with the signature: the chain's first certificate has to lead
 * to an authority of the caller's file, through the others if needed, all of them valid at the
 * moment named, which is when the bytes were signed: what is looked at years later may have been
 * signed by a certificate that has ended since. For which purpose the certificate was issued is not
 * asked; a caller judges by the URI whether this signer may say such a thing. Revocation is not
 * looked at either: a list tells about today.
 *
 * The chain has as many certificates as TLS accepts; each is read strictly, and nothing may stand
 * behind the last.
 */
#include "net/signature.h"

#include "core/bounds.h"
#include "net/identity.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHAIN_COUNT_MAX 4 /* leaf, two intermediates, and a root that somebody put behind them */

struct signer {
    EVP_PKEY *key;
    size_t chain_size;
    uint8_t chain[SIGNATURE_CHAIN_SIZE_MAX];
};

static const char *reason(void)
{
    const unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : "unknown reason";
}

/* ---- signing ---- */

static enum status add_certificate(struct signer *signer, X509 *certificate)
{
    const int size = i2d_X509(certificate, NULL);
    if (size <= 0)
        return STATUS_INVALID;
    if ((size_t)size > sizeof signer->chain - signer->chain_size)
        return STATUS_BUSY;
    unsigned char *at = signer->chain + signer->chain_size;
    signer->chain_size += (size_t)i2d_X509(certificate, &at);
    return STATUS_OK;
}

static enum status read_chain(struct signer *signer, const char *file, struct net_error *error)
{
    FILE *stream = fopen(file, "re");
    if (!stream) {
        net_error_set(error, "the certificate file %s cannot be opened", file);
        return STATUS_NOT_FOUND;
    }
    enum status status = STATUS_OK;
    int count = 0;
    X509 *certificate;
    while (status == STATUS_OK && (certificate = PEM_read_X509(stream, NULL, NULL, NULL)) != NULL) {
        if (count == 0 && X509_check_private_key(certificate, signer->key) != 1)
            status = STATUS_WRONG_CLUSTER;
        else if (++count > CHAIN_COUNT_MAX)
            status = STATUS_BUSY;
        else
            status = add_certificate(signer, certificate);
        X509_free(certificate);
    }
    (void)fclose(stream); /* was only read */
    ERR_clear_error();    /* the end of the file is one of them */
    if (status == STATUS_WRONG_CLUSTER)
        net_error_set(error, "the key does not fit the certificate %s", file);
    else if (status == STATUS_BUSY)
        net_error_set(error,
                      "%s: more than %d certificates or %d bytes; a leaf and two "
                      "intermediates are expected",
                      file, CHAIN_COUNT_MAX, SIGNATURE_CHAIN_SIZE_MAX);
    else if (status != STATUS_OK || count == 0)
        net_error_set(error, "%s holds no certificate in PEM", file);
    return status == STATUS_OK && count > 0 ? STATUS_OK : STATUS_INVALID;
}

static enum status read_key(struct signer *signer, const char *file, struct net_error *error)
{
    FILE *stream = fopen(file, "re");
    if (!stream) {
        net_error_set(error, "the key file %s cannot be opened", file);
        return STATUS_NOT_FOUND;
    }
    signer->key = PEM_read_PrivateKey(stream, NULL, NULL, NULL);
    (void)fclose(stream); /* was only read */
    if (!signer->key) {
        net_error_set(error, "%s: %s; an unencrypted key in PEM is expected", file, reason());
        return STATUS_INVALID;
    }
    if ((size_t)EVP_PKEY_get_size(signer->key) > SIGNATURE_SIZE_MAX) {
        net_error_set(error, "%s: signatures with this key are longer than %d bytes", file,
                      SIGNATURE_SIZE_MAX);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

enum status signer_create(const char *certificate_file, const char *key_file,
                          struct signer **out_signer, struct net_error *out_error)
{
    struct signer *signer = calloc(1, sizeof *signer);
    if (!signer) {
        net_error_set(out_error, "out of memory");
        return STATUS_NO_MEMORY;
    }
    ERR_clear_error();
    enum status status = read_key(signer, key_file, out_error);
    if (status == STATUS_OK)
        status = read_chain(signer, certificate_file, out_error);
    if (status != STATUS_OK) {
        signer_destroy(signer);
        return status;
    }
    *out_signer = signer;
    return STATUS_OK;
}

void signer_destroy(struct signer *signer)
{
    if (!signer)
        return;
    EVP_PKEY_free(signer->key);
    free(signer);
}

enum status signer_sign(struct signer *signer, const void *bytes, size_t size,
                        uint8_t out_signature[SIGNATURE_SIZE_MAX], size_t *out_size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context)
        return STATUS_NO_MEMORY;
    size_t length = SIGNATURE_SIZE_MAX;
    const bool done = EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, signer->key) == 1 &&
                      EVP_DigestSign(context, out_signature, &length, bytes, size) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    if (!done)
        return STATUS_INVALID;
    *out_size = length;
    return STATUS_OK;
}

size_t signer_chain(const struct signer *signer, const uint8_t **out_bytes)
{
    *out_bytes = signer->chain;
    return signer->chain_size;
}

/* ---- checking ---- */

struct chain {
    X509 *leaf;
    STACK_OF(X509) * others;
};

static void free_chain(struct chain *chain)
{
    X509_free(chain->leaf);
    sk_X509_pop_free(chain->others, X509_free);
}

static enum status parse_chain(const struct signature_check *check, struct chain *out,
                               struct net_error *error)
{
    const unsigned char *at = check->chain;
    const unsigned char *end = check->chain + check->chain_size;
    *out = (struct chain){.others = sk_X509_new_null()};
    if (!out->others)
        return STATUS_NO_MEMORY;
    for (int count = 0; at < end; count++) {
        X509 *certificate = count < CHAIN_COUNT_MAX ? d2i_X509(NULL, &at, end - at) : NULL;
        if (!certificate)
            break;
        if (count == 0) {
            out->leaf = certificate;
        } else if (sk_X509_push(out->others, certificate) <= 0) {
            X509_free(certificate);
            return STATUS_NO_MEMORY;
        }
    }
    ERR_clear_error();
    if (out->leaf && at == end)
        return STATUS_OK;
    net_error_set(error, "the signer's certificates cannot be read");
    return STATUS_DENIED;
}

static enum status check_chain(const struct signature_check *check, const struct chain *chain,
                               X509_STORE *store, struct net_error *error)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    if (!context || X509_STORE_CTX_init(context, store, chain->leaf, chain->others) != 1) {
        X509_STORE_CTX_free(context);
        return STATUS_NO_MEMORY;
    }
    X509_STORE_CTX_set_time(context, 0, (time_t)check->at_s);
    enum status status = STATUS_OK;
    if (X509_verify_cert(context) != 1) {
        net_error_set(error, "the signer's certificate does not lead to an authority of %s: %s",
                      check->ca_file,
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
        status = STATUS_DENIED;
    }
    X509_STORE_CTX_free(context);
    return status;
}

static enum status check_signature(const struct signature_check *check, X509 *leaf,
                                   struct net_error *error)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY *key = X509_get0_pubkey(leaf);
    if (!context)
        return STATUS_NO_MEMORY;
    const bool good = key && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                      EVP_DigestVerify(context, check->signature, check->signature_size,
                                       check->bytes, check->size) == 1;
    EVP_MD_CTX_free(context);
    if (good)
        return STATUS_OK;
    net_error_set(error, "the signature does not fit what it stands under");
    return STATUS_DENIED;
}

static enum status open_store(const char *file, X509_STORE **out_store, struct net_error *error)
{
    FILE *stream = fopen(file, "re");
    if (!stream) {
        net_error_set(error, "the CA file %s cannot be opened", file);
        return STATUS_NOT_FOUND;
    }
    (void)fclose(stream); /* only to say it well */
    X509_STORE *store = X509_STORE_new();
    if (!store)
        return STATUS_NO_MEMORY;
    if (X509_STORE_load_file(store, file) != 1) {
        net_error_set(error, "CA file %s: %s; PEM certificates are expected", file, reason());
        X509_STORE_free(store);
        return STATUS_INVALID;
    }
    *out_store = store;
    return STATUS_OK;
}

enum status signature_verify(const struct signature_check *check, char *out_uri,
                             struct net_error *out_error)
{
    struct chain chain = {0};
    X509_STORE *store = NULL;
    struct identity identity;
    ERR_clear_error();
    net_error_set(out_error, "out of memory");
    enum status status = open_store(check->ca_file, &store, out_error);
    if (status == STATUS_OK)
        status = parse_chain(check, &chain, out_error);
    if (status == STATUS_OK)
        status = check_chain(check, &chain, store, out_error);
    if (status == STATUS_OK)
        status = check_signature(check, chain.leaf, out_error);
    if (status == STATUS_OK &&
        identity_of_certificate(chain.leaf, &identity, out_error) != STATUS_OK)
        status = STATUS_DENIED;
    free_chain(&chain);
    X509_STORE_free(store);
    ERR_clear_error();
    if (status == STATUS_OK)
        memcpy(out_uri, identity.uri, sizeof identity.uri);
    return status;
}
