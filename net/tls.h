/*
 * TLS contexts: TLS 1.3, mutual, one application protocol (ALPN), no resumption. Made from PEM
 * files; a reload makes a new context and swaps only on success. Connections keep the context they
 * began with.
 */
#ifndef TALLY_NET_TLS_H
#define TALLY_NET_TLS_H

#include "core/status.h"
#include "net/error.h"

#include <stdint.h>

struct tls_context;

enum tls_side { TLS_SERVER, TLS_CLIENT };

#define TLS_PROTOCOL_SIZE_MAX 31

struct tls_options {
    enum tls_side side;
    const char *certificate_file; /* PEM, the chain from our certificate upwards */
    const char *key_file;         /* PEM */
    const char *ca_file;          /* PEM, the authorities whose certificates the peer may show */
    const char *crl_file;         /* PEM, their revocation lists; NULL = no revocation check. With
                                   * one, a peer is refused also when the list itself has expired. */
    const char *protocol;         /* ALPN, 1 .. TLS_PROTOCOL_SIZE_MAX bytes; NULL = "h2" */
};

/* Seconds since 1970; 0 = there is none. */
struct tls_expiry {
    int64_t certificate_s; /* our own certificate's notAfter */
    int64_t crl_s;         /* the earliest nextUpdate of the lists */
};

/* STATUS_IO: a file cannot be read. STATUS_INVALID: it holds something else, the key does not fit
 * the certificate, or (server) our own certificate is not valid today. STATUS_NO_MEMORY. The
 * options are copied. */
enum status tls_context_create(const struct tls_options *options, struct tls_context **out_context,
                               struct net_error *out_error);

/* A further context from the same files, as they are now. */
enum status tls_context_again(const struct tls_context *context, struct tls_context **out_context,
                              struct net_error *out_error);

/* The same files again; *context is replaced on STATUS_OK and untouched otherwise. */
enum status tls_context_reload(struct tls_context **context, struct net_error *out_error);

void tls_context_destroy(struct tls_context *context); /* NULL is allowed */

struct tls_expiry tls_context_expiry(const struct tls_context *context);

#endif
