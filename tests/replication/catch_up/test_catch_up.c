/* Members that fell behind: what they get, from whom, through cuts, changes of the leader, wrong
 * bytes and broken disks; and what must never take the place of what they have. */
#include "replication/message.h"
#include "storage/hard_state.h"
#include "tests/replication/catch_up/catch_up_rig.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(catch_up, .timeout = 300);

#define TRANSFERS 12000u
/* The leader's last epoch. */
#define DURABLE (65 * RIG_EPOCH_ENTRIES)

static struct rig rig;

/* A leader with 65 epochs and entries behind them; its journal is pruned up to an index. */
static struct rig_side *make_leader(uint32_t position, struct epoch_maker *maker,
                                    uint64_t pruned_index)
{
    struct rig_side *leader = rig_make(&rig, position, false);
    rig_open(leader);
    for (int i = 0; i < 5; i++) {
        struct journal_position at;
        journal_position(leader->journal, &at);
        rig_append(leader, at.last_index + RIG_EPOCH_ENTRIES);
        rig_epoch(leader, maker, TRANSFERS);
    }
    rig_append(leader, 2500); /* several segments */
    for (int i = 0; i < 60; i++)
        rig_epoch(leader, maker, 100);
    if (pruned_index > 0) {
        cr_assert_eq(journal_prune_prefix(leader->journal, pruned_index), STATUS_OK);
        uint64_t wait_ns; /* the files go, too */
        while (journal_preparer_step(leader->journal, &wait_ns) == JOB_AGAIN)
            continue;
        struct journal_position at;
        journal_position(leader->journal, &at);
        cr_assert_gt(at.anchor_index, 0, "nothing was pruned: the test is pointless");
    }
    leader->facts = (struct catch_up_facts){
        .term = 9, .leads = true, .commit_index = 2500, .log_first_index = 2401};
    return leader;
}

static void forget_all(struct epoch_maker *maker)
{
    epoch_maker_destroy(maker);
    rig_deinit(&rig);
}

/* An empty directory joins: it gets a store and the journal behind it, and the leader is told. What
 * follows the store is taken when the store counts. */
Test(catch_up, a_joiner_gets_store_and_journal)
{
    rig_init(&rig, 1);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, DURABLE);
    struct rig_side *joiner = rig_make(&rig, 1, false);
    rig_open(joiner);
    cr_assert(rig_until_ready(&rig, leader, joiner, 20000), "%s", joiner->last_failure);
    cr_assert(catch_up_is_ready(joiner->catch_up));
    cr_assert_eq(catch_up_hold_index(leader->catch_up), DURABLE);
    cr_assert(rig_install(joiner));
    cr_assert_eq(joiner->generation.journal, 2);
    cr_assert_eq(joiner->generation.store, 2);
    cr_assert_eq(rig_count_directories(joiner), 2, "the old ones are gone");
    rig_assert_same(joiner, leader, DURABLE);
    struct journal_position position;
    journal_position(joiner->journal, &position);
    cr_assert_eq(position.anchor_index, DURABLE);
    cr_assert_eq(joiner->generation.committed_index, DURABLE);
    cr_assert(rig_until_fed(&rig, leader, joiner, 20000), "%s", joiner->last_failure);
    rig_assert_same(joiner, leader, 2500);
    struct ledger_past past;
    checkpoint_past(joiner->store, &past);
    const char *wrong = made_check_past(maker, &past, 11, 0);
    cr_assert_null(wrong, "%s", wrong);
    struct hard_state state;
    cr_assert_eq(hard_state_read(&joiner->files, &state), STATUS_OK);
    cr_assert_eq(state.term, rig_term(DURABLE), "not below the journal's last");
    cr_assert_eq(state.vote, 0);
    cr_assert_eq(joiner->generation.journal, 2, "opened once");
    forget_all(maker);
}

/* Behind its snapshot libraft never sends entry 1, also where its memory begins with it: a joiner
 * with nothing is behind, whatever the leader's memory holds. */
