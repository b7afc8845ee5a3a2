/*
 * What the log says of the cluster, out of any bytes: durability entries, members, tables of
 * members, and the blob of both that anchors and checkpoints keep. The first byte chooses.
 *
 *   - what is understood prints as the same bytes again (a table may have other padding: it is read
 *     again to the same members);
 *   - a table that we accept libraft's own format reads to the same servers, and what libraft would
 *     refuse we refuse;
 *   - the one look at a mode that judges nothing else says what the whole entry says;
 *   - two blobs merge to the newer of each, whichever is merged into the other.
 */
#include "fuzz.h"
#include "replication/agreed.h"
#include "replication/guard/raft_layout.h"

static void check_durability(const uint8_t *bytes, size_t size)
{
    uint8_t again[DURABILITY_ENTRY_SIZE];
    struct durability_entry entry;
    enum durability_mode mode;
    const enum status status = durability_entry_decode(bytes, size, &entry);
    if (status != STATUS_OK) {
        need(status == STATUS_INVALID || status == STATUS_VERSION, "refused in one of two ways");
        return;
    }
    need(durability_entry_encode(&entry, again) == STATUS_OK, "what was read can be written");
    need(fuzz_same(again, sizeof again, bytes, size), "an entry has one encoding");
    const bool sets = durability_entry_sets_mode(bytes, size, &mode);
    need(sets == (entry.kind == DURABILITY_DEGRADE || entry.kind == DURABILITY_RETURN),
         "only degrading and returning set the mode");
    need(!sets || mode == entry.mode, "a quick look sees the same mode");
    const char *reason = NULL;
    need(durability_policy_check(&entry.policy, &reason) == STATUS_OK && reason == NULL,
         "a policy in the log is a policy");
    enum durability_decision decision;
    enum durability_on_bound on_bound;
    need(durability_decision_parse(durability_decision_text(entry.policy.decision), &decision) &&
             decision == entry.policy.decision,
         "a decision's word is read back");
    need(durability_on_bound_parse(durability_on_bound_text(entry.policy.on_bound), &on_bound) &&
             on_bound == entry.policy.on_bound,
         "a bound's word is read back");
}

static bool members_equal(const struct member *a, const struct member *b)
{
    return a->node_id == b->node_id && a->kind == b->kind && strcmp(a->site, b->site) == 0 &&
           strcmp(a->address, b->address) == 0 &&
           memcmp(a->incarnation, b->incarnation, sizeof a->incarnation) == 0;
}

/* libraft takes no address twice; we leave that to the rules for changes of members. */
static bool has_twins(const struct member_table *table)
{
    char texts[MEMBERS_MAX][MEMBER_TEXT_SIZE];
    for (uint32_t i = 0; i < table->count; i++) {
        need(member_print(&table->members[i], texts[i]) == STATUS_OK, "a member prints");
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(texts[i], texts[j]) == 0)
                return true;
    }
    return false;
}

/* libraft reads addresses as any text: each server must be our member, told in its words. */
static void check_as_libraft(const uint8_t *bytes, size_t size, const struct member_table *table)
{
    struct raft_configuration configuration;
    struct raft_buffer buffer = {.base = fuzz_copy(bytes, size), .len = size};
    raft_configuration_init(&configuration);
    const int code = raft_layout_decode_configuration(&buffer, &configuration);
    need(table == NULL || code == 0 || has_twins(table), "what we accept libraft accepts");
    for (unsigned i = 0; table != NULL && code == 0 && i < configuration.n; i++) {
        struct member member;
        need(configuration.n == table->count, "the same count");
        need(member_parse(configuration.servers[i].id, configuration.servers[i].address, &member) ==
                 STATUS_OK,
             "an address is a member's record");
        need(members_equal(&member, &table->members[i]), "the same member");
        need((configuration.servers[i].role == RAFT_VOTER) == table->votes[i], "the same vote");
    }
    raft_configuration_close(&configuration);
    free(buffer.base);
}

static void check_table(const uint8_t *bytes, size_t size)
{
    uint8_t again[MEMBER_TABLE_BYTES_MAX];
    struct member_table table, same;
    char site[MEMBER_SITE_SIZE_MAX + 1] = "";
    const bool good = member_table_decode(bytes, size, &table) == STATUS_OK;
    /* Only what is short: a count of servers is no reason to reserve memory for them. */
    if (good || size <= 4096)
        check_as_libraft(bytes, size, good ? &table : NULL);
    if (!good)
        return;
    need(table.count >= 1 && table.count <= MEMBERS_MAX, "a count in its range");
    const size_t again_size = member_table_encode(&table, again);
    need(again_size > 0 && again_size % 8 == 0, "a table that was read can be written");
    need(member_table_decode(again, again_size, &same) == STATUS_OK && same.count == table.count,
         "and read again");
    for (uint32_t i = 0; i < table.count; i++)
        need(members_equal(&table.members[i], &same.members[i]) && table.votes[i] == same.votes[i],
             "to the same members");
    if (!member_table_is_allowed(&table, site))
        need(member_site_is_valid(site), "a forbidden table names the site");
    need(member_table_data_sites(&table) <= table.count, "no more sites than members");
}

static void check_member(const uint8_t *bytes, size_t size)
{
    char *text = fuzz_text(bytes, size);
    char printed[MEMBER_TEXT_SIZE];
    struct member member;
    if (member_parse(7, text, &member) == STATUS_OK) {
        need(member_print(&member, printed) == STATUS_OK, "a member that was read prints");
        need(strcmp(printed, text) == 0, "one text for one member");
    }
    free(text);
}

static void check_agreed(const uint8_t *bytes, size_t size)
{
    uint8_t again[JOURNAL_CONFIGURATION_SIZE_MAX];
    static struct agreed agreed, other, merged[2];
    if (agreed_decode(bytes, size, &agreed) != STATUS_OK)
        return;
    need(fuzz_same(again, agreed_encode(&agreed, again), bytes, size), "one encoding");
    agreed_init(&other);
    other.configuration_index = 5;
    other.configuration_size = 8;
    other.durability_index = 9;
    other.durability.kind = DURABILITY_POLICY;
    merged[0] = agreed;
    agreed_merge(&merged[0], &other);
    merged[1] = other;
    agreed_merge(&merged[1], &agreed);
    for (int i = 0; i < 2; i++) {
        const uint64_t configuration =
            agreed.configuration_index > 5 ? agreed.configuration_index : 5;
        const uint64_t durability = agreed.durability_index > 9 ? agreed.durability_index : 9;
        need(merged[i].configuration_index == configuration &&
                 merged[i].durability_index == durability,
             "the newer of each is kept");
    }
    /* An entry of the log moves it forward only. */
    const struct journal_entry old = {.index = agreed.configuration_index,
                                      .type = JOURNAL_CONFIGURATION,
                                      .size = 8,
                                      .payload = again};
    need(!agreed_take(&agreed, &old), "an entry that is known changes nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        check_durability(bytes, size - 1);
        break;
    case 1:
        check_table(bytes, size - 1);
        break;
    case 2:
        check_member(bytes, size - 1);
        break;
    default:
        check_agreed(bytes, size - 1);
    }
    free(bytes);
    return 0;
}
