/*
 * The configuration of a node: one YAML file, read once at start. Every key, its range and its
 * default stand in one table in config.c and in docs/operations-node.md.
 */
#ifndef TALLY_SERVER_CONFIG_H
#define TALLY_SERVER_CONFIG_H

#include "core/status.h"
#include "server/event.h"
#include "server/grpc.h"

#include <stdbool.h>
#include <stdint.h>

#define CONFIG_PATH_SIZE     1024
#define CONFIG_FILE_SIZE_MAX (64 * 1024)

struct config_address {
    char host[64]; /* numeric IPv4 or IPv6 */
    uint16_t port; /* 0 = any free one */
};

struct config {
    /* node */
    char directory[CONFIG_PATH_SIZE];
    char user[64]; /* "" = stay who we are */
    bool allow_root;
    /* listen */
    struct config_address grpc, ops;
    /* peer, cluster */
    struct config_address peer; /* host "" = none: a cluster of one that cannot grow */
    char peer_uri_prefix[256];  /* a peer's certificate names it by this and its node id */
    uint32_t election_ms, heartbeat_ms;
    uint64_t log_tail_bytes; /* kept in memory for members that are a little behind */
    /* tls; paths absolute or below the configuration file's directory */
    char certificate[CONFIG_PATH_SIZE], key[CONFIG_PATH_SIZE], ca[CONFIG_PATH_SIZE];
    char crl[CONFIG_PATH_SIZE]; /* "" = none */
    /* limits */
    struct grpc_limits grpc_limits;
    uint32_t requests_per_principal; /* in flight, where the principal's row says 0 */
    uint32_t requests_max;           /* in flight, all principals */
    uint64_t request_bytes_max;
    uint32_t entries_in_flight;
    uint32_t read_wait_ms; /* longest wait for min_index of a call without deadline */
    uint32_t drain_ms;     /* clients' time to finish after a stop was asked for */
    /* checkpoint */
    uint32_t checkpoint_transfers;
    uint64_t checkpoint_interval_ms, bloom_bytes, map_size_bytes;
    /* journal, disk, log */
    uint64_t segment_bytes, release_bytes;
    uint64_t watermark_bytes;
    enum log_level log_level;
};

struct config_error {
    char text[768]; /* FILE:LINE: key: what is wrong and what is allowed */
};

/* Reads and checks `file`. STATUS_OK with every field set; STATUS_NOT_FOUND, STATUS_PERMISSION or
 * STATUS_IO when it cannot be read; STATUS_INVALID when its content is refused. */
enum status config_load(const char *file, struct config *out_config,
                        struct config_error *out_error);

/* What only the machine can say: certificate, key, CA and CRL are readable files and no stranger
 * may read the key. STATUS_INVALID, STATUS_NOT_FOUND or STATUS_PERMISSION. */
enum status config_check_files(const struct config *config, struct config_error *out_error);

/* With peer.listen: the node's certificate is the one that its peers expect of node `node_id`, the
 * URI peer.uri_prefix and the number behind it. STATUS_OK, or STATUS_INVALID in words. */
enum status config_check_identity(const struct config *config, uint64_t node_id,
                                  struct config_error *out_error);

/* "host:port" or "[v6]:port" into *out; false when it is neither. */
bool config_parse_address(const char *text, struct config_address *out);
/* Decimal digits, for sizes optionally followed by KiB, MiB, GiB or TiB; false when it is no such
 * number, or above 64 bits. */
bool config_parse_number(const char *text, bool is_size, uint64_t *out);

#endif