Test(catch_up, an_empty_journal_is_behind_whatever_the_leaders_memory_holds)
{
    for (uint64_t first = 0; first <= 1; first++) {
        rig_init(&rig, 31);
        struct epoch_maker *maker = rig_maker();
        struct rig_side *leader = rig_make(&rig, 0, false);
        rig_open(leader);
        rig_append(leader, 300);
        leader->facts = (struct catch_up_facts){
            .term = 9, .leads = true, .commit_index = 300, .log_first_index = first};
        struct rig_side *joiner = rig_make(&rig, 1, false);
        rig_open(joiner);
        cr_assert(rig_until_fed(&rig, leader, joiner, 20000), "%s", joiner->last_failure);
        for (int i = 0; i < 2000 && leader->caught_up[2] == 0; i++)
            (void)rig_until_ready(&rig, leader, joiner, 1);
        cr_assert_geq(leader->caught_up[2], 1, "memory from entry %lu", (unsigned long)first);
        rig_assert_same(joiner, leader, leader->caught_up[2]);
        forget_all(maker);
    }
}

/* Its own journal ends within reach of the leader's: entries are sent, which it takes behind its
 * own without opening anything again. */
Test(catch_up, a_journal_in_reach_needs_entries_only)
{
    rig_init(&rig, 2);
    struct epoch_maker *maker = rig_maker();
    struct epoch_maker *own = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append(peer, 55);
    for (int i = 0; i < 5; i++)
        rig_epoch(peer, own, TRANSFERS);
    cr_assert(rig_until_fed(&rig, leader, peer, 20000), "%s", peer->last_failure);
    cr_assert_eq(peer->fed_entries, 2500 - 55);
    cr_assert_eq(peer->generation.journal, 1);
    cr_assert_eq(peer->generation.store, 1);
    cr_assert_eq(catch_up_hold_index(peer->catch_up), UINT64_MAX);
    rig_assert_same(peer, leader, 2500);
    struct checkpoint_meta meta;
    cr_assert_eq(checkpoint_meta(peer->store, &meta), STATUS_OK);
    cr_assert_eq(meta.index, 50);
    epoch_maker_destroy(own);
    forget_all(maker);
}

/* A witness gets entries, and no store; from the watermark on. */
Test(catch_up, a_witness_gets_the_journal_from_the_watermark)
{
    rig_init(&rig, 3);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 400);
    leader->facts.watermark_index = 601;
    struct rig_side *witness = rig_make(&rig, 1, true);
    rig_open(witness);
    cr_assert(rig_until_ready(&rig, leader, witness, 20000), "%s", witness->last_failure);
    struct catch_up_progress progress;
    catch_up_own(witness->catch_up, &progress);
    cr_assert_eq(progress.bytes_total, 0);
    cr_assert(rig_install(witness));
    cr_assert_eq(rig_count_directories(witness), 1);
    cr_assert(rig_until_fed(&rig, leader, witness, 20000), "%s", witness->last_failure);
    rig_assert_same(witness, leader, 2500);
    struct journal_position position;
    journal_position(witness->journal, &position);
    cr_assert_eq(position.anchor_index, 601);
    forget_all(maker);
}

/* Forty lives of a joiner whose connection is cut all the time, at any message; the leader writes
 * epochs meanwhile. It always ends with the whole of it. */
Test(catch_up, cuts_anywhere_cost_time_only)
{
    rig_init(&rig, 4);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, DURABLE);
    uint64_t last = 2500;
    uint32_t cuts = 0;
    for (int life = 0; life < 12; life++) {
        struct rig_side *joiner = rig_make(&rig, 1, life % 4 == 3);
        rig_open(joiner);
        rig.cut_chance = 60;
        joiner->full_chance = 300;
        leader->caught_up[2] = 0;
        bool fed = false;
        for (int burst = 0; burst < 200 && !fed; burst++) {
            last += 5;
            rig_append(leader, last);
            if (burst % 10 == 9 && life < 3)
                rig_epoch(leader, maker, 200);
            fed = rig_until_fed(&rig, leader, joiner, 400);
        }
        cr_assert(fed, "life %d: %s", life, joiner->last_failure);
        cuts += rig.cuts;
        rig.cut_chance = 0;
        rig_assert_same(joiner, leader, last);
        rig_unmake(joiner);
        rig_connect_all(&rig);
    }
    cr_assert_gt(cuts, 20);
    forget_all(maker);
}

