/* Between net/loop.c and net/stream.c: a server's handshakes, a few per turn of the loop. */
#ifndef TALLY_NET_STREAM_HANDSHAKE_H
#define TALLY_NET_STREAM_HANDSHAKE_H

#include "net/stream.h"

void net_loop_queue_handshake(struct net_loop *loop, struct stream *stream);
void net_loop_forget_handshake(struct net_loop *loop, struct stream *stream);
/* Called when the stream's turn has come. */
void stream_handshake_turn(struct stream *stream);

#endif
