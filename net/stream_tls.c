/*
 * The TLS half of a stream: OpenSSL between two memory BIOs. Ciphertext from the socket is fed in,
 * ciphertext for the socket is taken out; OpenSSL never sees a file descriptor, so libuv stays the
 * only place that waits.
 *
 * A refused certificate is explained in words here ("certificate has expired"), because in TLS 1.3
 * the client learns of it only after its own handshake and sees no more than a broken connection.
 */
#include "net/stream_tls.h"

#include "net/tls_internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* Our keys are renewed after so many records: RFC 8446, section 5.5, allows 2^24.5 full ones under
 * one AES-GCM key, and OpenSSL leaves that to us. Connections between nodes live for months. */
#define KEY_UPDATE_RECORDS (1u << 22)
/* KeyUpdate messages a peer may send: a few at any time, and one in so many records. */
#define KEY_UPDATES_MAX             64
#define KEY_UPDATE_RECORDS_AT_LEAST (1u << 16)

/* Remembers the first reason for which the peer's certificate is refused. The subject is not
 * verified: what is not printable is shown as '?'. */
static int verify_callback(int verified, X509_STORE_CTX *store)
{
    if (verified)
        return 1;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct stream *stream = SSL_get_app_data(ssl);
    if (stream->verify_error[0])
        return 0;
    char subject[80] = "";
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (certificate)
        (void)X509_NAME_oneline(X509_get_subject_name(certificate), subject, sizeof subject);
    for (char *c = subject; *c; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
            *c = '?';
    (void)snprintf(stream->verify_error, sizeof stream->verify_error, "%s (subject %s)",
                   X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)), subject);
    return 0;
}

/* Counts KeyUpdate messages: each makes us derive keys, and may make us send one. */
static void message_callback(int is_sent, int version, int content_type, const void *bytes,
                             size_t size, SSL *ssl, void *context)
{
    (void)version;
    (void)ssl;
    struct stream *stream = context;
    if (!is_sent && content_type == SSL3_RT_HANDSHAKE && size >= 1 &&
        *(const uint8_t *)bytes == SSL3_MT_KEY_UPDATE)
        stream->key_updates++;
}

enum status stream_tls_init(struct stream *stream, const struct tls_context *tls)
{
    ERR_clear_error();
    stream->is_server = tls_context_side(tls) == TLS_SERVER;
    stream->ssl = SSL_new(tls_context_handle(tls));
    stream->incoming = BIO_new(BIO_s_mem());
    stream->outgoing = BIO_new(BIO_s_mem());
    if (!stream->ssl || !stream->incoming || !stream->outgoing) {
        SSL_free(stream->ssl);
        BIO_free(stream->incoming);
        BIO_free(stream->outgoing);
        stream->ssl = NULL;
        stream->incoming = stream->outgoing = NULL;
        ERR_clear_error();
        return STATUS_NO_MEMORY;
    }
    /* An empty BIO means "wait", not "end of file". */
    BIO_set_mem_eof_return(stream->incoming, -1);
    BIO_set_mem_eof_return(stream->outgoing, -1);
    SSL_set_bio(stream->ssl, stream->incoming, stream->outgoing); /* takes both */
    SSL_set_app_data(stream->ssl, stream);
    stream->key_update_records = KEY_UPDATE_RECORDS;
    memcpy(stream->protocol, tls_context_protocol(tls), sizeof stream->protocol);
    SSL_set_verify(stream->ssl, SSL_get_verify_mode(stream->ssl), verify_callback);
    SSL_set_msg_callback(stream->ssl, message_callback);
    SSL_set_msg_callback_arg(stream->ssl, stream);
    if (stream->is_server)
        SSL_set_accept_state(stream->ssl);
    else
        SSL_set_connect_state(stream->ssl);
    return STATUS_OK;
}

const char *stream_tls_protocol(const SSL *ssl)
{
    const struct stream *stream = SSL_get_app_data(ssl);
    return stream->protocol;
}

