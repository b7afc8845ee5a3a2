/* What node_init makes: a founder's first entries, a joiner's emptiness, and what it refuses. */
#include "tests/replication/pump.h"

#include "core/command.h"
#include "replication/directory.h"
#include "storage/hard_state.h"
#include "storage/journal_fill.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(node_init, .timeout = 60);

struct founding {
    struct member founder;
    uint32_t principals;
    uint32_t entries;
};

static bool judge_founding_entry(void *context, const struct journal_entry *entry)
{
    struct founding *founding = context;
    cr_assert_eq(entry->term, 1);
    founding->entries++;
    if (entry->index == 1) {
        struct member_table table;
        cr_assert_eq(entry->type, JOURNAL_CONFIGURATION);
        cr_assert_eq(member_table_decode(entry->payload, entry->size, &table), STATUS_OK);
        cr_assert_eq(table.count, 1);
        cr_assert(table.votes[0]);
        founding->founder = table.members[0];
    } else {
        struct command_cursor cursor;
        cr_assert_eq(entry->type, JOURNAL_COMMAND);
        cr_assert_eq(command_cursor_init(&cursor, entry->payload, entry->size), STATUS_OK);
        founding->principals = cursor.request_count;
    }
    return true;
}

static void journal_of(const char *directory, struct files *files, struct journal_fill **out)
{
    struct files top;
    struct identity identity;
    char path[PUMP_PATH_MAX + 32];
    cr_assert_eq(files_posix_open(directory, &top), STATUS_OK);
    cr_assert_eq(identity_read(&top, &identity), STATUS_OK);
    files_posix_close(&top);
    snprintf(path, sizeof path, "%s/journal-1", directory);
    cr_assert_eq(files_posix_open(path, files), STATUS_OK);
    static struct journal_options options;
    options = (struct journal_options){
        .files = files,
        .segment_size = PUMP_SEGMENT_BYTES,
        .clock_ns = environment_real()->monotonic_ns,
        .random = environment_real()->random,
    };
    memcpy(options.cluster_id, identity.cluster_id, sizeof options.cluster_id);
    struct journal_damage damage;
    cr_assert_eq(journal_fill_open(&options, out, &damage), STATUS_OK, "%s", damage.text);
}

/* The configuration with the founder as its only voter, then the principals. */
Test(node_init, a_founder_begins_with_its_configuration_and_the_principals)
{
    struct pump pump;
    pump_init(&pump, true);
    struct files files;
    struct journal_fill *fill;
    struct founding founding = {0};
    journal_of(pump.directory, &files, &fill);
    cr_assert_eq(journal_read(journal_fill_journal(fill), 1, 2, judge_founding_entry, &founding),
                 STATUS_OK);
    cr_assert_eq(journal_fill_close(fill, NULL), STATUS_OK);
    files_posix_close(&files);
    cr_assert_eq(founding.entries, 2);
    cr_assert_eq(founding.principals, 1);
    cr_assert_eq(founding.founder.node_id, 1);
    cr_assert_eq(founding.founder.kind, MEMBER_DATA);
    cr_assert_str_eq(founding.founder.site, "A");
    pump_deinit(&pump);
}

/* A witness that joins: no entry, no term, no vote, no store, and a line for the operator. */
Test(node_init, a_joiner_is_empty_and_says_how_to_add_it)
{
    struct pump pump;
    pump_init(&pump, true);
    char other[PUMP_PATH_MAX + 32], path[PUMP_PATH_MAX + 64];
    snprintf(other, sizeof other, "%s/joiner", pump.root);
    struct member member;
    struct node_error error;
    struct node_init_options options = pump_init_options(other);
    options.node_id = 3;
    options.kind = MEMBER_WITNESS;
    options.site = "C";
    options.peer_address = "c1.bank.example:7402";
    options.out_member = &member;
    options.principals = NULL;
    options.principal_count = 0;
    options.join = true;
    cr_assert_eq(node_init(&options, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "which cluster"), "%s", error.text);
    options.cluster_id[0] = 7;
    cr_assert_eq(node_init(&options, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(member.node_id, 3);

    struct files files;
    struct hard_state state;
    struct generation generation = {0};
    struct identity identity;
    cr_assert_eq(files_posix_open(other, &files), STATUS_OK);
    cr_assert_eq(hard_state_read(&files, &state), STATUS_OK);
    cr_assert_eq(state.term, 0);
    cr_assert_eq(state.vote, 0);
    cr_assert_eq(current_read(&files, &generation), STATUS_OK);
    cr_assert_eq(generation.journal, 1);
    cr_assert_eq(generation.store, 1);
    cr_assert_eq(identity_read(&files, &identity), STATUS_OK);
    char line[IDENTITY_MEMBER_LINE_SIZE], found[IDENTITY_MEMBER_LINE_SIZE + 2] = "";
    identity_member_line(&identity, line);
    struct file *file;
    uint64_t size;
    cr_assert_eq(files.open(files.context, "member", FILE_READ, &file), STATUS_OK);
    cr_assert_eq(files.size(files.context, file, &size), STATUS_OK);
    cr_assert_eq(size, strlen(line) + 1);
    cr_assert_eq(files.read(files.context, file, found, (size_t)size, 0), STATUS_OK);
    files.close(files.context, file);
    files_posix_close(&files);
    cr_assert_eq(strncmp(found, line, strlen(line)), 0, "%s", found);
    cr_assert_arr_eq(member.incarnation, identity.incarnation, 16);

    struct journal_fill *fill;
    struct journal_position position;
    journal_of(other, &files, &fill);
    cr_assert_eq(journal_fill_close(fill, &position), STATUS_OK);
    files_posix_close(&files);
    cr_assert_eq(position.last_index, 0);
    snprintf(path, sizeof path, "%s/store-1", other);
    cr_assert_eq(directory_exists(path), STATUS_NOT_FOUND);
    pump_deinit(&pump);
}

Test(node_init, a_witness_cannot_found_a_cluster)
{
    struct pump pump;
    pump_init(&pump, true);
    char other[PUMP_PATH_MAX + 32];
    snprintf(other, sizeof other, "%s/other", pump.root);
    struct node_init_options options = pump_init_options(other);
    struct node_error error;
    options.kind = MEMBER_WITNESS;
    cr_assert_eq(node_init(&options, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "witness"), "%s", error.text);
    options.kind = MEMBER_DATA;
    options.site = "no blanks";
    cr_assert_eq(node_init(&options, &error), STATUS_INVALID);
    options.site = NULL;
    options.peer_address = "no-port";
    cr_assert_eq(node_init(&options, &error), STATUS_INVALID);
    cr_assert_eq(directory_exists(other), STATUS_NOT_FOUND);
    pump_deinit(&pump);
}
