"""The bugs, one row each. How to add one: README.md.

A row's first finder is the one that a slice runs (scripts/planted.sh --ci). Budgets are in seeds,
and wide: a search ends with its find, so a wide one costs nothing and no fresh seed misses by luck.
"""
from .bug import Bug, FaultLoop, GuardSearch, Nemesis, Simulator, Tests

GUARD = "replication/test_raft_guard"
ORACLE = Tests("core/test_core_differential")

GUARD_OFF = (
    Bug("guard-s1", "a follower acknowledges what an older leader left in its log",
        (Tests(GUARD, "raft_guard/s1_*", schedule=True),
         GuardSearch(),
         Simulator(("both sites", "both", "lost", "replicas"))), guard_off=("S1",)),
    Bug("guard-s2", "a follower takes the leader's commit index for all of its own log",
        (Tests(GUARD, "raft_guard/s2_*", schedule=True),
         GuardSearch()), guard_off=("S2",)),
    Bug("guard-s3", "entries from below the snapshot are appended at the end of the log",
        (Tests(GUARD, "raft_guard/s3_*", schedule=True),
         Simulator(("process",))), guard_off=("S3",)),
    Bug("guard-s5", "a leader asks its majority for its own last entry only: no commit under load",
        (Tests(GUARD, "raft_guard/s5_*", schedule=True),
         Simulator(("progress",))), guard_off=("S5",)),
    Bug("guard-s8", "a leader whose disk refused an entry goes on and gives the index to another",
        (Tests(GUARD, "raft_guard/s8_*", schedule=True),
         Simulator(("process",))), guard_off=("S8",)),
)

# What the simulator plants at its seams; who has to see it stands beside it (chaos/sim/planted.c).
RULE = (
    Bug("gate-open", "under SYNC the witness is sent what a site lacks",
        (Simulator(row="gate-open"),)),
    Bug("clamp-off", "under SYNC the witness counts in full",
        (Simulator(row="clamp-off"),), rare=True),
    Bug("gate-and-clamp-off", "the two together",
        (Simulator(row="gate-and-clamp-off"),)),
    Bug("gate-inherited", "the gate starts at what a leader inherited, verified or not",
        (Simulator(row="gate-inherited"),)),
    Bug("unsynced-copy-counts", "a leader's own copy counts before its disk has it",
        (Simulator(row="unsynced-copy-counts"),)),
    Bug("committed-mode", "the committed prefix decides the mode, not the log",
        (Simulator(row="committed-mode"),)),
    Bug("degrade-early", "degraded before the quorum, so the witness, holds the degrade entry",
        (Simulator(row="degrade-early"),), rare=True),
    Bug("witness-past-return", "a witness counts past the return that ends a degraded run",
        (Tests(GUARD, "raft_guard/site_witness_counts_to_the_end_of_a_degraded_run", schedule=True),
         GuardSearch(options=("--witness", "--sites"))), guard_off=("RUN",)),
    Bug("followers-own-mode", "a follower takes its own commit for what both sites have",
        (Simulator(row="followers-own-mode", seeds=2000),), rare=True),
    Bug("early-return", "back to SYNC before the other site has caught up",
        (Simulator(row="early-return"),), rare=True),
    Bug("certificate-too-high", "a certificate names the entry behind the last committed one",
        (Simulator(row="certificate-too-high"),)),
)

SEAMS = (
    Bug("sync-off", "syncs do nothing and say OK",
        (Simulator(row="sync-off"),
         FaultLoop(),
         Nemesis("all-power-lost", ("deadlines", "unknown"))), fault="sync_off"),
    Bug("reply-before-commit", "a leader takes what it alone has synced for committed",
        (Simulator(row="reply-before-commit"),
         Simulator(),
         FaultLoop(),
         Nemesis("--random --only isolate,sites-cut",
                 ("acknowledged", "linearizable", "certificates", "stamps"), runs=2)),
        fault="reply_before_commit"),
    Bug("request-window-off", "no request is remembered, so a repeat is executed again",
        (Simulator(row="request-window-off"),
         Simulator(("identity", "replicas")),
         FaultLoop(),
         Nemesis("same-id-twice", ("identity", "unknown"))), fault="request_window_off"),
)