void stream_tls_deinit(struct stream *stream)
{
    SSL_free(stream->ssl); /* and both BIOs */
    stream->ssl = NULL;
    stream->incoming = stream->outgoing = NULL;
}

static bool is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

enum status stream_tls_expect(struct stream *stream, const char *server_name,
                              const char *expected_uri, struct net_error *out_error)
{
    ERR_clear_error();
    bool set;
    if (!server_name) {
        set = true;
    } else if (is_address(server_name)) {
        set = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(stream->ssl), server_name) == 1;
    } else {
        SSL_set_hostflags(stream->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                           X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
        /* OpenSSL copies the name; its macro takes no const. */
        char *name = (char *)(uintptr_t)server_name;
        set = SSL_set1_host(stream->ssl, server_name) == 1 &&
              SSL_set_tlsext_host_name(stream->ssl, name) == 1;
    }
    if (!set) {
        ERR_clear_error();
        net_error_set(out_error, "server name %s cannot be used for TLS", server_name);
        return STATUS_INVALID;
    }
    memset(&stream->expected, 0, sizeof stream->expected);
    if (expected_uri)
        memcpy(stream->expected.uri, expected_uri,
               strnlen(expected_uri, sizeof stream->expected.uri - 1));
    return STATUS_OK;
}

enum status stream_tls_feed(struct stream *stream, const uint8_t *bytes, size_t size)
{
    size_t written = 0;
    ERR_clear_error();
    if (size > 0 &&
        (BIO_write_ex(stream->incoming, bytes, size, &written) != 1 || written != size)) {
        ERR_clear_error();
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* Words for a failed call of OpenSSL, from most to least telling. */
static void explain(struct stream *stream, const char *doing, struct net_error *why)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    bool is_alert = code && ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) >= 1000;
    ERR_clear_error();
    stream->refused_by_peer = is_alert && !stream->verify_error[0];
    if (stream->verify_error[0])
        net_error_set(why, "%s with %s: its certificate is refused: %s", doing, stream->peer,
                      stream->verify_error);
    else if (is_alert)
        net_error_set(why, "%s with %s: refused by the peer: %s", doing, stream->peer, reason);
    else
        net_error_set(why, "%s with %s: %s", doing, stream->peer,
                      reason ? reason : "protocol error");
}

/* After a client's handshake: OpenSSL has verified chain and name; the URI is ours to check. */
static enum tls_step check_peer(struct stream *stream, struct net_error *why)
{
    const unsigned char *protocol = NULL;
    unsigned protocol_size = 0;
    SSL_get0_alpn_selected(stream->ssl, &protocol, &protocol_size);
    if (protocol_size != strlen(stream->protocol) ||
        memcmp(protocol, stream->protocol, protocol_size) != 0) {
        net_error_set(why, "TLS handshake with %s: the peer does not speak %s (ALPN)", stream->peer,
                      strcmp(stream->protocol, "h2") == 0 ? "HTTP/2" : stream->protocol);
        return TLS_STEP_FAILED;
    }
    if (!stream->expected.uri[0])
        return TLS_STEP_DONE;
    struct identity identity;
    struct net_error error;
    if (stream_peer_identity(stream, &identity, &error) != STATUS_OK) {
        net_error_set(why, "TLS handshake with %s: %s", stream->peer, error.text);
        return TLS_STEP_FAILED;
    }
    if (strcmp(identity.uri, stream->expected.uri) != 0) {
        net_error_set(why, "TLS handshake with %s: its certificate names %.100s", stream->peer,
                      identity.uri);
        return TLS_STEP_FAILED;
    }
    return TLS_STEP_DONE;
}

enum tls_step stream_tls_handshake(struct stream *stream, struct net_error *out_why)
{
    ERR_clear_error();
    int result = SSL_do_handshake(stream->ssl);
    if (result == 1)
        return check_peer(stream, out_why);
    if (SSL_get_error(stream->ssl, result) == SSL_ERROR_WANT_READ)
        return TLS_STEP_WANT_INPUT;
    explain(stream, "TLS handshake", out_why);
    return TLS_STEP_FAILED;
}