/* A bit flipped on the way, however it passed the transport: refused, nothing is installed; without
 * flips it works. */
Test(catch_up, wrong_bytes_are_refused)
{
    rig_init(&rig, 5);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, DURABLE);
    struct rig_side *joiner = rig_make(&rig, 1, false);
    rig_open(joiner);
    for (int i = 0; i < 10; i++) {
        rig.flip_chance = 400;
        const uint32_t failures = joiner->failures;
        for (int burst = 0; burst < 40 && joiner->failures == failures; burst++)
            cr_assert_not(rig_until_ready(&rig, leader, joiner, 500) && rig.flips == 0);
        if (joiner->ready) { /* the flips met padding or the like: that may not be */
            cr_assert_fail("a flipped bit was installed");
        }
        cr_assert_gt(joiner->failures, failures);
    }
    rig.flip_chance = 0;
    cr_assert(rig_until_fed(&rig, leader, joiner, 20000), "%s", joiner->last_failure);
    rig_assert_same(joiner, leader, 2500);
    cr_assert_eq(rig_count_directories(joiner), 2);
    forget_all(maker);
}

/* The same for entries that go into the journal in use: none gets there but the leader's, whatever
 * was flipped, and in the end all do. */
Test(catch_up, wrong_entries_are_not_taken)
{
    rig_init(&rig, 20);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    uint32_t failures = 0;
    for (int life = 0; life < 20; life++) {
        struct rig_side *peer = rig_make(&rig, 1, life % 2 == 1);
        rig_open(peer);
        rig_append(peer, 100);
        leader->caught_up[2] = 0;
        rig.flip_chance = 500;
        (void)rig_until_fed(&rig, leader, peer, 3000);
        failures += peer->failures;
        struct journal_position position;
        journal_position(peer->journal, &position);
        rig_assert_same(peer, leader, position.last_index);
        rig.flip_chance = 0;
        cr_assert(rig_until_fed(&rig, leader, peer, 60000), "%s", peer->last_failure);
        rig_assert_same(peer, leader, 2500);
        rig_unmake(peer);
        rig_connect_all(&rig);
    }
    cr_assert_gt(rig.flips, 10);
    cr_assert_gt(failures, 5);
    forget_all(maker);
}

static bool in_phase(const struct rig_side *side, const char *phase)
{
    struct catch_up_progress progress;
    catch_up_own(side->catch_up, &progress);
    return progress.active && strcmp(progress.phase, phase) == 0;
}

/* The leader dies while its store is copied: the next one starts anew. While its entries are taken:
 * the next one goes on behind them. */
Test(catch_up, another_leader_goes_on_or_begins_anew)
{
    for (int which = 0; which < 2; which++) {
        rig_init(&rig, 6);
        struct epoch_maker *maker = rig_maker();
        struct rig_side *first = make_leader(0, maker, DURABLE);
        rig_close(first);
        struct rig_side *second = rig_make_copy(&rig, 2, first);
        rig_open(first);
        rig_open(second);
        second->facts = first->facts;
        second->facts.term = 10;
        struct rig_side *joiner = rig_make(&rig, 1, false);
        rig_open(joiner);
        if (which == 0) {
            for (int i = 0; i < 20000 && !in_phase(joiner, "store"); i++)
                (void)rig_until_ready(&rig, first, joiner, 1);
        } else {
            for (int i = 0; i < 20000 && joiner->fed_entries == 0; i++)
                (void)rig_until_fed(&rig, first, joiner, 1);
        }
        cr_assert(in_phase(joiner, which == 0 ? "store" : "journal"));
        const uint64_t had = joiner->fed_last;
        rig_cut(&rig, 0, 1, true);
        cr_assert(rig_until_fed(&rig, second, joiner, 40000), "%s", joiner->last_failure);
        /* Half a store is thrown away, which is told; what was taken is not. */
        cr_assert_eq(joiner->failures, which == 0 ? 1 : 0);
        cr_assert_eq(joiner->fed_entries, 2500 - DURABLE, "each once");
        cr_assert(which == 0 || had < 2500, "all had come: the test is pointless");
        rig_assert_same(joiner, second, 2500);
        cr_assert_eq(rig_count_directories(joiner), 2);
        forget_all(maker);
    }
}

