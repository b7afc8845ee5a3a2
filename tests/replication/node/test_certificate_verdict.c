/* Verdicts: first over facts that are made up, so that each condition is taken away alone; then
 * over the directories of a real cluster that was killed under load, tampered with in turn. */
#include "replication/agreed.h"
#include "replication/node/certificate.h"
#include "replication/node/certificate_verdict.h"
#include "replication/node/digests.h"
#include "storage/hash.h"
#include "storage/journal_fill.h"
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(certificate_verdict, .timeout = 240);

#define NS_PER_S 1000000000ull
#define T        (1800000000ull * NS_PER_S)

/* ---- made up: A1, A2 at site A, B1, B2 at B, W ---- */

enum { A1, A2, B1, B2, W, COUNT };
static const struct {
    const char *site;
    enum member_kind kind;
} places[COUNT] = {{"A", MEMBER_DATA},
                   {"A", MEMBER_DATA},
                   {"B", MEMBER_DATA},
                   {"B", MEMBER_DATA},
                   {"C", MEMBER_WITNESS}};

static struct survivor all[COUNT];

static void make_head(uint64_t index, uint8_t out[JOURNAL_HASH_SIZE])
{
    memset(out, 0, JOURNAL_HASH_SIZE);
    memcpy(out, &index, sizeof index);
}

/* Five nodes that hold entries 1 .. 100 of term 3, and one certificate each, of entry 90. */
static void make_all(void)
{
    struct member_table table = {.count = COUNT};
    memset(all, 0, sizeof all);
    for (int i = 0; i < COUNT; i++) {
        struct member *member = &table.members[i];
        member->node_id = (uint64_t)i + 1;
        member->kind = places[i].kind;
        member->incarnation[0] = (uint8_t)(i + 1);
        strcpy(member->site, places[i].site);
        table.votes[i] = true;
    }
    for (int i = 0; i < COUNT; i++) {
        struct survivor *at = &all[i];
        at->path = "somewhere";
        at->identity.node_id = (uint64_t)i + 1;
        at->identity.cluster_epoch = 1;
        at->identity.incarnation[0] = (uint8_t)(i + 1);
        strcpy(at->identity.site, places[i].site);
        at->identity.kind = places[i].kind;
        at->sound = at->members_known = true;
        at->members = table;
        at->last_index = 100;
        at->last_term = 3;
        at->durability.number = 4;
        at->certificate_state = SURVIVOR_CERTIFICATE_GOOD;
        certificate_record_begin(&at->certificate);
        at->certificate.index = 90;
        at->certificate.index_term = 3;
        make_head(90, at->certificate.head);
        at->certificate.wall_ns = T;
        at->certificate.rule = CERTIFICATE_SITE;
        at->certificate.policy = DURABILITY_NEVER;
        at->certificate.number = at->certificate.log_number = 4;
        at->head_count = 1;
        at->heads[0] = (struct survivor_head){.index = 90, .state = SURVIVOR_HEAD_THERE, .term = 3};
        make_head(90, at->heads[0].head);
    }
}

static struct survivor shown[COUNT];

/* The verdict over these nodes (a mask), the loss being at `lost_s` seconds after T; 0: not said.
 */
static struct verdict_answer judge(uint32_t mask, int64_t lost_s)
{
    struct verdict_question question = {.survivors = shown};
    struct verdict_answer answer;
    for (int i = 0; i < COUNT; i++)
        if (mask & 1u << i)
            shown[question.count++] = all[i];
    if (lost_s != 0)
        question.lost_at_ns = (uint64_t)((int64_t)T + lost_s * (int64_t)NS_PER_S);
    cr_assert_eq(certificate_judge(&question, &answer), STATUS_OK, "%s", answer.text);
    if (answer.verdict == VERDICT_BOUNDED_BY_TIME)
        cr_assert_gt(answer.unproven_ns, 0);
    else
        cr_assert_eq(answer.unproven_ns, 0);
    return answer;
}

