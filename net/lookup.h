/*
 * From "host:port" to socket addresses. An address literal needs no lookup; a name goes to
 * getaddrinfo on a thread of libuv, which cannot be stopped once it runs. One thread: the loop's.
 */
#ifndef TALLY_NET_LOOKUP_H
#define TALLY_NET_LOOKUP_H

#include "core/status.h"
#include "net/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#define LOOKUP_ADDRESSES_MAX 16
#define LOOKUP_HOST_SIZE_MAX 253 /* bytes of a DNS name */

struct lookup_addresses {
    uint32_t count, next; /* next: the first that is not tried yet */
    struct sockaddr_storage at[LOOKUP_ADDRESSES_MAX];
};

/* "host:port", "10.0.0.7:7001", "[fd00::7]:7001"; port 1 to 65535. STATUS_INVALID with the reason.
 */
enum status lookup_split(const char *text, char out_host[LOOKUP_HOST_SIZE_MAX + 1],
                         uint16_t *out_port, struct net_error *out_error);

/* True when the host is an address: *out then holds just that. */
bool lookup_literal(const char *host, uint16_t port, struct lookup_addresses *out);

/* The first that is not tried yet, and it counts as tried; NULL = all are. */
const struct sockaddr *lookup_next(struct lookup_addresses *addresses);

struct lookup;
/* At least one address and `why` NULL, or addresses NULL and the reason. Both borrowed. */
typedef void (*lookup_cb)(struct lookup *lookup, const struct lookup_addresses *addresses,
                          const char *why);

/* Embedded by the caller, free again inside cb. */
struct lookup {
    uv_getaddrinfo_t request;
    lookup_cb cb;
    char host[LOOKUP_HOST_SIZE_MAX + 1];
};

/* STATUS_OK: cb fires exactly once, from the loop, after as long as the system's resolver takes.
 * STATUS_UNAVAILABLE with the reason: it does not. */
enum status lookup_start(struct lookup *lookup, uv_loop_t *loop, const char *host, uint16_t port,
                         lookup_cb cb, struct net_error *out_error);
/* Makes cb come sooner when the lookup has not begun to run. */
void lookup_cancel(struct lookup *lookup);

#endif
