/* What a repair changes in a configuration that somebody may have edited: two names, nothing else.
 */
#include "client/cli/cli.h"
#include "client/cli/node_files.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64], yaml[128], pki[128];

static void write_text(const char *base, const char *name, const char *text, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", base, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(chmod(path, mode), 0);
}

static const char *read_back(const char *base, const char *name)
{
    static char text[4096];
    char path[256];
    snprintf(path, sizeof path, "%s/%s", base, name);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    cr_assert_eq(fclose(file), 0);
    return text;
}

static void setup(void)
{
    char path[128];
    strcpy(directory, "/tmp/tally-files-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(yaml, sizeof yaml, "%s/tallyd.yaml", directory);
    snprintf(pki, sizeof pki, "%s/pki", directory);
    cr_assert_eq(mkdir(pki, 0700), 0);
    snprintf(path, sizeof path, "%s/my tls", directory);
    cr_assert_eq(mkdir(path, 0700), 0);
    write_text(pki, "node-12.pem", "new certificate\n", 0644);
    write_text(pki, "node-12.key", "new key\n", 0644);
    write_text(path, "node-2.pem", "old certificate\n", 0640);
    write_text(path, "node-2.key", "old key\n", 0600);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(node_files, .init = setup, .fini = teardown);

/* Comments and order stay; names that only look alike stay; quotes, spaces and relative paths are
 * understood; new files get the old ones' modes. The second time nothing is left to do. */
Test(node_files, certificate_and_key_change_and_nothing_else)
{
    static const char before[] = "# edited by hand: node-2.pem is ours\n"
                                 "journal: {segment_bytes: 8 MiB}\n"
                                 "tls:\n"
                                 "  certificate: \"my tls/node-2.pem\"\n"
                                 "  key: 'my tls/node-2.key'   # keep\n"
                                 "  ca: /x/node-22.pem\n"
                                 "  crl: /x/anode-2.pem.old\n";
    write_text(directory, "tallyd.yaml", before, 0644);
    cr_expect_eq(node_config_segment_bytes(yaml), 8u << 20);
    cr_expect_eq(node_config_check_certificate(yaml, NULL, 2, 12), EXIT_USAGE, "none beside it");
    cr_expect_str_eq(read_back(directory, "tallyd.yaml"), before);
    write_text(directory, "tallyd.yaml", before, 0600);
    cr_assert_eq(node_config_check_certificate(yaml, pki, 2, 12), EXIT_OK);
    cr_assert_eq(node_config_set_certificate(yaml, pki, 2, 12), EXIT_OK);
    static const char after[] = "# edited by hand: node-2.pem is ours\n"
                                "journal: {segment_bytes: 8 MiB}\n"
                                "tls:\n"
                                "  certificate: \"my tls/node-12.pem\"\n"
                                "  key: 'my tls/node-12.key'   # keep\n"
                                "  ca: /x/node-22.pem\n"
                                "  crl: /x/anode-2.pem.old\n";
    cr_expect_str_eq(read_back(directory, "tallyd.yaml"), after);
    cr_expect_str_eq(read_back(directory, "my tls/node-12.pem"), "new certificate\n");
    cr_expect_str_eq(read_back(directory, "my tls/node-12.key"), "new key\n");
    char path[256];
    struct stat about;
    snprintf(path, sizeof path, "%s/my tls/node-12.key", directory);
    cr_assert_eq(stat(path, &about), 0);
    cr_expect_eq(about.st_mode & 07777, 0600, "a key is as secret as the old one was");
    cr_assert_eq(stat(yaml, &about), 0);
    cr_expect_eq(about.st_mode & 07777, 0600);
    cr_expect_eq(node_config_check_certificate(yaml, NULL, 2, 12), EXIT_OK);
    cr_expect_eq(node_config_set_certificate(yaml, NULL, 2, 12), EXIT_OK);
    cr_expect_str_eq(read_back(directory, "tallyd.yaml"), after);
}

/* Somebody has other names for them: he is told, and nothing is touched. */
Test(node_files, other_names_are_left_to_the_operator)
{
    static const char text[] = "tls:\n  certificate: /etc/bank.pem\n  key: /etc/bank.key\n";
    write_text(directory, "tallyd.yaml", text, 0644);
    cr_expect_eq(node_config_check_certificate(yaml, pki, 2, 12), EXIT_USAGE);
    cr_expect_str_eq(read_back(directory, "tallyd.yaml"), text);
    cr_expect_eq(node_config_segment_bytes(yaml), 64u << 20);
}

Test(node_files, a_file_is_replaced_whole)
{
    write_text(directory, "repair", "old", 0644);
    char path[256];
    snprintf(path, sizeof path, "%s/repair", directory);
    cr_expect_eq(node_file_replace(path, "2 12\n", 0600), EXIT_OK);
    cr_expect_str_eq(read_back(directory, "repair"), "2 12\n");
    snprintf(path, sizeof path, "%s/none/repair", directory);
    cr_expect_eq(node_file_replace(path, "x", 0600), EXIT_LOCAL);
}