enum tls_step stream_tls_read(struct stream *stream, uint8_t *out, size_t capacity,
                              size_t *out_size, struct net_error *out_why)
{
    ERR_clear_error();
    int result = SSL_read_ex(stream->ssl, out, capacity, out_size);
    stream->records_received += result == 1;
    if (stream->key_updates >
        KEY_UPDATES_MAX + stream->records_received / KEY_UPDATE_RECORDS_AT_LEAST) {
        net_error_set(out_why, "TLS with %s: %u key updates within %" PRIu64 " records",
                      stream->peer, stream->key_updates, stream->records_received);
        return TLS_STEP_FAILED;
    }
    if (result == 1)
        return TLS_STEP_DONE;
    switch (SSL_get_error(stream->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return TLS_STEP_WANT_INPUT;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_STEP_END;
    default:
        explain(stream, "TLS", out_why);
        return TLS_STEP_FAILED;
    }
}

enum status stream_tls_write(struct stream *stream, const uint8_t *bytes, size_t size)
{
    size_t written = 0;
    ERR_clear_error();
    /* When it fails there is no memory, and the write below says so. */
    if (++stream->records_sent % stream->key_update_records == 0)
        (void)SSL_key_update(stream->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
    if (SSL_write_ex(stream->ssl, bytes, size, &written) != 1 || written != size) {
        ERR_clear_error();
        return STATUS_NO_MEMORY; /* a memory BIO has no other way to fail */
    }
    return STATUS_OK;
}

void stream_tls_say_goodbye(struct stream *stream)
{
    ERR_clear_error();
    (void)SSL_shutdown(stream->ssl); /* sends close_notify; the peer's is not waited for */
    ERR_clear_error();
}

size_t stream_tls_output(const struct stream *stream, const uint8_t **out_bytes)
{
    char *bytes = NULL;
    long size = BIO_get_mem_data(stream->outgoing, &bytes);
    *out_bytes = (const uint8_t *)bytes;
    return size > 0 ? (size_t)size : 0;
}

void stream_tls_output_sent(struct stream *stream)
{
    (void)BIO_reset(stream->outgoing); /* cannot fail for a memory BIO */
}

enum status stream_peer_identity(const struct stream *stream, struct identity *out_identity,
                                 struct net_error *out_error)
{
    const X509 *certificate = SSL_get0_peer_certificate(stream->ssl);
    if (!certificate) {
        net_error_set(out_error, "the peer showed no certificate");
        return STATUS_INVALID;
    }
    return identity_of_certificate(certificate, out_identity, out_error);
}

enum status stream_verify_again(const struct stream *stream, const struct tls_context *tls,
                                struct net_error *out_error)
{
    X509 *certificate = SSL_get0_peer_certificate(stream->ssl);
    if (!certificate) {
        net_error_set(out_error, "the peer showed no certificate");
        return STATUS_DENIED;
    }
    ERR_clear_error();
    X509_STORE_CTX *store = X509_STORE_CTX_new();
    enum status status = STATUS_NO_MEMORY;
    if (!store ||
        X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(tls_context_handle(tls)), certificate,
                            SSL_get_peer_cert_chain(stream->ssl)) != 1 ||
        X509_STORE_CTX_set_default(store, stream->is_server ? "ssl_client" : "ssl_server") != 1) {
        net_error_set(out_error, "out of memory while checking the certificate of %s",
                      stream->peer);
    } else if (X509_verify_cert(store) == 1) {
        status = STATUS_OK;
    } else {
        net_error_set(out_error, "certificate of %s: %s", stream->peer,
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
        status = STATUS_DENIED;
    }
    X509_STORE_CTX_free(store);
    ERR_clear_error();
    return status;
}
