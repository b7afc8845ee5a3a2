/* What must hold. The name of a claim is what pan prints when it falls; check.sh has the sentence for it.
 *
 * Claims about a moment (an answer is given, somebody is elected) are asserted in that step. Claims about a
 * state are asserted by observe(), which the world may do at any time and which changes nothing.
 */
hidden byte committed_logs_agree, leader_has_all_committed, answer_both_sites_is_true, both_index_is_true;
hidden byte site_loss_loses_nothing, sync_needs_no_witness, witness_not_ahead_under_sync, return_is_earned;
hidden byte proven_zero_is_true, leader_can_be_elected, everything_commits_again, sync_comes_back;
hidden byte recovery_keeps_everything, new_epoch_keeps_everything;

hidden byte y, c, kind, v, n, s, a, best; /* scratch: set before each use */
hidden byte past, found, at_a, at_b, proven;
hidden int best_log;

/* -> found: entries 1..k of a_log are on the disk of a data node of each site */
inline find_on_both_sites(a_log, k)
{
    at_a = false; at_b = false; i = 0;
    do
    :: i < DATA_NODES ->
        if
        :: SAME(node_log[i], a_log, k) -> if :: PLACE(i) == SITE_A -> at_a = true :: else -> at_b = true fi
        :: else
        fi;
        i++
    :: else -> break
    od;
    found = at_a && at_b
}

/* -> best_log: the greatest log, by Raft's order, of the nodes n for which `condition` holds; best: whose */
inline find_best(condition)
{
    best_log = 0; best = NODES; n = 0;
    do
    :: n < NODES ->
        if
        :: (condition) && (best == NODES || RANK(node_log[n]) > RANK(best_log)) -> best_log = node_log[n]; best = n
        :: else
        fi;
        n++
    :: else -> break
    od
}

/* The leader of t commits up to c, and answers what it committed in this step. */
inline commit_up_to(t, upto)
{
    c = upto;
    find_mode(reign[t].log, c);
    STORY_COMMITTED;
#ifdef EPOCH
    /* What an old epoch's members commit after the recovery is no acknowledgement: clients refuse it; and
     * the rule is not in force where all voters stand at one site. */
    if :: mode == SYNC && !recovered ->
#else
    if :: mode == SYNC ->
#endif
        find_on_both_sites(reign[t].log, c);
        answer_both_sites_is_true = found; assert(answer_both_sites_is_true)
    :: else
    fi;
#ifdef PLANT_MODE_OF_ENTRY        /* each answer takes the mode of its entry, not that of the commit step */
    y = reign[t].commit + 1;
    do
    :: y <= c ->
        find_mode(reign[t].log, y);
        if
        :: mode == SYNC ->
            find_on_both_sites(reign[t].log, y);
            answer_both_sites_is_true = found; assert(answer_both_sites_is_true)
        :: else
        fi;
        y++
    :: else -> break
    od;
#endif
    reign[t].commit = c;
#ifdef EPOCH
    if :: reign[t].epoch == recovered ->
#else
    if :: true ->
#endif
        x = LENGTH(acknowledged);
        if :: c < x -> x = c :: else fi;
        committed_logs_agree = SAME(reign[t].log, acknowledged, x); assert(committed_logs_agree);
#ifdef VOTES
        x = LENGTH(acknowledged);
        do :: x < c -> acknowledged_in[x] = t; x++ :: else -> break od;
#endif
        if :: c > LENGTH(acknowledged) -> acknowledged = PREFIX(reign[t].log, c) :: else fi;
        /* Leaders of later terms that are there already have to have it, too. */
        y = t + 1;
        do
        :: y <= TERMS ->
            if
            :: (reign[y].state == LEADING || reign[y].state == GONE) && reign[y].epoch == reign[t].epoch ->
                leader_has_all_committed = SAME(reign[y].log, reign[t].log, c); assert(leader_has_all_committed)
            :: else
            fi;
            y++
        :: else -> break
        od
    :: else
    fi
}

