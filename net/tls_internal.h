/* What net/stream.c needs of a context; the only header here that shows OpenSSL. */
#ifndef TALLY_NET_TLS_INTERNAL_H
#define TALLY_NET_TLS_INTERNAL_H

#include "net/tls.h"

#include <openssl/ssl.h>

SSL_CTX *tls_context_handle(const struct tls_context *context); /* borrowed */
enum tls_side tls_context_side(const struct tls_context *context);
const char *tls_context_protocol(const struct tls_context *context); /* borrowed */
/* The protocol that the connection of `ssl` must agree on; outlives its context's reload. */
const char *stream_tls_protocol(const SSL *ssl);

#endif