/* [safety] Entries count from the leader that is followed, in its term, and from nobody else: the
 * connection to who was deposed stays up, what it still sends is not taken, and the next one goes
 * on. */
Test(catch_up, entries_of_who_does_not_lead_are_not_taken)
{
    for (int which = 0; which < 2; which++) {
        rig_init(&rig, 19);
        struct epoch_maker *maker = rig_maker();
        struct rig_side *first = make_leader(0, maker, 0);
        rig_close(first);
        struct rig_side *second = rig_make_copy(&rig, 2, first);
        rig_open(first);
        rig_open(second);
        second->facts = first->facts;
        second->facts.term = 10;
        struct rig_side *peer = rig_make(&rig, 1, false);
        rig_open(peer);
        rig_append(peer, 200);
        for (int i = 0; i < 20000 && peer->fed_entries == 0; i++)
            (void)rig_until_fed(&rig, first, peer, 1);
        cr_assert_gt(peer->fed_entries, 0);
        const uint64_t had = peer->fed_entries;
        if (which == 0)
            rig.followed = second; /* it follows another one */
        else
            first->facts.leads = false; /* it does not know yet; the other side does */
        for (int i = 0; i < 900; i++)
            rig_round(&rig);
        /* What was sent while it led in the term followed may still be taken. */
        cr_assert(which == 1 ? peer->fed_entries < 2300 : peer->fed_entries == had);
        cr_assert_eq(peer->failures, 0, "%s", peer->last_failure);
        cr_assert(rig_until_fed(&rig, second, peer, 20000), "%s", peer->last_failure);
        cr_assert_eq(peer->fed_entries, 2300, "each once");
        rig_assert_same(peer, second, 2500);
        forget_all(maker);
    }
}

/* Without room for a while nothing more is asked for than fits the window; without any for long it
 * is given up, told, and begun anew. */
Test(catch_up, entries_wait_for_room)
{
    rig_init(&rig, 24);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    peer->full_chance = 1000;
    cr_assert_not(rig_until_fed(&rig, leader, peer, 29000));
    cr_assert_eq(peer->failures, 0, "%s", peer->last_failure);
    cr_assert_eq(peer->fed_entries, 0);
    cr_assert_leq(peer->bytes_received, 6u << 20, "%lu", (unsigned long)peer->bytes_received);
    cr_assert_not(rig_until_fed(&rig, leader, peer, 3000));
    cr_assert_eq(peer->failures, 1);
    peer->full_chance = 900;
    cr_assert(rig_until_fed(&rig, leader, peer, 20000), "%s", peer->last_failure);
    rig_assert_same(peer, leader, 2500);
    forget_all(maker);
}

/* It has the entry that the leader's log in memory begins with: that is all it says, and how far it
 * knows to agree. The entry before that is not enough: libraft does not know its term. */
Test(catch_up, a_peer_that_is_not_behind_says_so)
{
    rig_init(&rig, 7);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append(peer, 2410);
    peer->facts.commit_index = 2405;
    cr_assert_not(rig_until_ready(&rig, leader, peer, 2000));
    cr_assert_eq(leader->caught_up[2], 2405);
    struct catch_up_progress progress;
    catch_up_own(peer->catch_up, &progress);
    cr_assert_not(progress.active);
    rig_unmake(peer);
    rig_connect_all(&rig);

    leader->caught_up[2] = 0;
    peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append(peer, 2400);
    cr_assert(rig_until_fed(&rig, leader, peer, 20000), "%s", peer->last_failure);
    rig_assert_same(peer, leader, 2500);
    forget_all(maker);
}