static void expect(uint32_t mask, int64_t lost_s, enum verdict verdict, enum verdict_basis basis,
                   const char *what)
{
    const struct verdict_answer answer = judge(mask, lost_s);
    cr_expect_eq(answer.verdict, verdict, "%s: %s: %s", what, verdict_name(answer.verdict),
                 answer.text);
    cr_expect_eq(answer.basis, basis, "%s: %s", what, verdict_basis_name(answer.basis));
}

#define MASK(node) (1u << (node))

/* A majority proves by itself, with any policy and mode; less than that only under `never`, with
 * all data nodes of a site. */
Test(certificate_verdict, who_is_here_decides)
{
    make_all();
    for (uint32_t mask = 1; mask < 1u << COUNT; mask++) {
        const bool majority = __builtin_popcount(mask) >= 3;
        const bool site = (mask & (MASK(A1) | MASK(A2))) == (MASK(A1) | MASK(A2)) ||
                          (mask & (MASK(B1) | MASK(B2))) == (MASK(B1) | MASK(B2));
        const enum verdict_basis basis = majority ? VERDICT_BY_MAJORITY
                                         : site   ? VERDICT_BY_POLICY
                                                  : VERDICT_BY_CERTIFICATE;
        expect(mask, 10, majority || site ? VERDICT_PROVEN_ZERO : VERDICT_BOUNDED_BY_TIME, basis,
               "never");
    }
    for (int i = 0; i < COUNT; i++) {
        all[i].certificate.policy = DURABILITY_AUTO;
        all[i].certificate.mode = DURABILITY_DEGRADED;
    }
    for (uint32_t mask = 1; mask < 1u << COUNT; mask++) {
        const bool majority = __builtin_popcount(mask) >= 3;
        expect(mask, 10, majority ? VERDICT_PROVEN_ZERO : VERDICT_BOUNDED_BY_TIME,
               majority ? VERDICT_BY_MAJORITY : VERDICT_BY_CERTIFICATE, "auto");
    }
}

/* A standby's journal is sound, and nobody waited for it: of three voters one is here. */
Test(certificate_verdict, who_has_no_vote_is_no_part_of_a_majority)
{
    make_all();
    for (int i = 0; i < COUNT; i++) {
        all[i].members.votes[A2] = all[i].members.votes[B2] = false;
        all[i].certificate.policy = DURABILITY_AUTO;
    }
    expect(MASK(A1) | MASK(A2) | MASK(B2), 10, VERDICT_BOUNDED_BY_TIME, VERDICT_BY_CERTIFICATE,
           "a voter and two standbys");
    expect(MASK(A1) | MASK(W) | MASK(B2), 10, VERDICT_PROVEN_ZERO, VERDICT_BY_MAJORITY,
           "two voters and a standby");
}

/* Under `never` each condition counts: without it the site alone is bounded by time only. */
Test(certificate_verdict, never_proves_only_with_all_its_conditions)
{
    const uint32_t site = MASK(B1) | MASK(B2);
    make_all();
    expect(site, 10, VERDICT_PROVEN_ZERO, VERDICT_BY_POLICY, "all of them");
    for (int without = 0; without < 10; without++) {
        make_all();
        for (int i = 0; i < COUNT; i++) {
            struct survivor *at = &all[i];
            struct certificate_record *record = &at->certificate;
            if (without == 0)
                record->policy = DURABILITY_OPERATOR;
            if (without == 1)
                record->mode = DURABILITY_DEGRADED;
            if (without == 2)
                record->rule = CERTIFICATE_MAJORITY;
            if (without == 3)
                record->log_number++; /* a later durability entry is on its way */
            if (without == 4 && i == B2)
                at->durability.number++; /* and stands in a journal here */
            if (without == 5)
                at->members.votes[W] = false; /* no witness: the rule cannot be in force */
            if (without == 6) {
                /* A third data node at B, that does not vote yet, might by now. */
                at->members.members[at->members.count] = at->members.members[B1];
                at->members.members[at->members.count++].node_id = 9;
            }
            if (without == 7)
                at->members.members[B2].incarnation[0] = 77; /* another node took its number */
            if (without == 9) {
                /* A data node at a third site: its vote would end the rule. */
                at->members.members[at->members.count] = at->members.members[A1];
                strcpy(at->members.members[at->members.count].site, "D");
                at->members.members[at->members.count++].node_id = 9;
            }
            if (without == 8)
                at->members_known = false;
        }
        const struct verdict_answer answer = judge(site, 10);
        cr_expect_eq(answer.verdict, VERDICT_BOUNDED_BY_TIME, "without %d: %s", without,
                     verdict_name(answer.verdict));
    }
}

