/*
 * Fewer rights than the process was started with, for good, before any key or ledger file is
 * opened.
 */
#ifndef TALLY_SERVER_PRIVILEGE_H
#define TALLY_SERVER_PRIVILEGE_H

#include "core/status.h"

#include <stdbool.h>

struct privilege_error {
    char text[256];
};

/* As root: becomes `user` (name or number) with its groups; with an empty `user` STATUS_PERMISSION,
 * unless `allow_root`. As anybody else: `user` must be empty or that very user. In every case:
 * umask 077, no new privileges through exec, no capabilities, no core dumps or ptrace by others.
 * *out_changed tells whether the user changed. STATUS_INVALID for an unknown user. */
enum status privilege_drop(const char *user, bool allow_root, bool *out_changed,
                           struct privilege_error *out_error);

#endif