/* [safety] While the copy is made the journal in use gets further than the copy, in the same
 * history: it stays. */
Test(catch_up, a_journal_that_holds_more_stays)
{
    rig_init(&rig, 8);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, DURABLE);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append(peer, 100); /* the leader's journal does not reach back to it */
    cr_assert(rig_until_ready(&rig, leader, peer, 20000), "%s", peer->last_failure);
    rig_append(peer, 2510);
    cr_assert_not(rig_install(peer));
    cr_assert_eq(peer->generation.journal, 1);
    struct journal_position position;
    journal_position(peer->journal, &position);
    cr_assert_eq(position.last_index, 2510);
    cr_assert_eq(rig_count_directories(peer), 2, "the copy was removed at the start");
    forget_all(maker);
}

/* [safety] The journal in use holds more than the store that is copied, but the server cannot go on
 * behind it: the new journal is filled up to there before it counts. */
Test(catch_up, a_new_journal_holds_all_that_the_old_one_held)
{
    rig_init(&rig, 22);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    rig_close(leader);
    leader->tail_bytes_max = 1u << 20;
    rig_open(leader);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append(peer, 1500);
    peer->facts.commit_index = 0; /* it can apply none of it by itself: a store is cheaper */
    cr_assert(rig_until_ready(&rig, leader, peer, 20000), "%s", peer->last_failure);
    cr_assert(rig_install(peer));
    cr_assert_eq(peer->generation.store, 2);
    struct journal_position position;
    journal_position(peer->journal, &position);
    cr_assert_eq(position.anchor_index, DURABLE);
    cr_assert_geq(position.last_index, 1500);
    cr_assert_eq(peer->generation.committed_index, position.last_index);
    rig_assert_same(peer, leader, position.last_index);
    cr_assert(rig_until_fed(&rig, leader, peer, 20000), "%s", peer->last_failure);
    rig_assert_same(peer, leader, 2500);
    forget_all(maker);
}

/* A store whose entry is not in the leader's history: nothing is touched, words say why. */
Test(catch_up, two_histories_are_told)
{
    rig_init(&rig, 9);
    struct epoch_maker *maker = rig_maker();
    struct epoch_maker *own = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append_other(peer, 20, 1);
    rig_epoch(peer, own, 100);
    peer->facts.commit_index = 10;
    cr_assert_not(rig_until_ready(&rig, leader, peer, 5000));
    cr_assert_not_null(strstr(peer->last_failure, "two histories"), "%s", peer->last_failure);
    cr_assert_gt(leader->gave_up[2], 0);
    cr_assert_eq(rig_count_directories(peer), 2);
    epoch_maker_destroy(own);
    forget_all(maker);
}

static bool opened_for_stranger;

static void watch_opened(struct rig *world, struct rig_side *to, const uint8_t *bytes, size_t size)
{
    (void)world;
    struct message_header header;
    memcpy(&header, bytes, sizeof header);
    uint32_t status;
    memcpy(&status, bytes + sizeof header, sizeof status);
    if (to->id == 3 && header.type == MESSAGE_CATCH_UP_OPENED && size > 12 && status == STATUS_OK)
        opened_for_stranger = true;
}