/* A certificate above the journals, of another chain, or of a pruned place. */
Test(certificate_verdict, a_certificate_that_does_not_fit_proves_nothing)
{
    struct verdict_answer answer;
    const uint32_t three = MASK(B1) | MASK(B2) | MASK(W);
    make_all();
    all[W].certificate.index = 101; /* one too high */
    answer = judge(three, 10);
    cr_assert_eq(answer.verdict, VERDICT_UNKNOWN);
    cr_assert_eq(answer.missing, 1);
    cr_assert_not(answer.damaged);
    make_all();
    all[W].certificate.head[0] ^= 1;
    answer = judge(three, 10);
    cr_assert_eq(answer.verdict, VERDICT_UNKNOWN);
    cr_assert(answer.damaged);
    make_all();
    all[W].certificate.index_term = 2;
    cr_assert_eq(judge(three, 10).verdict, VERDICT_UNKNOWN);
    make_all();
    for (int i = 0; i < COUNT; i++)
        all[i].heads[0].state = SURVIVOR_HEAD_PRUNED;
    cr_assert_eq(judge(three, 10).verdict, VERDICT_UNKNOWN);
    /* No certificate at all: a majority alone might be an older copy of everything. */
    make_all();
    for (int i = 0; i < COUNT; i++)
        all[i].certificate_state = SURVIVOR_NO_CERTIFICATE;
    cr_assert_eq(judge(three, 10).verdict, VERDICT_UNKNOWN);
    for (int i = 0; i < COUNT; i++) {
        all[i].proven_index = all[i].proven_entry = 50;
        all[i].proven_stamp = T - 5 * NS_PER_S;
    }
    expect(three, 10, VERDICT_BOUNDED_BY_TIME, VERDICT_BY_JOURNAL, "the journal's own word");
    cr_assert_eq(judge(three, 10).unproven_ns, 15 * NS_PER_S + VERDICT_CLOCK_MARGIN_NS);
    all[W].certificate_state = SURVIVOR_CERTIFICATE_REFUSED;
    answer = judge(three, 10);
    cr_assert_eq(answer.verdict, VERDICT_UNKNOWN);
    cr_assert(answer.damaged);
}

/* Seconds run from the newest contact to the asserted time, and a stale certificate gives many of
 * them; no time, or one before the contact, gives no number. */
Test(certificate_verdict, time_is_bounded_by_the_last_contact)
{
    make_all();
    for (int i = 0; i < COUNT; i++)
        all[i].certificate.policy = DURABILITY_AUTO;
    cr_assert_eq(judge(MASK(B1), 10).unproven_ns, 10 * NS_PER_S + VERDICT_CLOCK_MARGIN_NS);
    all[B2].certificate.wall_ns -= 3600 * NS_PER_S; /* an older one beside it does not count */
    cr_assert_eq(judge(MASK(B1) | MASK(B2), 10).unproven_ns,
                 10 * NS_PER_S + VERDICT_CLOCK_MARGIN_NS);
    cr_assert_eq(judge(MASK(B2), 10).unproven_ns, 3610 * NS_PER_S + VERDICT_CLOCK_MARGIN_NS);
    cr_assert_eq(judge(MASK(B1), 0).verdict, VERDICT_UNKNOWN);
    cr_assert_eq(judge(MASK(B1), -1).verdict, VERDICT_UNKNOWN);
}

