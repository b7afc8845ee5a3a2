/* What is known of the members' journals: the table, and its file. */
#include "tests/replication/faulty_disk.h"

#include "replication/node/floor_file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(floors, .timeout = 60);

static struct floor floor_of(uint64_t id, uint8_t incarnation, uint64_t index, uint64_t term)
{
    struct floor floor = {.node_id = id, .index = index, .term = term};
    memset(floor.incarnation, incarnation, sizeof floor.incarnation);
    return floor;
}

static uint64_t index_of(const struct floors *floors, uint64_t id, uint8_t incarnation)
{
    uint8_t bytes[16];
    memset(bytes, incarnation, sizeof bytes);
    const struct floor *floor = floors_find(floors, id, bytes);
    return floor == NULL ? 0 : floor->index;
}

static bool raise_to(struct floors *floors, uint64_t id, uint8_t incarnation, uint64_t index)
{
    const struct floor floor = floor_of(id, incarnation, index, 1);
    return floors_raise(floors, &floor);
}

/* Floors rise and never fall, whatever order they are heard in. */
Test(floors, the_highest_is_kept)
{
    struct floors floors = {0};
    cr_assert(raise_to(&floors, 3, 3, 30));
    cr_assert(raise_to(&floors, 1, 1, 10));
    cr_assert(raise_to(&floors, 2, 2, 20));
    cr_assert_not(raise_to(&floors, 2, 2, 20));
    cr_assert_not(raise_to(&floors, 2, 2, 19));
    cr_assert(raise_to(&floors, 2, 2, 21));
    cr_assert_eq(floors.count, 3);
    cr_assert_eq(floors.changes, 4);
    cr_assert_eq(index_of(&floors, 1, 1), 10);
    cr_assert_eq(index_of(&floors, 2, 2), 21);
    cr_assert_eq(index_of(&floors, 3, 3), 30);
    cr_assert(floors_are_sound(floors.floors, floors.count), "in the order of a message");
}

/* A member made anew under its old id owes nothing. */
Test(floors, another_incarnation_begins_anew)
{
    struct floors floors = {0};
    cr_assert(raise_to(&floors, 1, 1, 100));
    cr_assert_eq(index_of(&floors, 1, 7), 0);
    cr_assert(raise_to(&floors, 1, 7, 5));
    cr_assert_eq(floors.count, 1);
    cr_assert_eq(index_of(&floors, 1, 7), 5);
    cr_assert_eq(index_of(&floors, 1, 1), 0);
}

/* The table has room for a cluster's members, and whoever leaves makes room. */
Test(floors, whoever_is_no_member_is_forgotten)
{
    struct floors floors = {0};
    struct member members[2] = {{.node_id = 4}, {.node_id = 6}};
    for (uint64_t id = 1; id <= MEMBERS_MAX; id++)
        cr_assert(raise_to(&floors, id, 0, id));
    cr_assert_not(raise_to(&floors, MEMBERS_MAX + 1, 0, 1), "full");
    members[1].incarnation[0] = 1;
    floors_keep(&floors, members, 2);
    cr_assert_eq(floors.count, 1, "6 is another incarnation");
    cr_assert_eq(index_of(&floors, 4, 0), 4);
    const uint64_t changes = floors.changes;
    floors_keep(&floors, members, 2);
    cr_assert_eq(floors.changes, changes, "nothing changed");
    cr_assert(raise_to(&floors, MEMBERS_MAX + 1, 0, 1));
}

/* ---- the file ---- */

static struct faulty_disk disk;
static struct files files;
static char directory[64];
static uint64_t now_ns;
static uint32_t unreadable, unwritten, woken;
static struct floor_file file;
static struct identity identity;

static uint64_t monotonic(void *context)
{
    (void)context;
    return now_ns;
}

static void event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    (void)context;
    (void)text;
    (void)a;
    (void)b;
    unreadable += strcmp(name, "floors_unreadable") == 0;
    unwritten += strcmp(name, "floors_unwritten") == 0;
}

static void wake(void *context)
{
    (void)context;
    woken++;
}

static const struct environment environment = {.monotonic_ns = monotonic};
static const struct notify notify = {.event = event};

static void open_file(void)
{
    file = (struct floor_file){
        .environment = &environment,
        .notify = &notify,
        .files = &files,
        .identity = &identity,
        .wake_job = wake,
    };
    floor_file_load(&file);
}