/* Two are served at a time; the third waits its turn and is served then. */
Test(catch_up, three_peers_are_served_in_turn)
{
    rig_init(&rig, 10);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, DURABLE);
    struct rig_side *a = rig_make(&rig, 1, false);
    struct rig_side *b = rig_make(&rig, 2, false);
    rig_open(a);
    rig_open(b);
    rig.followed = leader;
    for (int i = 0; i < 40000 && !(a->ready && b->ready); i++) {
        if (i % 1000 == 0) {
            catch_up_offer(leader->catch_up, 2);
            catch_up_offer(leader->catch_up, 3);
        }
        rig_round(&rig);
    }
    cr_assert(a->ready && b->ready, "%s / %s", a->last_failure, b->last_failure);
    cr_assert(rig_install(a));
    cr_assert(rig_install(b));
    for (int i = 0; i < 40000 && (leader->caught_up[2] < 2500 || leader->caught_up[3] < 2500);
         i++) {
        if (i % 1000 == 0) {
            catch_up_offer(leader->catch_up, 2);
            catch_up_offer(leader->catch_up, 3);
        }
        rig_round(&rig);
    }
    rig_assert_same(a, leader, 2500);
    rig_assert_same(b, leader, 2500);
    forget_all(maker);
}

/* Nobody is served who was not offered anything. */
Test(catch_up, a_stranger_is_not_served)
{
    rig_init(&rig, 11);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, DURABLE);
    struct rig_side *stranger = rig_make(&rig, 2, false);
    struct rig_side *liar = rig_make(&rig, 1, false);
    rig_open(stranger);
    rig_open(liar);
    liar->facts = leader->facts; /* offers what it does not have, so the stranger asks */
    rig.before_delivery = watch_opened;
    rig.followed = liar;
    catch_up_offer(liar->catch_up, 3);
    for (int i = 0; i < 2000; i++)
        rig_round(&rig);
    cr_assert_not(opened_for_stranger && stranger->ready);
    struct catch_up_progress progress;
    catch_up_served(leader->catch_up, 3, &progress);
    cr_assert_not(progress.active);
    forget_all(maker);
}

/* Offers count from the leader that the node follows: not from another member, whatever term it
 * names, and from nobody as long as nobody is followed. */
Test(catch_up, an_offer_of_whoever_is_not_followed_is_passed_over)
{
    rig_init(&rig, 17);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, DURABLE);
    struct rig_side *joiner = rig_make(&rig, 1, false);
    struct rig_side *followed = rig_make(&rig, 2, false);
    rig_open(joiner);
    rig_open(followed);
    for (uint64_t term = 8; term <= 10; term++) {
        followed->facts = (struct catch_up_facts){.term = term, .leads = true};
        rig.followed = term == 10 ? NULL : followed;
        catch_up_offer(leader->catch_up, joiner->id);
        for (int i = 0; i < 100; i++)
            rig_round(&rig);
        struct catch_up_progress progress;
        catch_up_own(joiner->catch_up, &progress);
        cr_assert_not(progress.active, "term %lu", (unsigned long)term);
    }
    cr_assert(rig_until_ready(&rig, leader, joiner, 20000), "%s", joiner->last_failure);
    forget_all(maker);
}

/* A data node that was away: its own journal gives what it has, and a witness that leads, whose
 * journal begins far behind the node's store, gives the rest. */
Test(catch_up, a_witness_gives_what_follows_our_last_entry)
{
    rig_init(&rig, 12);
    struct epoch_maker *maker = rig_maker();
    struct epoch_maker *own = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    leader->facts.watermark_index = 1200;
    struct rig_side *witness = rig_make(&rig, 1, true);
    rig_open(witness);
    cr_assert(rig_until_fed(&rig, leader, witness, 20000), "%s", witness->last_failure);
    rig_cut(&rig, 0, 1, true);
    rig_cut(&rig, 0, 2, true);

    struct rig_side *peer = rig_make(&rig, 2, false);
    rig_open(peer);
    rig_append(peer, 1300);
    for (int i = 0; i < 5; i++)
        rig_epoch(peer, own, 100);
    peer->facts.commit_index = 1000; /* it was not told more */
    witness->facts = (struct catch_up_facts){
        .term = 11, .leads = true, .commit_index = 2500, .log_first_index = 2401};
    peer->bytes_received = 0;
    cr_assert(rig_until_fed(&rig, witness, peer, 20000), "%s", peer->last_failure);
    cr_assert_eq(catch_up_hold_index(witness->catch_up), 1300);
    cr_assert_eq(peer->generation.store, 1);
    rig_assert_same(peer, leader, 2500);
    cr_assert_eq(peer->failures, 0);
    epoch_maker_destroy(own);
    forget_all(maker);
}