/* What is damaged or quarantined is not here; other clusters, epochs and doubles are refused. */
Test(certificate_verdict, only_sound_journals_of_one_cluster_count)
{
    struct verdict_answer answer;
    make_all();
    for (int i = 0; i < COUNT; i++)
        all[i].certificate.policy = DURABILITY_AUTO;
    all[B2].sound = false;
    answer = judge(MASK(B1) | MASK(B2) | MASK(W), 10);
    cr_assert_eq(answer.verdict, VERDICT_BOUNDED_BY_TIME);
    cr_assert(answer.damaged);
    all[B1].sound = all[W].sound = false;
    cr_assert_eq(judge(MASK(B1) | MASK(B2) | MASK(W), 10).verdict, VERDICT_UNKNOWN);
    make_all();
    struct verdict_question question = {.survivors = all, .count = 2};
    all[1].identity.cluster_epoch = 2;
    cr_assert_eq(certificate_judge(&question, &answer), STATUS_WRONG_CLUSTER);
    make_all();
    all[1].identity.cluster_id[3] = 1;
    cr_assert_eq(certificate_judge(&question, &answer), STATUS_WRONG_CLUSTER);
    make_all();
    all[1].identity.node_id = all[0].identity.node_id;
    cr_assert_eq(certificate_judge(&question, &answer), STATUS_EXISTS);
}

/* ---- real directories ---- */

/* In place of a signature: the record's hash, which nobody changes by accident. */
static enum status check_hash(void *context, const struct certificate_view *view, char *out_reason,
                              size_t capacity)
{
    uint8_t hash[HASH_SIZE];
    (void)context;
    hash_parts(&(struct hash_part){&view->record, sizeof view->record}, 1, hash);
    if (view->signature_size == sizeof hash && memcmp(hash, view->signature, sizeof hash) == 0)
        return STATUS_OK;
    snprintf(out_reason, capacity, "forged");
    return STATUS_DENIED;
}

