/*
 * Server reflection, v1 and v1alpha: stock clients find services and messages without having our
 * .proto files. Answers come from the descriptor set embedded at build time. Any certificate that
 * the CA signed may ask: the contract is public.
 */
#ifndef TALLY_SERVER_REFLECTION_H
#define TALLY_SERVER_REFLECTION_H

#include "server/grpc.h"

#include <stddef.h>
#include <stdint.h>

struct reflection;

/* `descriptors` is a serialized google.protobuf.FileDescriptorSet, borrowed for ever.
 * STATUS_INVALID when it is none, STATUS_NO_MEMORY. */
enum status reflection_create(const uint8_t *descriptors, size_t size,
                              struct reflection **out_reflection);
void reflection_destroy(struct reflection *reflection);
void reflection_register(struct reflection *reflection, struct grpc_server *server);

/* One ServerReflectionRequest to one ServerReflectionResponse (equal bytes in both versions), in
 * memory that the caller frees. NULL with *out_status INVALID (not a request) or NO_MEMORY. */
uint8_t *reflection_answer(const struct reflection *reflection, const uint8_t *message, size_t size,
                           size_t *out_size, enum status *out_status);

#endif