inline elected_has_all_committed(t)
{
#ifdef EPOCH
    if :: reign[t].epoch == recovered ->
#else
    if :: true ->
#endif
        x = LENGTH(acknowledged);
#ifdef VOTES
        do :: x > 0 && acknowledged_in[x - 1] >= t -> x-- :: else -> break od;
#endif
        leader_has_all_committed = SAME(reign[t].log, acknowledged, x);
        assert(leader_has_all_committed)
    :: else
    fi
}

/* A site is lost, for ever: what the others elect has everything that was acknowledged. While what is
 * acknowledged ends in SYNC, the surviving site's data nodes alone have it. */
inline observe_site_loss()
{
    s = SITE_A;
    do
    :: s <= SITE_B ->
        find_best(PLACE(n) != s);
        site_loss_loses_nothing = SAME(best_log, acknowledged, LENGTH(acknowledged));
        assert(site_loss_loses_nothing);

        find_best(PLACE(n) == s);
        find_mode(acknowledged, LENGTH(acknowledged));
        if
        :: mode == SYNC ->
            sync_needs_no_witness = SAME(best_log, acknowledged, LENGTH(acknowledged));
            assert(sync_needs_no_witness)
        :: else
        fi;
#if WITNESSES == 1 && defined(NO_DEGRADE)
        /* Where nobody ever degraded, the witness has nothing that the surviving site has not: whoever
         * survives needs its vote only. (Around a degrade it may be ahead, and then leads as a last resort.) */
        witness_not_ahead_under_sync = RANK(best_log) >= RANK(node_log[DATA_NODES]);
        assert(witness_not_ahead_under_sync);
#endif
        s++
    :: else -> break
    od
}

/* What a leader says is on both sites is there, and so is what followers make of it. */
inline observe_both_index()
{
    n = 1;
    do
    :: n <= TERMS ->
        if
        :: HAS_LEADER(n) && IS_DATA(reign[n].leader) ->
            view(n);
            find_gate();
            find_on_both_sites(view_log, both);
            both_index_is_true = found; assert(both_index_is_true);
#ifdef PLANT_MODE_AT_FOLLOWER     /* a follower reads it off the mode of its own commit index */
            v = 0;
            do
            :: v < DATA_NODES ->
                c = (view_verified[v] < view_commit -> view_verified[v] : view_commit);
                find_mode(view_log, c);
                if
                :: mode == SYNC ->
                    find_on_both_sites(view_log, c);
                    both_index_is_true = found; assert(both_index_is_true)
                :: else
                fi;
                v++
            :: else -> break
            od
#endif
        :: else
        fi;
        n++
    :: else -> break
    od
}

/* The verdict after a loss: `a` is the set of nodes whose files can be read. PROVEN_ZERO is said when these
 * meet every majority, or, under policy never, when they hold all data nodes of a site. Then the greatest of
 * their logs has everything that was acknowledged. */
#ifdef NO_DEGRADE
#define ALL_OF_A ((1 << DATA_A) - 1)
#define ALL_OF_B (((1 << DATA_B) - 1) << DATA_A)
#define WHOLE_SITE(set) (((set) & ALL_OF_A) == ALL_OF_A || ((set) & ALL_OF_B) == ALL_OF_B)
#else
#define WHOLE_SITE(set) 0
#endif

inline observe_verdict()
{
    a = 1;
    do
    :: a < (1 << NODES) ->
        proven = NODES - COUNT(a) < MAJORITY || WHOLE_SITE(a);
#ifdef PLANT_TWO_FILES_PROVE      /* one data node of a site, and one node from elsewhere */
        proven = COUNT(a) >= 2;
#endif
        if
        :: proven ->
            find_best(IN(a, n));
            proven_zero_is_true = SAME(best_log, acknowledged, LENGTH(acknowledged));
            assert(proven_zero_is_true)
        :: else
        fi;
        a++
    :: else -> break
    od
}
