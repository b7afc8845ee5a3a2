/*
 * TLS contexts and their reload.
 *
 * The rules, with their reasons:
 * - TLS 1.3 only: no renegotiation, no downgrade, and the client's certificate travels encrypted.
 * - Both sides show a certificate and verify the other's, its purpose included. A server asks with
 *   FAIL_IF_NO_PEER_CERT, so an anonymous peer never reaches HTTP/2.
 * - No tickets and no session cache: a resumed session would skip the revocation list.
 * - ALPN must yield the configured protocol, else the handshake ends in an alert: nothing guesses.
 *   The server's choice reads the name from the connection, since a reload may destroy the context
 *   while OpenSSL still works with its handle.
 * - A revocation list is checked for the peer's own certificate (CRL_CHECK). When the list itself
 * has expired nobody new is let in: fail closed, and the server alarms long before.
 *
 * OpenSSL keeps a queue of errors per thread; whatever is in it when a call starts would be taken
 * for that call's, so it is cleared first and emptied after a failure.
 */
#include "net/tls_internal.h"

#include "core/invariant.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHAIN_DEPTH_MAX 3           /* leaf, two intermediates, root: a bank's PKI has no more */
#define CHAIN_SIZE_MAX  (32 * 1024) /* bytes of certificates a peer may send */

struct tls_context {
    SSL_CTX *handle;
    enum tls_side side;
    char protocol[TLS_PROTOCOL_SIZE_MAX + 1];
    char *certificate_file, *key_file, *ca_file, *crl_file;
    struct tls_expiry expiry;
};

SSL_CTX *tls_context_handle(const struct tls_context *context)
{
    return context->handle;
}

enum tls_side tls_context_side(const struct tls_context *context)
{
    return context->side;
}

const char *tls_context_protocol(const struct tls_context *context)
{
    return context->protocol;
}

struct tls_expiry tls_context_expiry(const struct tls_context *context)
{
    return context->expiry;
}

/* Empties OpenSSL's queue into one reason. */
static const char *openssl_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason ? reason : "unknown reason";
}

/* OpenSSL names a missing file badly; the operating system names it well. */
static enum status check_readable(const char *what, const char *file, struct net_error *error)
{
    if (!file || !*file) {
        net_error_set(error, "no %s file is configured", what);
        return STATUS_INVALID;
    }
    if (access(file, R_OK) != 0) {
        net_error_set(error, "cannot read the %s file %s: %s", what, file, strerror(errno));
        return STATUS_IO;
    }
    return STATUS_OK;
}

