/* What both ends of HTTP/2 share: moving a session's frames into a stream. */
#ifndef TALLY_NET_HTTP2_H
#define TALLY_NET_HTTP2_H

#include "core/status.h"
#include "net/stream.h"

#include <stdbool.h>

struct nghttp2_session;

/* Bytes of one gRPC message prefix: a flag (compressed) and the length, big-endian. */
#define GRPC_PREFIX_SIZE 5

/* Hands frames to the stream, gathered into full TLS records, until the session has no more, the
 * stream is full, or 1 MiB has been moved; *out_more tells that the last was the reason and the
 * caller should come back. Never inside a callback of the session. STATUS_NO_MEMORY,
 * STATUS_UNAVAILABLE (socket) or STATUS_INVALID (the session is beyond repair): close the stream.
 */
enum status http2_pump(struct nghttp2_session *session, struct stream *stream, bool *out_more);

#endif
