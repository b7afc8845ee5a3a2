/* SHA-256 (OpenSSL; the method is fetched once). Thread-safe. Used for the journal's chain, request
 * digests and import identities. Failure of the library is an invariant. */
#ifndef TALLY_STORAGE_HASH_H
#define TALLY_STORAGE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_SIZE 32

struct hash_part {
    const void *bytes;
    size_t size;
};
/* Hash over the concatenation of parts. */
void hash_parts(const struct hash_part *parts, size_t count, uint8_t out[HASH_SIZE]);

struct hash_stream;
struct hash_stream *hash_stream_create(void);
void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t size);
void hash_stream_finish(struct hash_stream *stream, uint8_t out[HASH_SIZE]); /* and resets */
void hash_stream_destroy(struct hash_stream *stream);

#endif
