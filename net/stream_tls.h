/* The TLS half of a stream; private to net/stream.c. No sockets in here. */
#ifndef TALLY_NET_STREAM_TLS_H
#define TALLY_NET_STREAM_TLS_H

#include "net/stream.h"

enum status stream_tls_init(struct stream *stream, const struct tls_context *tls);
enum status stream_tls_expect(struct stream *stream, const char *server_name,
                              const char *expected_uri, struct net_error *out_error);
void stream_tls_deinit(struct stream *stream);

enum tls_step {
    TLS_STEP_WANT_INPUT, /* nothing more to do until bytes arrive */
    TLS_STEP_DONE,       /* handshake: finished; read: bytes in *out_size */
    TLS_STEP_END,        /* read: the peer closed in order */
    TLS_STEP_FAILED,     /* why says it */
};

/* Ciphertext from the socket. At most `size`, all of it taken, or STATUS_NO_MEMORY. */
enum status stream_tls_feed(struct stream *stream, const uint8_t *bytes, size_t size);
enum tls_step stream_tls_handshake(struct stream *stream, struct net_error *out_why);
enum tls_step stream_tls_read(struct stream *stream, uint8_t *out, size_t capacity,
                              size_t *out_size, struct net_error *out_why);
enum status stream_tls_write(struct stream *stream, const uint8_t *bytes, size_t size);
void stream_tls_say_goodbye(struct stream *stream);

/* Ciphertext waiting for the socket; valid until stream_tls_output_sent. */
size_t stream_tls_output(const struct stream *stream, const uint8_t **out_bytes);
void stream_tls_output_sent(struct stream *stream);

#endif
