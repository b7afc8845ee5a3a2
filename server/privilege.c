/*
 * Privileges. Nothing here needs root: ports are above 1024, and the key must stay readable for the
 * node's user anyway, or SIGHUP could never load the next certificate. So the drop comes first,
 * before keys and data are touched, and whatever runs as root is this file and the reading of the
 * configuration. Under systemd (User=tally) there is nothing to change and the rest still applies.
 *
 * Order as root: bounding set, groups, group, user; each is checked, since a drop that half works
 * is worse than none. setuid from root clears the capability sets; they are cleared once more
 * explicitly for a process that was given some without being root. With allow_root the process
 * keeps what root can do here (files of other users), and loses only what exec could add.
 */
#include "server/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static enum status
fail(struct privilege_error *error, enum status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return status;
}

static bool find_user(const char *name, uid_t *out_user, gid_t *out_group)
{
    struct passwd *entry = getpwnam(name);
    if (!entry && *name >= '0' && *name <= '9') {
        char *end;
        unsigned long number = strtoul(name, &end, 10);
        if (*end == '\0' && number > 0 && number < UINT32_MAX)
            entry = getpwuid((uid_t)number);
    }
    if (!entry)
        return false;
    *out_user = entry->pw_uid;
    *out_group = entry->pw_gid;
    return true;
}

static enum status become(const char *name, uid_t user, gid_t group, struct privilege_error *error)
{
    if (initgroups(name, group) != 0 && setgroups(1, &group) != 0)
        return fail(error, STATUS_PERMISSION, "node.user: cannot set the groups of %.60s: %s", name,
                    strerror(errno));
    if (setresgid(group, group, group) != 0 || setresuid(user, user, user) != 0)
        return fail(error, STATUS_PERMISSION, "node.user: cannot become %.60s: %s", name,
                    strerror(errno));
    if (setuid(0) == 0 || geteuid() != user || getegid() != group)
        return fail(error, STATUS_PERMISSION,
                    "node.user: became %.60s, but the way back to root is still open", name);
    return STATUS_OK;
}

/* Capabilities that no later exec could bring back either. Fails harmlessly without CAP_SETPCAP. */
static void clear_bounding_set(void)
{
    for (unsigned long capability = 0; capability <= CAP_LAST_CAP; capability++)
        (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static enum status clear_capabilities(struct privilege_error *error)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3], held[_LINUX_CAPABILITY_U32S_3];
    memset(none, 0, sizeof none);
    memset(held, 0xff, sizeof held);
    /* A service manager's filter may forbid capset to a process that has nothing to give away. */
    if (syscall(SYS_capget, &header, held) == 0 && memcmp(held, none, sizeof none) == 0)
        return STATUS_OK;
    if (syscall(SYS_capset, &header, none) != 0)
        return fail(error, STATUS_PERMISSION, "cannot drop capabilities: %s", strerror(errno));
    return STATUS_OK;
}

static enum status close_doors(struct privilege_error *error)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail(error, STATUS_UNSUPPORTED, "cannot forbid new privileges: %s", strerror(errno));
        /* A leak checker has to trace its process; a sanitizer build is for development. */
#ifndef __SANITIZE_ADDRESS__
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail(error, STATUS_UNSUPPORTED, "cannot forbid core dumps: %s", strerror(errno));
#endif
    return STATUS_OK;
}

enum status privilege_drop(const char *user, bool allow_root, bool *out_changed,
                           struct privilege_error *out_error)
{
    uid_t wanted_user = 0;
    gid_t wanted_group = 0;
    *out_changed = false;
    out_error->text[0] = '\0';
    umask(077);
    if (*user && strcmp(user, "root") == 0 && !allow_root)
        return fail(out_error, STATUS_PERMISSION,
                    "node.user: root is no user to drop to; name another, or set node.allow_root");
    if (*user && !find_user(user, &wanted_user, &wanted_group))
        return fail(out_error, STATUS_INVALID,
                    "node.user: there is no user %.60s; create it or name another", user);
    if (geteuid() == 0) {
        if (!*user && !allow_root)
            return fail(out_error, STATUS_PERMISSION,
                        "started as root without node.user: name the user to run as, or set "
                        "node.allow_root: true where root is all there is (a container)");
        clear_bounding_set();
        if (*user && wanted_user != 0) {
            enum status status = become(user, wanted_user, wanted_group, out_error);
            if (status != STATUS_OK)
                return status;
            *out_changed = true;
        }
    } else if (*user && wanted_user != geteuid()) {
        return fail(out_error, STATUS_PERMISSION,
                    "node.user: %.60s is asked for, but the process was started as user %u and "
                    "cannot change; start it as root or as that user",
                    user, (unsigned)geteuid());
    }
    if (geteuid() != 0) {
        enum status status = clear_capabilities(out_error);
        if (status != STATUS_OK)
            return status;
    }
    return close_doors(out_error);
}
