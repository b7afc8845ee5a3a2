/* Every .proto of this folder as one serialized google.protobuf.FileDescriptorSet, imports
 * included: what server reflection answers from. Made at build time by embed.py. */
#ifndef TALLY_PROTO_DESCRIPTORS_H
#define TALLY_PROTO_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t proto_descriptors[];
extern const size_t proto_descriptors_size;

#endif
