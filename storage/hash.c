/*
 * SHA-256 through OpenSSL's EVP, the only place of storage that sees it.
 *
 * The method is fetched once: a lookup by name (EVP_sha256()) costs more than half a microsecond
 * per use. It is never freed, so that any thread may use it until the process ends. A failure here
 * means the library is broken or out of memory; going on with a wrong hash would be worse than
 * stopping, so it is an invariant.
 */
#include "storage/hash.h"

#include "core/invariant.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

struct hash_stream {
    EVP_MD_CTX *context;
};

static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void sha256_fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    invariant(sha256 != NULL);
    invariant_values(EVP_MD_get_size(sha256) == HASH_SIZE, EVP_MD_get_size(sha256), HASH_SIZE);
}

struct hash_stream *hash_stream_create(void)
{
    invariant(pthread_once(&sha256_once, sha256_fetch) == 0);
    struct hash_stream *stream = malloc(sizeof *stream);
    invariant(stream != NULL);
    stream->context = EVP_MD_CTX_new();
    invariant(stream->context != NULL);
    invariant(EVP_DigestInit_ex2(stream->context, sha256, NULL) == 1);
    return stream;
}

void hash_stream_add(struct hash_stream *stream, const void *bytes, size_t size)
{
    invariant(EVP_DigestUpdate(stream->context, bytes, size) == 1);
}

void hash_stream_finish(struct hash_stream *stream, uint8_t out[HASH_SIZE])
{
    unsigned int size = 0;
    invariant(EVP_DigestFinal_ex(stream->context, out, &size) == 1);
    invariant_values(size == HASH_SIZE, size, HASH_SIZE);
    invariant(EVP_DigestInit_ex2(stream->context, sha256, NULL) == 1);
}

void hash_stream_destroy(struct hash_stream *stream)
{
    if (stream == NULL)
        return;
    EVP_MD_CTX_free(stream->context);
    free(stream);
}

void hash_parts(const struct hash_part *parts, size_t count, uint8_t out[HASH_SIZE])
{
    struct hash_stream *stream = hash_stream_create();
    for (size_t i = 0; i < count; i++)
        hash_stream_add(stream, parts[i].bytes, parts[i].size);
    hash_stream_finish(stream, out);
    hash_stream_destroy(stream);
}