static void sign_file(uint64_t id, int64_t add_index)
{
    char path[PUMP_PATH_MAX + 64];
    uint8_t bytes[CERTIFICATE_SIZE_MAX], hash[HASH_SIZE];
    struct certificate_view view;
    snprintf(path, sizeof path, "%s/" CERTIFICATE_FILE, cluster_pump(&cluster, id)->directory);
    FILE *file = fopen(path, "r+");
    cr_assert_not_null(file, "%s", path);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    cr_assert_eq(certificate_decode(bytes, size, &view), STATUS_OK);
    view.record.index += (uint64_t)add_index;
    hash_parts(&(struct hash_part){&view.record, sizeof view.record}, 1, hash);
    view.signature = hash;
    view.signature_size = sizeof hash;
    size = certificate_encode(&view, bytes);
    rewind(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    cr_assert_eq(fclose(file), 0);
}

static struct survivor real[CLUSTER_NODES_MAX];

static void read_one(struct survivor *survivor, uint64_t id)
{
    const struct survivor_judge judge = {.signature = check_hash};
    char error[256];
    *survivor = (struct survivor){.path = cluster_pump(&cluster, id)->directory};
    cr_assert_eq(files_posix_open(survivor->path, &survivor->files), STATUS_OK);
    cr_assert_eq(survivor_read(survivor, &judge, error, sizeof error), STATUS_OK, "%s", error);
}

static void survey_one(struct survivor *survivor, uint32_t count)
{
    char path[DIRECTORY_PATH_MAX], name[DIRECTORY_NAME_MAX];
    struct generation generation;
    struct files journal;
    for (uint32_t i = 0; i < count; i++)
        if (real[i].certificate_state == SURVIVOR_CERTIFICATE_GOOD)
            survivor->heads[survivor->head_count++].index = real[i].certificate.index;
    cr_assert_eq(current_read(&survivor->files, &generation), STATUS_OK);
    directory_generation_name(DIRECTORY_JOURNAL, generation.journal, name);
    cr_assert_eq(directory_join(survivor->path, name, path), STATUS_OK);
    cr_assert_eq(files_posix_open(path, &journal), STATUS_OK);
    cr_assert_eq(survivor_survey(survivor, &journal), STATUS_OK);
    files_posix_close(&journal);
}

static struct verdict_answer judge_real(const uint64_t *ids, uint32_t count, uint64_t lost_at_ns)
{
    const struct verdict_question question = {
        .survivors = real, .count = count, .lost_at_ns = lost_at_ns};
    struct verdict_answer answer;
    for (uint32_t i = 0; i < count; i++)
        read_one(&real[i], ids[i]);
    for (uint32_t i = 0; i < count; i++)
        survey_one(&real[i], count);
    cr_assert_eq(certificate_judge(&question, &answer), STATUS_OK, "%s", answer.text);
    for (uint32_t i = 0; i < count; i++)
        files_posix_close(&real[i].files);
    return answer;
}

static uint64_t no_time(void *context)
{
    (void)context;
    return 1;
}

static void same_bytes(void *context, void *out, size_t size)
{
    (void)context;
    memset(out, 7, size);
}

static size_t encode_policy(uint64_t index, uint64_t number, enum durability_decision decision,
                            uint8_t out[JOURNAL_CONFIGURATION_SIZE_MAX])
{
    struct agreed agreed;
    agreed_init(&agreed);
    agreed.durability_index = index;
    agreed.durability.kind = DURABILITY_POLICY;
    agreed.durability.number = number;
    agreed.durability.stamp = T;
    agreed.durability.policy.decision = decision;
    strcpy(agreed.durability.who, "urn:ops:ann");
    strcpy(agreed.durability.why, "drill");
    return agreed_encode(&agreed, out);
}

/* A policy was in the log and not committed when the segment was begun that is the oldest one now;
 * its entry was in the one before, which is pruned. The next segment knows of it. */
Test(certificate_verdict, what_was_agreed_is_known_though_its_entry_was_pruned)
{
    static uint8_t before[JOURNAL_CONFIGURATION_SIZE_MAX], after[JOURNAL_CONFIGURATION_SIZE_MAX];
    static uint8_t payload[256 * 1024];
    char path[] = "/tmp/tally-survey-XXXXXX";
    struct files files;
    cr_assert_not_null(mkdtemp(path));
    cr_assert_eq(files_posix_open(path, &files), STATUS_OK);
    const struct journal_options options = {
        .files = &files, .segment_size = 1024 * 1024, .clock_ns = no_time, .random = same_bytes};
    const struct journal_anchor anchor = {
        .index = 10,
        .term = 2,
        .configuration = before,
        .configuration_size = (uint32_t)encode_policy(5, 1, DURABILITY_NEVER, before)};
    struct journal_fill *fill = NULL;
    struct journal_damage damage;
    cr_assert_eq(journal_create_at(&options, &anchor), STATUS_OK);
    cr_assert_eq(journal_fill_open(&options, &fill, &damage), STATUS_OK);
    journal_set_configuration(journal_fill_journal(fill), after,
                              encode_policy(9, 2, DURABILITY_AUTO, after));
    for (uint64_t index = 11; index < 20; index++) {
        const struct journal_entry entry = {.index = index,
                                            .term = 2,
                                            .type = JOURNAL_COMMAND,
                                            .size = sizeof payload,
                                            .payload = payload};
        cr_assert_eq(journal_fill_append(fill, &entry, 1), STATUS_OK);
    }
    cr_assert_eq(journal_fill_close(fill, NULL), STATUS_OK);
    struct survivor survivor = {.path = path, .files = files};
    cr_assert_eq(survivor_survey(&survivor, &files), STATUS_OK);
    cr_assert(survivor.sound);
    cr_assert_gt(survivor.report.segment_count, 1);
    cr_assert_eq(survivor.durability_index, 9);
    cr_assert_eq(survivor.durability.number, 2);
    files_posix_close(&files);
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", path);
    cr_assert_eq(system(command), 0);
}

/* Three nodes under load, killed at one moment. What B and W prove is true: the last answer's index
 * is in the journal that is named. Then the certificate is made one entry too high, then the
 * journal is changed in one byte. Without certificates the digests in the log bound it. */
Test(certificate_verdict, over_the_journals_of_a_cluster_that_was_killed)
{
    uint64_t index = 0, wall_ns = 0;
    set_up(3);
    const uint64_t leader = cluster_leader(&cluster);
    for (uint64_t i = 0; i < 300; i++) {
        struct test_request *request = request_transfers(i * 10, 5);
        run_well_at(leader, request);
        index = request->answer.index;
        request_destroy(request);
    }
    cluster_turn_ms(&cluster, CERTIFICATE_FILE_MS + 2 * CERTIFICATE_MS);
    const struct environment *environment = &cluster_pump(&cluster, leader)->environment;
    wall_ns = environment->wall_ns(environment->context) + 10 * NS_PER_S;
    uint64_t others[2], count = 0;
    for (uint64_t id = 1; id <= 3; id++) {
        cluster_kill(&cluster, id);
        sign_file(id, 0);
        if (id != leader)
            others[count++] = id;
    }
    struct verdict_answer answer = judge_real(others, 2, wall_ns);
    cr_assert_eq(answer.verdict, VERDICT_PROVEN_ZERO, "%s", answer.text);
    cr_assert_eq(answer.basis, VERDICT_BY_MAJORITY);
    cr_assert_geq(answer.best->last_index, index);
    cr_assert_geq(answer.known_index, index);
    answer = judge_real(others, 1, wall_ns);
    cr_assert_eq(answer.verdict, VERDICT_BOUNDED_BY_TIME, "%s", answer.text);
    cr_assert_geq(answer.unproven_ns, 10 * NS_PER_S);
    cr_assert_leq(answer.known_index, answer.best->last_index);

    sign_file(others[0], (int64_t)(answer.best->last_index - answer.known_index) + 1);
    answer = judge_real(others, 2, wall_ns);
    cr_assert_eq(answer.verdict, VERDICT_UNKNOWN, "one too high: %s", answer.text);
    cr_assert_eq(answer.missing, 1);

    char path[PUMP_PATH_MAX + 64];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/" CERTIFICATE_FILE,
                 cluster_pump(&cluster, others[i])->directory);
        cr_assert_eq(remove(path), 0);
    }
    answer = judge_real(others, 2, wall_ns);
    cr_assert_eq(answer.verdict, VERDICT_BOUNDED_BY_TIME, "%s", answer.text);
    cr_assert_eq(answer.basis, VERDICT_BY_JOURNAL);
    cr_assert_leq(answer.known_index, DIGEST_INTERVAL);
    cr_assert_gt(answer.known_index, 0);

    snprintf(path, sizeof path, "%s/journal-1/00000000000000000001.seg",
             cluster_pump(&cluster, others[0])->directory);
    FILE *file = fopen(path, "r+");
    cr_assert_not_null(file);
    cr_assert_eq(fseek(file, 4096 + 300, SEEK_SET), 0);
    const int byte = fgetc(file);
    cr_assert_eq(fseek(file, 4096 + 300, SEEK_SET), 0);
    cr_assert_neq(fputc(byte ^ 1, file), EOF);
    cr_assert_eq(fclose(file), 0);
    answer = judge_real(others, 1, wall_ns);
    cr_assert_eq(answer.verdict, VERDICT_UNKNOWN, "%s", answer.text);
    cr_assert(answer.damaged);
    cluster_deinit(&cluster);
}