static void set_up(void)
{
    snprintf(directory, sizeof directory, "/tmp/floors_XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    faulty_disk_init(&disk);
    cr_assert_eq(faulty_disk_open(&disk, directory, &files), STATUS_OK);
    now_ns = 5000000000ull;
    identity = (struct identity){.cluster_id = {9, 8, 7}, .node_id = 1, .cluster_epoch = 1};
    open_file();
}

static void tear_down(void)
{
    char command[128];
    faulty_disk_close(&files);
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    cr_assert_eq(system(command), 0);
}

static void write_now(void)
{
    now_ns += FLOOR_FILE_MS * 1000000ull;
    floor_file_process(&file);
    floor_file_job_step(&file);
    floor_file_process(&file);
}

/* What was known before a restart is known after it; written at most once a second. */
Test(floors, a_restart_remembers, .init = set_up, .fini = tear_down)
{
    cr_assert_eq(floor_file_next_ns(&file), UINT64_MAX, "nothing to write");
    cr_assert(raise_to(&file.floors, 1, 1, 100));
    cr_assert(raise_to(&file.floors, 2, 2, 90));
    write_now();
    cr_assert_eq(woken, 1);
    cr_assert(raise_to(&file.floors, 2, 2, 95));
    floor_file_process(&file);
    cr_assert_eq(woken, 1, "not yet");
    cr_assert_eq(floor_file_next_ns(&file), now_ns + FLOOR_FILE_MS * 1000000ull);
    open_file();
    cr_assert_eq(index_of(&file.floors, 1, 1), 100);
    cr_assert_eq(index_of(&file.floors, 2, 2), 90);
    cr_assert(raise_to(&file.floors, 2, 2, 96));
    floor_file_stop(&file);
    floor_file_job_step(&file);
    open_file();
    cr_assert_eq(index_of(&file.floors, 2, 2), 96, "the end waits for no second");
    cr_assert_eq(unreadable, 0);
}

static void change_byte(size_t at)
{
    struct file *opened;
    uint8_t byte;
    cr_assert_eq(files.open(files.context, FLOOR_FILE, FILE_WRITE, &opened), STATUS_OK);
    struct floor_record record;
    cr_assert_eq(files.read(files.context, opened, &record, sizeof record, 0), STATUS_OK);
    memcpy(&byte, (uint8_t *)&record + at, 1);
    byte ^= 1;
    memcpy((uint8_t *)&record + at, &byte, 1);
    cr_assert_eq(files.write(files.context, opened, &record, sizeof record, 0), STATUS_OK);
    files.close(files.context, opened);
}

/* Any byte of it changed, its end cut, or another cluster's: nothing is known, and that is told. */
Test(floors, a_damaged_file_says_nothing, .init = set_up, .fini = tear_down)
{
    cr_assert(raise_to(&file.floors, 1, 1, 100));
    write_now();
    uint32_t told = 0;
    for (size_t at = 0; at < sizeof(struct floor_record); at += 7) {
        change_byte(at);
        open_file();
        cr_assert_eq(file.floors.count, 0, "byte %zu", at);
        cr_assert_eq(unreadable, ++told);
        change_byte(at);
    }
    identity.cluster_epoch++;
    open_file();
    cr_assert_eq(file.floors.count, 0, "another epoch's");
    identity.cluster_epoch--;
    identity.cluster_id[0]++;
    open_file();
    cr_assert_eq(file.floors.count, 0, "another cluster's");
    identity.cluster_id[0]--;
    open_file();
    cr_assert_eq(file.floors.count, 1);
    const char half[100] = "TLYFLOR1";
    cr_assert_eq(files_replace(&files, FLOOR_FILE, half, sizeof half), STATUS_OK);
    open_file();
    cr_assert_eq(file.floors.count, 0, "a part");
    cr_assert(raise_to(&file.floors, 1, 1, 101));
    write_now();
    open_file();
    cr_assert_eq(index_of(&file.floors, 1, 1), 101, "written anew");
}

/* It cannot be written: told once, tried again, and the node goes on. */
Test(floors, a_file_that_cannot_be_written_is_tried_again, .init = set_up, .fini = tear_down)
{
    char command[128];
    snprintf(command, sizeof command, "mkdir '%s/" FLOOR_FILE "'", directory);
    cr_assert_eq(system(command), 0);
    cr_assert(raise_to(&file.floors, 1, 1, 100));
    write_now();
    write_now();
    cr_assert_eq(unwritten, 1);
    cr_assert_eq(rmdir(strcat(strcpy(command, directory), "/" FLOOR_FILE)), 0);
    write_now();
    open_file();
    cr_assert_eq(index_of(&file.floors, 1, 1), 100);
}