static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *in, unsigned in_size, void *context)
{
    (void)context;
    const char *wanted = stream_tls_protocol(ssl);
    size_t wanted_size = strlen(wanted);
    for (unsigned i = 0; i < in_size; i += in[i] + 1u) {
        if (in[i] == wanted_size && in_size - i > wanted_size &&
            memcmp(in + i + 1, wanted, wanted_size) == 0) {
            *out = in + i + 1;
            *out_size = in[i];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm broken_down;
    if (!time || ASN1_TIME_to_tm(time, &broken_down) != 1)
        return 0;
    return (int64_t)timegm(&broken_down);
}

static enum status load_own(struct tls_context *context, struct net_error *error)
{
    enum status status = check_readable("certificate", context->certificate_file, error);
    if (status == STATUS_OK)
        status = check_readable("key", context->key_file, error);
    if (status != STATUS_OK)
        return status;
    if (SSL_CTX_use_certificate_chain_file(context->handle, context->certificate_file) != 1) {
        net_error_set(error, "certificate file %s: %s; a PEM certificate chain is expected",
                      context->certificate_file, openssl_reason());
        return STATUS_INVALID;
    }
    if (SSL_CTX_use_PrivateKey_file(context->handle, context->key_file, SSL_FILETYPE_PEM) != 1) {
        net_error_set(error, "key file %s: %s; an unencrypted PEM key that fits %s is expected",
                      context->key_file, openssl_reason(), context->certificate_file);
        return STATUS_INVALID;
    }
    if (SSL_CTX_check_private_key(context->handle) != 1) {
        net_error_set(error, "key file %s does not fit the certificate %s: %s", context->key_file,
                      context->certificate_file, openssl_reason());
        return STATUS_INVALID;
    }
    const X509 *certificate = SSL_CTX_get0_certificate(context->handle);
    context->expiry.certificate_s = seconds_of(X509_get0_notAfter(certificate));
    /* A server with an expired certificate is refused by all its clients; say so where it is seen.
     * A client may have the wrong clock: there the server decides. */
    if (context->side == TLS_SERVER && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
        net_error_set(error, "the certificate %s has expired; issue a new one",
                      context->certificate_file);
        return STATUS_INVALID;
    }
    if (context->side == TLS_SERVER &&
        X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
        net_error_set(error, "the certificate %s is not valid yet; check this machine's clock",
                      context->certificate_file);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

static enum status load_authorities(struct tls_context *context, struct net_error *error)
{
    enum status status = check_readable("CA", context->ca_file, error);
    if (status != STATUS_OK)
        return status;
    if (SSL_CTX_load_verify_locations(context->handle, context->ca_file, NULL) != 1) {
        net_error_set(error, "CA file %s: %s; PEM certificates are expected", context->ca_file,
                      openssl_reason());
        return STATUS_INVALID;
    }
    if (context->side == TLS_SERVER) {
        /* Tells clients which of their certificates to show. */
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(context->ca_file);
        if (!names) {
            net_error_set(error, "CA file %s: %s", context->ca_file, openssl_reason());
            return STATUS_INVALID;
        }
        SSL_CTX_set_client_CA_list(context->handle, names); /* takes it */
    }
    return STATUS_OK;
}

static enum status load_revocations(struct tls_context *context, struct net_error *error)
{
    if (!context->crl_file)
        return STATUS_OK;
    enum status status = check_readable("CRL", context->crl_file, error);
    if (status != STATUS_OK)
        return status;
    X509_STORE *store = SSL_CTX_get_cert_store(context->handle);
    BIO *file = BIO_new_file(context->crl_file, "r");
    if (!file) {
        net_error_set(error, "CRL file %s: %s", context->crl_file, openssl_reason());
        return STATUS_IO;
    }
    int count = 0;
    X509_CRL *list;
    while ((list = PEM_read_bio_X509_CRL(file, NULL, NULL, NULL)) != NULL) {
        int64_t next_update_s = seconds_of(X509_CRL_get0_nextUpdate(list));
        if (next_update_s && (!context->expiry.crl_s || next_update_s < context->expiry.crl_s))
            context->expiry.crl_s = next_update_s;
        int added = X509_STORE_add_crl(store, list);
        X509_CRL_free(list);
        if (added != 1)
            break;
        count++;
    }
    BIO_free(file);
    /* The loop ends by "no start line" at the end of a good file, by anything else in a bad one. */
    unsigned long code = ERR_peek_last_error();
    if (count == 0 || ERR_GET_REASON(code) != PEM_R_NO_START_LINE) {
        net_error_set(error, "CRL file %s: list %d: %s; PEM revocation lists are expected",
                      context->crl_file, count + 1, openssl_reason());
        return STATUS_INVALID;
    }
    ERR_clear_error();
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    return STATUS_OK;
}

static enum status configure(struct tls_context *context, struct net_error *error)
{
    SSL_CTX *handle = context->handle;
    if (SSL_CTX_set_min_proto_version(handle, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(handle, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                         "TLS_CHACHA20_POLY1305_SHA256") != 1) {
        net_error_set(error, "this OpenSSL cannot do TLS 1.3: %s", openssl_reason());
        return STATUS_UNSUPPORTED;
    }
    SSL_CTX_set_session_cache_mode(handle, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(handle, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* Idle connections keep no 34 KiB; and only the configured chain is sent, not the root that
     * OpenSSL would find among the authorities. */
    SSL_CTX_set_mode(handle, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_max_cert_list(handle, CHAIN_SIZE_MAX);
    SSL_CTX_set_verify_depth(handle, CHAIN_DEPTH_MAX);
    if (context->side == TLS_SERVER) {
        SSL_CTX_set_num_tickets(handle, 0);
        SSL_CTX_set_alpn_select_cb(handle, select_protocol, NULL);
        SSL_CTX_set_verify(handle, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        SSL_CTX_set_purpose(handle, X509_PURPOSE_SSL_CLIENT);
    } else {
        SSL_CTX_set_verify(handle, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_purpose(handle, X509_PURPOSE_SSL_SERVER);
        unsigned char wire_name[1 + TLS_PROTOCOL_SIZE_MAX];
        size_t size = strlen(context->protocol);
        wire_name[0] = (unsigned char)size;
        memcpy(wire_name + 1, context->protocol, size);
        /* Zero means success here, against OpenSSL's habit. */
        if (SSL_CTX_set_alpn_protos(handle, wire_name, (unsigned)(1 + size)) != 0)
            return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* NULL stays NULL; false when memory ran out. */
static bool copy_name(char **copy, const char *name)
{
    *copy = name ? strdup(name) : NULL;
    return *copy || !name;
}

enum status tls_context_create(const struct tls_options *options, struct tls_context **out_context,
                               struct net_error *out_error)
{
    enum status status = STATUS_NO_MEMORY;
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context)
        goto no_memory;
    context->side = options->side;
    const char *protocol = options->protocol ? options->protocol : "h2";
    size_t protocol_size = strlen(protocol);
    invariant_values(protocol_size >= 1 && protocol_size <= TLS_PROTOCOL_SIZE_MAX, protocol_size,
                     0);
    memcpy(context->protocol, protocol, protocol_size + 1);
    if (!copy_name(&context->certificate_file, options->certificate_file) ||
        !copy_name(&context->key_file, options->key_file) ||
        !copy_name(&context->ca_file, options->ca_file) ||
        !copy_name(&context->crl_file, options->crl_file))
        goto no_memory;
    ERR_clear_error();
    context->handle =
        SSL_CTX_new(options->side == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (!context->handle)
        goto no_memory;
    net_error_set(out_error, "%s", "out of memory");
    status = configure(context, out_error);
    if (status == STATUS_OK)
        status = load_own(context, out_error);
    if (status == STATUS_OK)
        status = load_authorities(context, out_error);
    if (status == STATUS_OK)
        status = load_revocations(context, out_error);
    if (status != STATUS_OK) {
        ERR_clear_error();
        tls_context_destroy(context);
        return status;
    }
    *out_context = context;
    return STATUS_OK;

no_memory:
    ERR_clear_error();
    tls_context_destroy(context);
    net_error_set(out_error, "out of memory while making a TLS context");
    return STATUS_NO_MEMORY;
}

enum status tls_context_again(const struct tls_context *context, struct tls_context **out_context,
                              struct net_error *out_error)
{
    struct tls_options options = {
        .side = context->side,
        .certificate_file = context->certificate_file,
        .key_file = context->key_file,
        .ca_file = context->ca_file,
        .crl_file = context->crl_file,
        .protocol = context->protocol,
    };
    return tls_context_create(&options, out_context, out_error);
}

enum status tls_context_reload(struct tls_context **context, struct net_error *out_error)
{
    struct tls_context *fresh;
    enum status status = tls_context_again(*context, &fresh, out_error);
    if (status != STATUS_OK)
        return status;
    tls_context_destroy(*context);
    *context = fresh;
    return STATUS_OK;
}

void tls_context_destroy(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->handle); /* connections hold references of their own */
    free(context->certificate_file);
    free(context->key_file);
    free(context->ca_file);
    free(context->crl_file);
    free(context);
}