DISKS = (
    Bug("ack-before-sync", "the journal tells of an entry before the sync that makes it durable",
        (Simulator(("node", "both sites", "lost", "certificate", "leaders")),),
        fault="ack_before_sync"),
    Bug("vote-not-synced", "a vote is answered and not synced: after a power loss it is given again",
        (Simulator(("leaders",), seeds=4000),), fault="vote_not_synced", rare=True),
    Bug("synced-tail-cut", "recovery cuts the last entry as torn, though it was synced and told of",
        (Simulator(("node", "certificate", "both sites", "lost")),), fault="synced_tail_cut"),
    Bug("wiped-node-keeps-id", "a node that lost its disk comes back as its old self and votes",
        (Simulator(("node", "both sites", "lost", "certificate", "leaders")),),
        fault="wiped_node_keeps_id"),
    Bug("witness-pruned-early", "the witness keeps nothing of what one site alone has",
        (Simulator(("witness",)),), fault="witness_pruned_early"),
)

# No bug of a node, but something done to all of them that they cannot notice: claims are broken here
# that a cluster with one bug does not break, since it stops itself before.
WORLD = (
    Bug("all-disks-put-back",
        "every machine is restored from one older snapshot at once: on their own disks nothing says "
        "so, the log goes on from there, and what clients were told since is gone",
        (Nemesis("all-rolled-back", ("acknowledged", "linearizable", "unknown", "money", "digests",
                                     "chains", "certificates")),)),
)

CORE = (
    Bug("read-without-round", "a leader answers reads by itself: deposed, it answers from the past",
        (Simulator(("reads", "certificate")),
         Nemesis("paused-leader", ("certificates",), runs=5)), fault="read_without_round"),
    Bug("window-lost-at-snapshot", "a node that starts from a checkpoint has forgotten all requests",
        (Simulator(("identity", "replicas")), ORACLE), fault="window_lost_at_snapshot"),
    Bug("window-without-principal", "two clients who use the same nonce get each other's answer",
        (Simulator(("identity",)), ORACLE), fault="window_without_principal"),
    Bug("window-by-commit-time", "requests are forgotten so long after their commit: issued ahead of "
        "the clock, a repeat is executed again",
        (Simulator(("identity",)), ORACLE), fault="window_by_commit_time"),
    Bug("frozen-cleared-early", "between freeze and checkpoint what was frozen cannot be found",
        (Simulator(("identity", "replicas")), ORACLE), fault="frozen_cleared_early"),
    Bug("local-clock-in-core", "stamps have something of the clock of the machine that applies",
        (Simulator(("replicas",)), ORACLE,
         Nemesis("same-id-twice", ("digests", "identity", "both-sites"))),
        fault="local_clock_in_core"),
    Bug("id-free-after-epoch", "a transfer's id counts as new again when its epoch was checkpointed",
        (Simulator(("ledger", "replicas")), ORACLE), fault="id_free_after_epoch"),
    Bug("forward-new-identity", "a forwarded request is sent again under another nonce",
        (Simulator(("identity", "ledger", "replicas")),), fault="forward_new_identity"),
)

