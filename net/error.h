/* What went wrong, for people: names the file, address or peer and says what to do next. Written
 * only when a function returns something other than STATUS_OK; always zero-terminated. */
#ifndef TALLY_NET_ERROR_H
#define TALLY_NET_ERROR_H

struct net_error {
    char text[256];
};

__attribute__((format(printf, 2, 3))) void net_error_set(struct net_error *error,
                                                         const char *format, ...);

#endif
