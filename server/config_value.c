/*
 * Values of the configuration that need reading: addresses and numbers. Exact: what is not wholly
 * an address or a number is none, since half of one would be a limit or a port that nobody meant.
 */
#include "server/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

bool config_parse_address(const char *text, struct config_address *out)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return false;
    const char *host = text;
    size_t host_size = (size_t)(colon - text);
    bool bracketed = host[0] == '[' && host[host_size - 1] == ']';
    if (bracketed) {
        host++;
        host_size -= 2;
    }
    struct config_address address = {.port = 0};
    if (host_size == 0 || host_size >= sizeof address.host)
        return false;
    memcpy(address.host, host, host_size);
    address.host[host_size] = '\0';
    unsigned char binary[sizeof(struct in6_addr)];
    if (inet_pton(bracketed ? AF_INET6 : AF_INET, address.host, binary) != 1)
        return false;
    const char *digits = colon + 1;
    if (!*digits || strlen(digits) > 5 || strspn(digits, "0123456789") != strlen(digits))
        return false;
    unsigned long port = strtoul(digits, NULL, 10);
    if (port > UINT16_MAX)
        return false;
    address.port = (uint16_t)port;
    *out = address;
    return true;
}

bool config_parse_number(const char *text, bool is_size, uint64_t *out)
{
    if (*text < '0' || *text > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno)
        return false;
    uint64_t unit = 1;
    if (is_size && *end) {
        while (*end == ' ')
            end++;
        if (strcmp(end, "KiB") == 0)
            unit = KIB;
        else if (strcmp(end, "MiB") == 0)
            unit = MIB;
        else if (strcmp(end, "GiB") == 0)
            unit = GIB;
        else if (strcmp(end, "TiB") == 0)
            unit = TIB;
        else
            return false;
    } else if (*end) {
        return false;
    }
    return !__builtin_mul_overflow((uint64_t)value, unit, out);
}
