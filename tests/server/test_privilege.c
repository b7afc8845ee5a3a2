/* Privileges, tried in children: what is dropped cannot come back. */
#include "server/privilege.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `body` in a child; its return value is the exit status, 0 = fine. */
static int in_child(int (*body)(void))
{
    int status;
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0)
        _exit(body());
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int becomes_nobody(void)
{
    struct privilege_error error;
    bool changed = false;
    if (privilege_drop("nobody", false, &changed, &error) != STATUS_OK)
        return 1;
    if (!changed)
        return 2;
    struct passwd *nobody = getpwnam("nobody");
    uid_t real, effective, saved;
    if (getresuid(&real, &effective, &saved) != 0 || real != nobody->pw_uid ||
        effective != nobody->pw_uid || saved != nobody->pw_uid)
        return 3;
    if (getegid() != nobody->pw_gid)
        return 4;
    if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0)
        return 5;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 6;
    if (open("/etc/shadow", O_RDONLY) >= 0)
        return 7;
    gid_t groups[64];
    int count = getgroups(64, groups);
    for (int i = 0; i < count; i++)
        if (groups[i] == 0)
            return 8;
    if (umask(0) != 077)
        return 9;
    char text[4096] = "";
    int fd = open("/proc/self/status", O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) {
        const char *effective_set = strstr(text, "CapEff:\t"),
                   *bounding = strstr(text, "CapBnd:\t");
        if (effective_set && strncmp(effective_set + 8, "0000000000000000", 16) != 0)
            return 10;
        if (bounding && strncmp(bounding + 8, "0000000000000000", 16) != 0)
            return 11;
    }
    return 0;
}

static int refuses_root(void)
{
    struct privilege_error error;
    bool changed;
    if (privilege_drop("", false, &changed, &error) != STATUS_PERMISSION)
        return 1;
    if (!strstr(error.text, "node.user") || !strstr(error.text, "node.allow_root"))
        return 2;
    return privilege_drop("root", false, &changed, &error) == STATUS_PERMISSION ? 0 : 3;
}

static int stays_root(void)
{
    struct privilege_error error;
    bool changed;
    if (privilege_drop("", true, &changed, &error) != STATUS_OK || changed)
        return 1;
    return geteuid() == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 2;
}

static int unknown_user(void)
{
    struct privilege_error error;
    bool changed;
    if (privilege_drop("no-such-user", true, &changed, &error) != STATUS_INVALID)
        return 1;
    return strstr(error.text, "no-such-user") ? 0 : 2;
}

/* Started as an ordinary user: nothing to change, and no other user can be had. */
static int ordinary_user(void)
{
    struct privilege_error error;
    bool changed;
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return 1;
    if (privilege_drop("root", true, &changed, &error) != STATUS_PERMISSION)
        return 2;
    if (privilege_drop("", false, &changed, &error) != STATUS_OK || changed)
        return 3;
    return 0;
}

Test(privilege, root_becomes_the_user_for_good)
{
    if (geteuid() != 0)
        cr_skip_test("only root can drop");
    cr_expect_eq(in_child(becomes_nobody), 0);
}

Test(privilege, root_without_a_user_is_refused)
{
    if (geteuid() != 0)
        cr_skip_test("only root is refused");
    cr_expect_eq(in_child(refuses_root), 0);
}

Test(privilege, root_may_stay_where_it_is_allowed)
{
    if (geteuid() != 0)
        cr_skip_test("only root can stay root");
    cr_expect_eq(in_child(stays_root), 0);
}

Test(privilege, unknown_user_is_named)
{
    cr_expect_eq(in_child(unknown_user), 0);
}

Test(privilege, ordinary_user_stays_itself)
{
    cr_expect_eq(in_child(ordinary_user), 0);
}
