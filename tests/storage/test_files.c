/* struct files on a real directory, and what is built on the table alone. */
#include "storage/files.h"
#include "storage/hash.h"
#include "storage/reserve.h"
#include "tests/lib/files_memory.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];
static struct files files;

static void setup(void)
{
    (void)snprintf(path, sizeof path, "/tmp/tally_files_XXXXXX");
    cr_assert_not_null(mkdtemp(path));
    cr_assert_eq(files_posix_open(path, &files), STATUS_OK);
}

static bool remove_each(void *argument, const char *name)
{
    (void)argument;
    return files.remove(files.context, name) == STATUS_OK;
}

static void teardown(void)
{
    cr_assert_eq(files.list(files.context, remove_each, NULL), STATUS_OK);
    files_posix_close(&files);
    cr_assert_eq(rmdir(path), 0);
}

TestSuite(files, .init = setup, .fini = teardown, .timeout = 30);

/* Create, write, sync, reopen, read; sizes; names that exist or do not. */
Test(files, bytes_written_are_read_back)
{
    struct file *file;
    cr_assert_eq(files.open(files.context, "a", FILE_READ, &file), STATUS_NOT_FOUND);
    cr_assert_eq(files.open(files.context, "a", FILE_CREATE, &file), STATUS_OK);
    cr_assert_eq(files.write(files.context, file, "hello", 5, 3), STATUS_OK);
    cr_assert_eq(files.sync(files.context, file), STATUS_OK);
    uint64_t size;
    cr_assert_eq(files.size(files.context, file, &size), STATUS_OK);
    cr_assert_eq(size, 8);
    files.close(files.context, file);
    cr_assert_eq(files.open(files.context, "a", FILE_CREATE, &file), STATUS_EXISTS);
    cr_assert_eq(files.open(files.context, "a", FILE_READ, &file), STATUS_OK);
    char buffer[8];
    cr_assert_eq(files.read(files.context, file, buffer, 8, 0), STATUS_OK);
    cr_assert_eq(memcmp(buffer, "\0\0\0hello", 8), 0);
    cr_assert_eq(files.read(files.context, file, buffer, 8, 1), STATUS_CORRUPT, "past the end");
    cr_assert_eq(files.write(files.context, file, "x", 1, 0), STATUS_IO, "opened for reading");
    files.close(files.context, file);
    char full[128];
    (void)snprintf(full, sizeof full, "%s/a", path);
    struct stat stat_of;
    cr_assert_eq(stat(full, &stat_of), 0);
    cr_assert_eq(stat_of.st_mode & 0777, 0600);
}

Test(files, allocation_extends_and_truncation_cuts)
{
    struct file *file;
    uint64_t size;
    cr_assert_eq(files.open(files.context, "a", FILE_CREATE, &file), STATUS_OK);
    cr_assert_eq(files.allocate(files.context, file, 100000), STATUS_OK);
    cr_assert_eq(files.allocate(files.context, file, 50000), STATUS_OK);
    cr_assert_eq(files.size(files.context, file, &size), STATUS_OK);
    cr_assert_eq(size, 100000);
    cr_assert_eq(files.truncate(files.context, file, 10), STATUS_OK);
    cr_assert_eq(files.size(files.context, file, &size), STATUS_OK);
    cr_assert_eq(size, 10);
    files.close(files.context, file);
}

/* More than any disk has: an error, and the file is as it was. */
Test(files, an_allocation_without_room_leaves_the_file_alone)
{
    struct file *file;
    uint64_t size;
    cr_assert_eq(files.open(files.context, "a", FILE_CREATE, &file), STATUS_OK);
    cr_assert_eq(files.write(files.context, file, "12345", 5, 0), STATUS_OK);
    uint64_t room;
    cr_assert_eq(files.free_space(files.context, &room), STATUS_OK);
    cr_assert(room > 0);
    cr_assert_neq(files.allocate(files.context, file, 1ull << 46), STATUS_OK);
    cr_assert_eq(files.size(files.context, file, &size), STATUS_OK);
    cr_assert_eq(size, 5);
    files.close(files.context, file);
}

Test(files, a_lock_is_held_once)
{
    struct file *lock;
    struct file *second;
    cr_assert_eq(files.lock(files.context, "lock", &lock), STATUS_OK);
    cr_assert_eq(files.lock(files.context, "lock", &second), STATUS_LOCKED);
    files.close(files.context, lock);
    cr_assert_eq(files.lock(files.context, "lock", &lock), STATUS_OK);
    files.close(files.context, lock);
}

static bool note_name(void *argument, const char *name)
{
    char *names = argument;
    strcat(names, name);
    return true;
}

