/*
 * The pump. nghttp2 gives frames piece by piece, each valid until the next request for one; sealing
 * each into a TLS record of its own would cost 15 us of CPU per call instead of 2. So pieces are
 * copied together into one record's worth (loop->output), and sealed when it is full or at the end.
 */
#include "net/http2.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#define PUMP_SIZE_MAX (1024 * 1024) /* per visit, so that one connection cannot hold the loop */

enum status http2_pump(struct nghttp2_session *session, struct stream *stream, bool *out_more)
{
    uint8_t *record = stream->loop->output;
    size_t gathered = 0, moved = 0;
    enum status status = STATUS_OK;
    *out_more = false;
    while (!stream_is_full(stream)) {
        if (moved >= PUMP_SIZE_MAX) {
            *out_more = true;
            break;
        }
        const uint8_t *piece;
        ssize_t piece_size = nghttp2_session_mem_send(session, &piece);
        if (piece_size < 0)
            return piece_size == NGHTTP2_ERR_NOMEM ? STATUS_NO_MEMORY : STATUS_INVALID;
        if (piece_size == 0)
            break;
        size_t left = (size_t)piece_size;
        moved += left;
        while (left > 0) {
            size_t room = TLS_RECORD_SIZE - gathered;
            size_t part = left < room ? left : room;
            memcpy(record + gathered, piece, part);
            gathered += part;
            piece += part;
            left -= part;
            if (gathered < TLS_RECORD_SIZE)
                break;
            status = stream_write(stream, record, gathered);
            gathered = 0;
            if (status != STATUS_OK)
                return status;
        }
    }
    if (gathered > 0)
        status = stream_write(stream, record, gathered);
    if (status == STATUS_OK)
        status = stream_flush(stream);
    return status;
}
