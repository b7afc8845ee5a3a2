/*
 * Names to addresses, shared by the client's channel and the peers. The answer is copied into plain
 * memory of a fixed size, so that nobody keeps libc's list and a name with a thousand addresses
 * costs no more than sixteen.
 */
#include "net/lookup.h"

#include <netdb.h>
#include <stdio.h>

#include <string.h>

enum status lookup_split(const char *text, char out_host[LOOKUP_HOST_SIZE_MAX + 1],
                         uint16_t *out_port, struct net_error *out_error)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    const char *host_end = colon;
    if (!colon)
        goto refused;
    if (*host == '[') {
        host++;
        host_end = colon - 1;
        if (colon - text < 3 || *host_end != ']')
            goto refused;
    } else if (memchr(text, ':', (size_t)(colon - text))) {
        goto refused; /* an IPv6 address without brackets: which colon is the port's? */
    }
    size_t size = (size_t)(host_end - host);
    unsigned port = 0;
    const char *digit = colon + 1;
    for (; *digit >= '0' && *digit <= '9' && port <= UINT16_MAX; digit++)
        port = port * 10 + (unsigned)(*digit - '0');
    if (size == 0 || size > LOOKUP_HOST_SIZE_MAX || *digit != '\0' || port == 0 ||
        port > UINT16_MAX)
        goto refused;
    memcpy(out_host, host, size);
    out_host[size] = '\0';
    *out_port = (uint16_t)port;
    return STATUS_OK;

refused:
    net_error_set(out_error, "address %.140s: expected \"host:port\" or \"[v6 address]:port\"",
                  text);
    return STATUS_INVALID;
}

bool lookup_literal(const char *host, uint16_t port, struct lookup_addresses *out)
{
    struct sockaddr_storage address;
    memset(&address, 0, sizeof address);
    void *any = &address;
    if (uv_ip4_addr(host, port, any) != 0 && uv_ip6_addr(host, port, any) != 0)
        return false;
    out->count = 1;
    out->next = 0;
    out->at[0] = address;
    return true;
}

const struct sockaddr *lookup_next(struct lookup_addresses *addresses)
{
    if (addresses->next >= addresses->count)
        return NULL;
    const void *address = &addresses->at[addresses->next++];
    return address;
}

static void getaddrinfo_cb(uv_getaddrinfo_t *request, int result, struct addrinfo *list)
{
    struct lookup *lookup = (struct lookup *)((char *)request - offsetof(struct lookup, request));
    struct lookup_addresses addresses = {.count = 0};
    for (const struct addrinfo *a = list; a && addresses.count < LOOKUP_ADDRESSES_MAX;
         a = a->ai_next) {
        if (a->ai_addrlen > sizeof addresses.at[0])
            continue;
        memcpy(&addresses.at[addresses.count++], a->ai_addr, a->ai_addrlen);
    }
    uv_freeaddrinfo(list); /* NULL is allowed */
    if (result == 0 && addresses.count > 0) {
        lookup->cb(lookup, &addresses, NULL);
        return;
    }
    struct net_error why;
    net_error_set(&why, "host name %.100s: %s", lookup->host,
                  result != 0 ? uv_strerror(result) : "it has no address");
    lookup->cb(lookup, NULL, why.text);
}

enum status lookup_start(struct lookup *lookup, uv_loop_t *loop, const char *host, uint16_t port,
                         lookup_cb cb, struct net_error *out_error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char service[8];
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    size_t size = strlen(host);
    if (size > LOOKUP_HOST_SIZE_MAX) {
        net_error_set(out_error, "host name %.100s...: longer than %d bytes", host,
                      LOOKUP_HOST_SIZE_MAX);
        return STATUS_UNAVAILABLE;
    }
    memcpy(lookup->host, host, size + 1);
    lookup->cb = cb;
    int result =
        uv_getaddrinfo(loop, &lookup->request, getaddrinfo_cb, lookup->host, service, &hints);
    if (result == 0)
        return STATUS_OK;
    net_error_set(out_error, "host name %.100s: %s", host, uv_strerror(result));
    return STATUS_UNAVAILABLE;
}

void lookup_cancel(struct lookup *lookup)
{
    (void)uv_cancel((uv_req_t *)&lookup->request); /* refused when it runs: its end comes */
}