/* The same, but our last entries were never committed: asked about, refused, and left out. */
Test(catch_up, our_tail_of_another_history_is_left_out)
{
    rig_init(&rig, 13);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append(peer, 1500);
    rig_append_other(peer, 1520, 3);
    cr_assert(rig_until_fed(&rig, leader, peer, 20000), "%s", peer->last_failure);
    struct journal_position position;
    journal_position(peer->journal, &position);
    cr_assert_eq(position.last_index, 2500);
    rig_assert_same(peer, leader, 2500);
    cr_assert_eq(peer->failures, 0);
    cr_assert_eq(peer->generation.journal, 1);
    forget_all(maker);
}

/* Connections that break all the time while entries are taken, without room for them half of the
 * time: each is taken once. */
Test(catch_up, cuts_while_entries_are_taken)
{
    rig_init(&rig, 14);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    for (int life = 0; life < 6; life++) {
        struct rig_side *peer = rig_make(&rig, 1, life % 2 == 1);
        rig_open(peer);
        rig_append(peer, 900 + 200 * (uint64_t)life);
        peer->full_chance = 500;
        leader->caught_up[2] = 0;
        rig.cut_chance = 250;
        cr_assert(rig_until_fed(&rig, leader, peer, 200000), "life %d: %s", life,
                  peer->last_failure);
        rig.cut_chance = 0;
        cr_assert_eq(peer->fed_entries, 2500 - 900 - 200 * (uint64_t)life);
        cr_assert_eq(peer->generation.journal, 1);
        rig_assert_same(peer, leader, 2500);
        rig_unmake(peer);
        rig_connect_all(&rig);
    }
    forget_all(maker);
}

/* A store that is far behind, but the journal above it is known to be committed, and is applied at
 * the moment: what is new comes, and no store. */
Test(catch_up, a_node_that_still_applies_gets_no_other_store)
{
    rig_init(&rig, 16);
    struct epoch_maker *maker = rig_maker();
    struct epoch_maker *own = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    rig_close(leader);
    leader->tail_bytes_max = 9u << 20; /* less than what is above the peer's store */
    rig_open(leader);
    struct rig_side *peer = rig_make(&rig, 1, false);
    rig_open(peer);
    rig_append(peer, 2000);
    for (int i = 0; i < 5; i++)
        rig_epoch(peer, own, 100);
    cr_assert(rig_until_fed(&rig, leader, peer, 20000), "%s", peer->last_failure);
    cr_assert_eq(peer->generation.store, 1);
    rig_assert_same(peer, leader, 2500);
    epoch_maker_destroy(own);
    forget_all(maker);
}

/* The journal would reach back, but it is too much to hold above the store: a new store comes. A
 * witness has none, and gets the journal. */
Test(catch_up, a_store_far_behind_is_replaced)
{
    rig_init(&rig, 15);
    struct epoch_maker *maker = rig_maker();
    struct rig_side *leader = make_leader(0, maker, 0);
    rig_close(leader);
    leader->tail_bytes_max = 9u << 20; /* less than all, more than what is above its epochs */
    rig_open(leader);
    leader->facts = (struct catch_up_facts){
        .term = 9, .leads = true, .commit_index = 2500, .log_first_index = 2401};
    for (int kind = 0; kind < 2; kind++) {
        struct rig_side *peer = rig_make(&rig, 1, kind == 1);
        rig_open(peer);
        rig_append(peer, 55);
        leader->caught_up[2] = 0;
        cr_assert(rig_until_fed(&rig, leader, peer, 20000), "%s", peer->last_failure);
        cr_assert_eq(peer->generation.store, kind == 1 ? 1 : 2);
        rig_assert_same(peer, leader, 2500);
        rig_unmake(peer);
        rig_connect_all(&rig);
    }
    forget_all(maker);
}