# Written by readers of the design, two of them, who had not read the checkers: each is a mistake that
# its author held to be likely at that very place, and the sentence is the forecast of what it breaks.
# Four stand for others that turned out to break nothing; by then their author had read them.
READER = (
    Bug("refused-id-not-burned",
        "a transfer that is refused for want of an account has no ordinals to be kept with, so "
        "it is not: a late repeat moves money that was refused",
        (Simulator(("ledger",)), ORACLE), fault="refused_id_not_burned"),
    Bug("clash-in-high-half",
        "an id that comes back with another amount is compared in 64 bits: a clash is told as a "
        "repeat, and the caller takes for paid what is not",
        (Simulator(("ledger",)), Tests("core/test_core_transfer"),), fault="clash_in_high_half"),
    Bug("limits-lost-at-restart",
        "flags are filled in where accounts are created, and not where they are restored: "
        "limits are broken on nodes that restarted, and replicas part",
        (Simulator(("replicas", "ledger")),), fault="limits_lost_at_restart"),
    Bug("window-count-lost",
        "what the window holds is counted from the restart on: 'full' is another answer on a "
        "node that restarted, and replicas part",
        (ORACLE,), fault="window_count_lost"),
    Bug("repeat-stamped-anew",
        "a repeat's answer has the stamp of the repeat, not of the request: not the bytes of "
        "the first answer",
        (Simulator(("identity",)),
         Nemesis("same-id-twice", ("identity", "stamps", "outcomes"))),
        fault="repeat_stamped_anew"),
    Bug("epoch-shares-ledgers",
        "an epoch has a pointer to the ledgers instead of a copy: the checkpoint has totals of "
        "later entries, and does not add up at the next start",
        (Tests("core/test_core_epoch"),
         Simulator(("node",))), fault="epoch_shares_ledgers"),
    Bug("filter-clears-newer",
        "when the halves of the request filter turn the newer one is cleared: a request of the "
        "last hours is executed again",
        (Tests("storage/test_store_machine"),), fault="filter_clears_newer"),
    Bug("recovered-tail-not-synced",
        "what a start reads from the journal is taken for durable, though a killed process may "
        "never have synced it: acknowledged, and gone with the next power loss",
        (Tests("storage/test_journal_faults", "journal_faults/any_failing_sync*"),),
        fault="recovered_tail_not_synced"),
    Bug("term-run-trimmed-early",
        "a truncation down to the first entry of a term forgets that term: the journal names "
        "another term for the entry, so a sound node is condemned, or a certificate contradicts "
        "its journal",
        (Tests("storage/test_journal", "journal/a_truncated_suffix_is_replaced"),),
        fault="term_run_trimmed_early"),
    Bug("copy-replaces-tail",
        "a finished copy takes the place of a journal that has grown beyond it meanwhile: what "
        "was acknowledged behind it is gone",
        (Tests("replication/test_catch_up", "catch_up/a_journal_that_holds_more_stays"),),
        fault="copy_replaces_tail"),
    Bug("copy-not-synced",
        "the store of a copy is synced every 64 MiB, and not at its end: after a loss of power "
        "the node has no store, and its old one was removed",
        (Tests("replication/test_catch_up_crash", "catch_up_crash/an_end_at_any_step*"),),
        fault="copy_not_synced", rare=True),
    Bug("truncated-degrade-stays",
        "a truncation spares a degrade that is the very first entry truncated: its leader "
        "counts the witness in full although the log says SYNC",
        (Tests("replication/test_site_rule", "site_rule/modes_follow_the_log"),),
        fault="truncated_degrade_stays"),
    Bug("taken-back-as-certain",
        "a forward whose link broke waits again as if it had never been sent: NOT_ACCEPTED is "
        "said of what is in the log",
        (Tests("replication/test_forward"),
         Simulator(("identity",), seeds=2000)), fault="taken_back_as_certain"),
    Bug("unknown-sent-again-as-certain",
        "that a leader said 'unknown' is forgotten with the next attempt, whose refusal is then "
        "told as NOT_ACCEPTED",
        (Tests("replication/test_forward"),), fault="unknown_sent_again_as_certain"),
    Bug("lost-term-as-certain",
        "what a deposed leader had proposed counts as not in the log: NOT_ACCEPTED is said of "
        "what its successor commits",
        (Tests("replication/test_propose"),
         Simulator(("identity",), seeds=2000)), fault="lost_term_as_certain"),
    Bug("read-joins-round",
        "a read counts the answers to a round that was sent before it came: it misses what was "
        "acknowledged in between",
        (Tests("replication/test_consensus_reads", "consensus_reads/a_read_does_not_join_a_round*"),
         Simulator(("reads", "certificate"), seeds=2000)), fault="read_joins_round"),
    Bug("read-before-barrier",
        "a new leader answers reads by the commit index that it inherited, which is behind what "
        "was acknowledged",
        (Simulator(("reads",)),), fault="read_before_barrier"),
    Bug("age-without-min-index",
        "who names an age is answered without the index that was asked for: one's own write is "
        "not there",
        (Simulator(("reads",)),), fault="age_without_min_index"),
    Bug("age-since-answer",
        "a state's age counts from the end of its round instead of from its question: it is "
        "told to be younger than it is",
        (Simulator(("reads",)),), fault="age_since_answer", rare=True),
    Bug("replace-step-not-judged",
        "the site rule is asked about the members at the end of a replacement, not on the way: "
        "one site alone is a majority for a while",
        (Tests("replication/test_membership"),), fault="replace_step_not_judged"),
    Bug("witness-notes-uncommitted",
        "a witness's note has the end of its log for the end of what is committed: after a "
        "restart it cannot take back what a new leader truncates",
        (Simulator(("witness",)),), fault="witness_notes_uncommitted", rare=True),
    Bug("vouched-for-ever",
        "who once said where its journal ends is not asked again on a new link: an older copy "
        "votes as its old self",
        (Tests("replication/test_floors_cluster", "floors_cluster/a_peer_is_heard_once*"),),
        fault="vouched_for_ever"),
    Bug("degrade-stamped-by-wall",
        "a durability entry has the time of day, whatever is in the log: behind a leader whose "
        "clock was ahead stamps go back",
        (Tests("replication/test_durability_cluster",
               "durability_cluster/durability_entries_are_stamped*"),),
        fault="degrade_stamped_by_wall"),
    Bug("doubt-forgotten",
        "the client library reports the last answer, a refusal, although an earlier attempt "
        "ended without one: refused is said of what is executed",
        (Tests("client/test_client_judge"),
         Simulator(("identity",))), fault="doubt_forgotten"),
    # The four that came afterwards.
    Bug("certificate-by-own-clock",
        "T is the leader's own clock, although others are behind it: a clock that runs ahead "
        "shortens the time about which a verdict says that nothing is known",
        (Tests("replication/test_certificate", "certificate/a_clock_that_is_ahead*"),),
        fault="certificate_by_own_clock"),
    Bug("verdict-counts-standbys",
        "a verdict counts members without a vote for the majority that is here: zero loss is "
        "proven by directories that nobody waited for",
        (Tests("replication/test_certificate_verdict"),), fault="verdict_counts_standbys"),
    Bug("floor-not-committed",
        "a floor is what a member has synced, committed or not: when a later leader takes it "
        "back, a sound node is condemned",
        (Simulator(("node",)),), fault="floor_not_committed", rare=True),
    Bug("full-log-hears-nothing",
        "a member whose log in memory is full takes nothing out of a batch, not even what is "
        "committed: killed in that state before its first checkpoint it stands still for good",
        (Tests("replication/test_consensus_feed", "consensus_feed/a_log_that_was_full*"),),
        fault="full_log_hears_nothing"),
    # The second reader's.
    Bug("stamps-begin-again",
        "events are stamped by their place in a group of 32 instead of in the request: stamps of a "
        "large request come again, and event k has not the stamp that the answer implies",
        (ORACLE,), fault="stamps_begin_again"),
    Bug("operator-count-stale",
        "who loses the site operator's role goes on being counted: the last one can be disabled "
        "after all, and a node that restarted, which counts anew, refuses what others do",
        (ORACLE, Tests("core/test_core_tables")), fault="operator_count_stale"),
    Bug("window-one-too-many",
        "> for >= where the window is full: it takes one request more than a checkpoint may hold, "
        "and no node starts again",
        (Tests("core/test_core_request"),), fault="window_one_too_many"),
    Bug("roles-not-rewritten",
        "a checkpoint writes the rows of principals that are new, as it does with accounts: a role "
        "that was taken away is back after a restart, under a digest that says nothing",
        (Tests("storage/test_store_machine", "store_machine/a_role_that_changed*"),),
        fault="roles_not_rewritten"),
    Bug("turn-not-synced",
        "a segment that is full is closed without a sync, the next one is synced: the part of a "
        "group that was in the old one is acknowledged, and gone with a loss of power",
        (Simulator(("node", "lost", "both sites")),
         Tests("storage/test_journal_faults", "journal_faults/power_lost_at_any_moment*")),
        fault="turn_not_synced"),
    Bug("pruned-one-further",
        "pruning up to an index takes a segment that ends one entry behind it: that entry is in no "
        "store yet, or lacking at a site, and nowhere else any more",
        (Tests("storage/test_journal", "journal/random_lives*"),), fault="pruned_one_further"),
    Bug("both-not-forwarded",
        "that a request wants both sites is not said when it is forwarded: at a follower it is taken "
        "into a degraded log instead of being refused",
        (Tests("replication/test_forward"),), fault="both_not_forwarded"),
    Bug("fresh-before-applied",
        "a state counts as the newest when its index is confirmed, though it is not applied yet: who "
        "names an age is answered from an older one",
        (Tests("replication/test_propose"),
         Simulator(("reads",), seeds=2000)), fault="fresh_before_applied"),
    Bug("loaded-change-committed",
        "the members that a start finds last in the log are taken for agreed: when a new leader "
        "truncates the change, this node goes on with members that never were",
        (Tests(GUARD, "raft_guard/*after_a_restart"),
         GuardSearch(seeds=4000, options=("--nodes", "5", "--voters", "1"))),
        fault="loaded_change_committed"),
    Bug("note-without-members",
        "a witness takes the index of its note and not what was agreed by then: after a prune it "
        "starts with members and mode of long ago, or not at all",
        (Simulator(("node", "mode")),
         Tests("replication/test_consensus_raft_members",
               "consensus_raft_members/a_witness_knows_its_members*")),
        fault="note_without_members"),
    Bug("aged-in-pause",
        "an entry that waited while the leader was stopped is as old as the pause was long: the "
        "leader gives up a site that is well",
        (Tests("replication/test_durability"),), fault="aged_in_pause"),
    Bug("degrade-undoes-policy",
        "an automatic entry repeats the policy that is committed, not the one that is in the log: a "
        "degrade that lets a new policy commit takes it back at once, while degraded",
        (Tests("replication/test_durability_cluster",
               "durability_cluster/a_degrade_keeps_the_policy*"),),
        fault="degrade_undoes_policy"),
    Bug("certificate-after-round",
        "T is read when a majority has answered instead of before it is asked: between the two a "
        "later leader may have acknowledged what N does not cover",
        (Simulator(("certificate",)),), fault="certificate_after_round"),
    Bug("released-site-counts",
        "the watermark counts for what a site has also when that site was released, for which it "
        "does not wait: what is lacking there is told as less, or as nothing",
        (Tests("replication/test_node_degraded", "node_degraded/a_site_that_lacks_too_much*"),),
        fault="released_site_counts"),
    Bug("old-pair-removed-first",
        "the files in use are removed before the rename that names those in their place: an end "
        "between the two steps leaves a node without any",
        (Tests("replication/test_catch_up_crash", "catch_up_crash/an_end_at_any_step*"),),
        fault="old_pair_removed_first", rare=True),
    Bug("denial-settles",
        "the client library takes a refusal for want of a role for the end of all attempts: an "
        "earlier one without an answer may have been executed before the role was taken away",
        (Tests("client/test_client_judge"),), fault="denial_settles"),
)

# For claims and checkers that no bug above makes speak.
CLAIMS = (
    Bug("limits-lost-at-creation",
        "flags are filled in where accounts are restored, and not where they are created: until the "
        "next restart limits are broken, on all nodes alike",
        (Simulator(("node", "ledger", "replicas")),
         Nemesis("quiet", ("limits", "outcomes"))), fault="limits_lost_at_creation"),
    Bug("site-given-up-late",
        "the policy's times are counted in ticks of 20 ms: when a site is lost, clients wait 20 times "
        "as long as it says",
        (Simulator(("progress",)),
         Nemesis("--random --only site-loss,power-loss", ("pauses",), runs=3)),
        fault="site_given_up_late"),
)

BUGS = GUARD_OFF + RULE + SEAMS + DISKS + WORLD + CORE + READER + CLAIMS
