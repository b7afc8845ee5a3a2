/* The identity file: what is written is read; anything else is refused. */
#include "replication/directory.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(directory, .timeout = 30);

static char root[64];
static struct files files;

static void set_up(void)
{
    strcpy(root, "/tmp/tally-directory-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    cr_assert_eq(files_posix_open(root, &files), STATUS_OK);
}

static void tear_down(void)
{
    files_posix_close(&files);
    cr_assert_eq(directory_remove(root), STATUS_OK);
}

static struct identity sample(void)
{
    struct identity identity = {
        .node_id = INT64_MAX,
        .kind = MEMBER_WITNESS,
        .site = "berlin-2",
        .address = "[2001:db8::1]:7402",
        .cluster_epoch = 1,
        .reserve_bytes = 268435456,
    };
    for (uint8_t i = 0; i < 16; i++) {
        identity.cluster_id[i] = (uint8_t)(i * 17);
        identity.incarnation[i] = (uint8_t)(255 - i);
    }
    return identity;
}

static size_t read_text(char *out, size_t capacity)
{
    struct file *file;
    uint64_t size;
    cr_assert_eq(files.open(files.context, DIRECTORY_IDENTITY, FILE_READ, &file), STATUS_OK);
    cr_assert_eq(files.size(files.context, file, &size), STATUS_OK);
    cr_assert_lt(size, capacity);
    cr_assert_eq(files.read(files.context, file, out, (size_t)size, 0), STATUS_OK);
    files.close(files.context, file);
    return (size_t)size;
}

Test(directory, an_identity_is_read_as_it_was_written, .init = set_up, .fini = tear_down)
{
    struct identity written = sample();
    struct identity read = {0};
    cr_assert_eq(identity_read(&files, &read), STATUS_NOT_FOUND);
    cr_assert_eq(identity_write(&files, &written), STATUS_OK);
    cr_assert_eq(identity_read(&files, &read), STATUS_OK);
    cr_assert_arr_eq(read.cluster_id, written.cluster_id, 16);
    cr_assert_arr_eq(read.incarnation, written.incarnation, 16);
    cr_assert_eq(read.node_id, written.node_id);
    cr_assert_eq(read.cluster_epoch, written.cluster_epoch);
    cr_assert_eq(read.reserve_bytes, written.reserve_bytes);
    struct member member;
    identity_member(&read, &member);
    cr_assert_eq(member.node_id, written.node_id);
    cr_assert_eq(member.kind, MEMBER_WITNESS);
    cr_assert_str_eq(member.site, "berlin-2");
    cr_assert_str_eq(member.address, "[2001:db8::1]:7402");
    cr_assert_arr_eq(member.incarnation, written.incarnation, 16);
    char line[IDENTITY_MEMBER_LINE_SIZE];
    identity_member_line(&read, line);
    cr_assert_str_eq(line, "--node-id 9223372036854775807 --site berlin-2 --kind witness "
                           "--address [2001:db8::1]:7402 --incarnation "
                           "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0");
}

/* In place and not synced: thousands of these. */
static void overwrite(const char *text, size_t size)
{
    struct file *file;
    cr_assert_eq(files.open(files.context, DIRECTORY_IDENTITY, FILE_WRITE, &file), STATUS_OK);
    cr_assert_eq(files.write(files.context, file, text, size, 0), STATUS_OK);
    files.close(files.context, file);
}

static void shorten(size_t size)
{
    struct file *file;
    cr_assert_eq(files.open(files.context, DIRECTORY_IDENTITY, FILE_WRITE, &file), STATUS_OK);
    cr_assert_eq(files.truncate(files.context, file, size), STATUS_OK);
    files.close(files.context, file);
}

/* Every bit of the file flipped, and every length cut off: corrupt, or another version. */
Test(directory, any_damage_to_the_identity_is_found, .init = set_up, .fini = tear_down)
{
    struct identity identity = sample();
    cr_assert_eq(identity_write(&files, &identity), STATUS_OK);
    char good[2048];
    size_t size = read_text(good, sizeof good);
    for (size_t bit = 0; bit < size * 8; bit++) {
        char bad[2048];
        memcpy(bad, good, size);
        bad[bit / 8] = (char)(bad[bit / 8] ^ (1 << bit % 8));
        overwrite(bad, size);
        enum status status = identity_read(&files, &identity);
        cr_assert(status == STATUS_CORRUPT || status == STATUS_VERSION, "bit %zu: %d", bit, status);
    }
    overwrite(good, size);
    for (size_t shorter = size - 1; shorter > 0; shorter--) {
        shorten(shorter);
        cr_assert_eq(identity_read(&files, &identity), STATUS_CORRUPT, "%zu bytes", shorter);
    }
    shorten(0);
    cr_assert_eq(identity_read(&files, &identity), STATUS_CORRUPT);
    good[size] = '\n';
    overwrite(good, size + 1);
    cr_assert_eq(identity_read(&files, &identity), STATUS_CORRUPT);
    char large[1500];
    memset(large, 'x', sizeof large);
    overwrite(large, sizeof large);
    cr_assert_eq(identity_read(&files, &identity), STATUS_CORRUPT);
    shorten(size);
    overwrite(good, size);
    cr_assert_eq(identity_read(&files, &identity), STATUS_OK);
}

Test(directory, the_generation_in_use_is_read_as_it_was_written, .init = set_up, .fini = tear_down)
{
    struct generation generation = {0};
    cr_assert_eq(current_read(&files, &generation), STATUS_NOT_FOUND);
    cr_assert_eq(current_write(&files, &(struct generation){1, 1, 0, 0}), STATUS_OK);
    cr_assert_eq(current_write(&files, &(struct generation){INT64_MAX, 3, 41, 9}), STATUS_OK);
    cr_assert_eq(current_read(&files, &generation), STATUS_OK);
    cr_assert_eq(generation.journal, INT64_MAX);
    cr_assert_eq(generation.store, 3);
    cr_assert_eq(generation.committed_index, 41);
    cr_assert_eq(generation.committed_term, 9);
}

/* One bit of the file flipped at a time: which generation is in use is never guessed. */
Test(directory, any_damage_to_the_name_of_the_generation_is_found, .init = set_up,
     .fini = tear_down)
{
    struct generation generation = {0};
    struct file *file;
    uint64_t size;
    char good[512], bad[512];
    cr_assert_eq(current_write(&files, &(struct generation){42, 41, 1000, 7}), STATUS_OK);
    cr_assert_eq(files.open(files.context, DIRECTORY_CURRENT, FILE_WRITE, &file), STATUS_OK);
    cr_assert_eq(files.size(files.context, file, &size), STATUS_OK);
    cr_assert_lt(size, sizeof good);
    cr_assert_eq(files.read(files.context, file, good, (size_t)size, 0), STATUS_OK);
    for (size_t bit = 0; bit < size * 8; bit++) {
        memcpy(bad, good, (size_t)size);
        bad[bit / 8] = (char)(bad[bit / 8] ^ (1 << bit % 8));
        cr_assert_eq(files.write(files.context, file, bad, (size_t)size, 0), STATUS_OK);
        enum status status = current_read(&files, &generation);
        cr_assert(status == STATUS_CORRUPT || status == STATUS_VERSION, "bit %zu: %d", bit, status);
    }
    files.close(files.context, file);
}

Test(directory, names_of_generations_are_recognized)
{
    char name[DIRECTORY_NAME_MAX];
    uint64_t generation = 0;
    directory_generation_name(DIRECTORY_JOURNAL, 7, name);
    cr_assert_str_eq(name, "journal-7");
    cr_assert(directory_generation_parse(DIRECTORY_JOURNAL, name, &generation));
    cr_assert_eq(generation, 7);
    static const char *const others[] = {
        "journal",    "journal-",    "journal-07",
        "journal-7x", "store-7",     "journal--7",
        "journal-7/", "journal-0x7", "journal-99999999999999999999"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        cr_assert_not(directory_generation_parse(DIRECTORY_JOURNAL, others[i], &generation), "%s",
                      others[i]);
}

Test(directory, the_lock_says_who_holds_it, .init = set_up, .fini = tear_down)
{
    struct file *lock = NULL, *second = NULL;
    uint64_t pid = 0;
    cr_assert_eq(directory_lock(&files, &lock, &pid), STATUS_OK);
    cr_assert_eq(directory_lock(&files, &second, &pid), STATUS_LOCKED);
    cr_assert_eq(pid, (uint64_t)getpid());
    files.close(files.context, lock);
    cr_assert_eq(directory_lock(&files, &lock, &pid), STATUS_OK);
    files.close(files.context, lock);
}

Test(directory, directory_calls_tell_their_reasons)
{
    char path[DIRECTORY_PATH_MAX];
    static char endless[DIRECTORY_PATH_MAX];
    memset(endless, 'a', sizeof endless - 1);
    cr_assert_eq(directory_join("/a", "b", path), STATUS_OK);
    cr_assert_str_eq(path, "/a/b");
    cr_assert_eq(directory_join(endless, "b", path), STATUS_INVALID);
    cr_assert_eq(directory_make("/nonexistent-tally/x"), STATUS_NOT_FOUND);
    cr_assert_eq(directory_make("/tmp"), STATUS_EXISTS);
    cr_assert_eq(directory_exists("/tmp"), STATUS_OK);
    cr_assert_eq(directory_exists("/nonexistent-tally"), STATUS_NOT_FOUND);
    cr_assert_eq(directory_exists("/etc/passwd"), STATUS_INVALID);
    cr_assert_eq(directory_sync_parent("/tmp/"), STATUS_OK);
    cr_assert_eq(directory_sync_parent("relative"), STATUS_OK);
    cr_assert_eq(directory_sync_parent("/nonexistent-tally/a/b"), STATUS_NOT_FOUND);
}