Test(files, names_are_renamed_listed_and_removed)
{
    struct file *file;
    cr_assert_eq(files.open(files.context, "a", FILE_CREATE, &file), STATUS_OK);
    files.close(files.context, file);
    cr_assert_eq(files.rename(files.context, "a", "b"), STATUS_OK);
    cr_assert_eq(files.rename(files.context, "a", "c"), STATUS_NOT_FOUND);
    char names[64] = "";
    cr_assert_eq(files.list(files.context, note_name, names), STATUS_OK);
    cr_assert_str_eq(names, "b");
    cr_assert_eq(files.sync_directory(files.context), STATUS_OK);
    cr_assert_eq(files.remove(files.context, "b"), STATUS_OK);
    cr_assert_eq(files.remove(files.context, "b"), STATUS_NOT_FOUND);
}

Test(files, a_missing_directory_and_a_file_are_no_directory)
{
    struct files other;
    cr_assert_eq(files_posix_open("/nonexistent/x", &other), STATUS_NOT_FOUND);
    cr_assert_eq(files_posix_open("/etc/passwd", &other), STATUS_NOT_FOUND);
}

/* Every call fails once, or is the last before the power goes: old or new contents, whole. */
Test(files, replacing_is_all_or_nothing)
{
    for (int power = 0; power < 2; power++) {
        for (uint64_t n = 1;; n++) {
            struct files_memory *memory = files_memory_create(n);
            const struct files *table = files_memory_table(memory);
            cr_assert_eq(files_replace(table, "x", "old contents", 12), STATUS_OK);
            if (power)
                files_memory_halt(memory, FILES_CALL_CHANGES, n, -1);
            else
                files_memory_fail(memory, FILES_CALL_CHANGES, n, STATUS_IO);
            const enum status status = files_replace(table, "x", "new", 3);
            const bool struck = files_memory_failed(memory);
            if (power)
                files_memory_power_loss(memory);
            else
                files_memory_restart(memory);
            uint64_t size;
            const uint8_t *bytes = files_memory_bytes(memory, "x", &size);
            cr_assert_not_null(bytes);
            const bool is_new = size == 3 && memcmp(bytes, "new", 3) == 0;
            const bool is_old = size == 12 && memcmp(bytes, "old contents", 12) == 0;
            cr_assert(is_new || (is_old && status != STATUS_OK), "call %lu", (unsigned long)n);
            cr_assert_eq(files_replace(table, "x", "again", 5), STATUS_OK,
                         "leftovers do not matter");
            files_memory_destroy(memory);
            if (!struck)
                break;
        }
    }
}

Test(files, the_reserve_takes_room_and_gives_it_back)
{
    struct files_memory *memory = files_memory_create(1);
    const struct files *table = files_memory_table(memory);
    files_memory_set_capacity(memory, 1000000);
    bool low;
    uint64_t room;
    cr_assert_eq(reserve_ensure(table, 600000), STATUS_OK);
    cr_assert_eq(reserve_ensure(table, 600000), STATUS_OK);
    cr_assert_eq(reserve_check(table, 400001, &low, &room), STATUS_OK);
    cr_assert(low);
    cr_assert_eq(room, 400000);
    cr_assert_eq(reserve_check(table, 400000, &low, &room), STATUS_OK);
    cr_assert_not(low);
    cr_assert_eq(reserve_ensure(table, 1000001), STATUS_DISK_FULL);
    cr_assert_eq(reserve_ensure(table, 100000), STATUS_OK, "a smaller one gives the rest back");
    cr_assert_eq(table->free_space(table->context, &room), STATUS_OK);
    cr_assert_eq(room, 900000);
    cr_assert_eq(reserve_release(table), STATUS_OK);
    cr_assert_eq(reserve_release(table), STATUS_OK);
    cr_assert_eq(table->free_space(table->context, &room), STATUS_OK);
    cr_assert_eq(room, 1000000);
    files_memory_destroy(memory);
}

/* FIPS 180-2, "abc"; in parts, in a stream that is used twice. */
Test(files, sha256_is_sha256)
{
    static const uint8_t expected[HASH_SIZE] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                                0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                                0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                                0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    uint8_t out[HASH_SIZE];
    const struct hash_part parts[3] = {{"a", 1}, {"", 0}, {"bc", 2}};
    hash_parts(parts, 3, out);
    cr_assert_eq(memcmp(out, expected, HASH_SIZE), 0);
    struct hash_stream *stream = hash_stream_create();
    for (int i = 0; i < 2; i++) {
        hash_stream_add(stream, "ab", 2);
        hash_stream_add(stream, "c", 1);
        hash_stream_finish(stream, out);
        cr_assert_eq(memcmp(out, expected, HASH_SIZE), 0);
    }
    hash_stream_destroy(stream);
}
