/* Raft, as far as the rule depends on it: terms, logs on disk, and what arrives.
 *
 * A step is something a real schedule can do, and every real schedule is made of such steps. There are no
 * channels and no failures, because an AppendEntries is one step of its own:
 *
 *   deliver(t, f, k)   entries 1..k of the leader of term t reach the disk of f, which answers
 *
 * It may happen at any time while f accepts that term, in any order, again, never, and after the leader is
 * gone. So loss, delay, reordering and duplication are in it. A node that is down or cut off is a node that
 * takes no step. A crash takes what is in memory only: node_log[] is what is on disk, the leader's included,
 * whose own write is a delivery to itself. A late answer is a leader that does not act on it yet (in the
 * variant LIBRAFT answers are steps of their own, since there more answers do not always allow more).
 *
 * Each term has at most one candidate that counts: a second one can only take votes away.
 */
typedef Reign {                 /* the leader of a term */
    byte state;                 /* NONE, LEADING, GONE */
    byte leader;
    byte commit;                /* what it knows to be committed */
    byte witness_limit;         /* once gone: what may be on its way to the witness */
    byte epoch;
    int log;                    /* in memory */
#ifdef VOTES
    byte votes;                 /* a set of bits, while it campaigns */
#endif
    byte verified[NODES];
#ifdef LIBRAFT
    byte unheard[NODES];        /* verified, and the answer may still be on its way */
    byte told;                  /* what the guard told libraft of the witness: it only grows */
#endif
}
#define NONE    0
#define LEADING 1
#define GONE    2
#define CAMPAIGNS 3             /* in the variant VOTES only */

Reign reign[TERMS + 1];         /* from 1 */
byte newest_term;
byte node_term[NODES];
int node_log[NODES];            /* on disk */
int acknowledged;               /* for the claims only: all that was ever committed by anybody */
#ifdef VOTES
byte acknowledged_in[ENTRIES];  /* likewise: the term whose leader committed it */
#endif
#ifdef EPOCH
byte node_epoch[NODES];
bool recovered;                 /* the operator's command was given: the cluster epoch is 1 */
byte survivors;                 /* voters of epoch 1 */
#endif

#define STORY_ELECTED   printf("@ term %d: node:%d is elected, with %d entries on its disk\n", t, f, LENGTH(reign[t].log))
#define STORY_APPENDED  printf("@ term %d: node:%d appends entry %d, a kind:%d\n", t, reign[t].leader, LENGTH(reign[t].log), kind)
#define STORY_DELIVERED printf("@ term %d: node:%d has entries 1..%d of its leader node:%d on disk\n", t, f, k, reign[t].leader)
#define STORY_HEARD     printf("@ term %d: node:%d hears that node:%d verified 1..%d\n", t, reign[t].leader, f, k)
#define STORY_COMMITTED printf("@ term %d: node:%d commits up to %d, mode:%d\n", t, reign[t].leader, c, mode)

inline view(t)
{
    view_log = reign[t].log; view_length = LENGTH(view_log); view_term = t;
    view_leader = reign[t].leader; view_commit = reign[t].commit;
    i = 0;
    do :: i < NODES -> view_verified[i] = reign[t].verified[i]; i++ :: else -> break od;
#ifdef EPOCH
    view_epoch = reign[t].epoch;
#endif
#ifdef LIBRAFT
    view_told = reign[t].told
#endif
}

inline forget_answers(t)
{
    i = 0;
    do
    :: i < NODES ->
        reign[t].verified[i] = 0;
#ifdef LIBRAFT
        reign[t].unheard[i] = 0;
#endif
        i++
    :: else -> break
    od;
#ifdef LIBRAFT
    reign[t].told = 0;
#endif
    reign[t].commit = 0
}

/* A leader that sees a higher term is gone; what it sent may still arrive. */
inline depose(t)
{
    view(t);
    find_witness_limit();
    reign[t].witness_limit = limit;
    reign[t].state = GONE;
    forget_answers(t)
}

/* Terms below everyone's have no effect any more: forgetting them keeps the search small. */
inline retire_old_terms()
{
    y = 1;
    do
    :: y < newest_term ->
        if
        :: reign[y].state == GONE ->
            past = true; i = 0;
            do :: i < NODES -> past = past && node_term[i] > y; i++ :: else -> break od;
            if
            :: past ->
                reign[y].state = NONE; reign[y].log = 0; reign[y].leader = 0; reign[y].witness_limit = 0;
                reign[y].epoch = 0
            :: else
            fi
        :: else
        fi;
        y++
    :: else -> break
    od
}

#ifdef VOTES
inline give_up(t)
{
    reign[t].state = NONE; reign[t].leader = 0; reign[t].votes = 0; reign[t].log = 0
}
#endif

inline enter_term(f, t)
{
    if
    :: node_term[f] < t ->
        y = node_term[f];
        node_term[f] = t;
        if
        :: reign[y].state == LEADING && reign[y].leader == f -> depose(y)
#ifdef VOTES
        :: reign[y].state == CAMPAIGNS && reign[y].leader == f -> give_up(y)
#endif
        :: else
        fi;
        retire_old_terms()
    :: else
    fi
}

#ifdef EPOCH
#ifdef PLANT_EPOCH_IGNORED        /* messages of an older cluster epoch are accepted */
#define SAME_EPOCH(t, f) (reign[t].epoch <= node_epoch[f])
#else
#define SAME_EPOCH(t, f) (reign[t].epoch == node_epoch[f])
#endif
#else
#define SAME_EPOCH(t, f) 1
#endif

#define HAS_LEADER(t)   (reign[t].state == LEADING)
#define ACCEPTS(f, t)   ((reign[t].state == LEADING || reign[t].state == GONE) && node_term[f] <= (t) && SAME_EPOCH(t, f))
#define COUNTS(t)       (HAS_LEADER(t) && MAY_APPEND(reign[t].leader)) /* a leading witness counts nothing */

/* Whether that changes anything: the search needs no step that does not. */
#ifdef LIBRAFT
#define ANSWERED(t, f) reign[t].unheard[f]
#else
#define ANSWERED(t, f) reign[t].verified[f]
#endif
#define NEWS(t, f, k)                                                                                       \
    (!SAME(node_log[f], reign[t].log, k) || node_term[f] < (t) || (COUNTS(t) && ANSWERED(t, f) < (k)))

/* A new leader knows the first k entries to be committed. */
#ifdef VOTES
#define KNOWS_COMMIT(t, k) ((k) == 0 || (SAME(reign[t].log, acknowledged, k) && acknowledged_in[(k) - 1] < (t)))
#else
#define KNOWS_COMMIT(t, k) (SAME(reign[t].log, acknowledged, k))
#endif

/* Entries 1..k of the leader of t reach f. The witness is sent no more than its limit, but may turn out to
 * have more: the answer to a probe. */
inline deliver(t, f, k)
{
    found = SAME(node_log[f], reign[t].log, k);
    allowed = true;
    if
    :: !found && !IS_DATA(f) ->
        if
        :: HAS_LEADER(t) -> view(t); find_witness_limit()
        :: else -> limit = reign[t].witness_limit
        fi;
        allowed = k <= limit
    :: else
    fi;
    if
    :: allowed ->
        enter_term(f, t);
        if :: !found -> node_log[f] = PREFIX(reign[t].log, k) :: else fi;
        if
        :: COUNTS(t) ->
#ifdef PLANT_STALE_TAIL           /* the answer names the end of the disk's log, not what was verified */
            x = LENGTH(node_log[f]);
            if :: x > LENGTH(reign[t].log) -> x = LENGTH(reign[t].log) :: else fi;
#else
            x = k;
#endif
#ifdef LIBRAFT
            if :: reign[t].unheard[f] < x -> reign[t].unheard[f] = x :: else fi
#else
            if :: reign[t].verified[f] < x -> reign[t].verified[f] = x :: else fi
#endif
        :: else
        fi;
        STORY_DELIVERED
    :: else
    fi
}

inline append(t, a_kind)
{
    kind = a_kind;
    reign[t].log = reign[t].log | ENTRY(LENGTH(reign[t].log) + 1, t, kind);
    STORY_APPENDED
}

/* Who may vote for f in a new term: whoever's log is not longer, in Raft's order. `voters` is a set of bits. */
#define IN(set, n)  (((set) >> (n)) & 1)
#define COUNT(set)  (IN(set, 0) + IN(set, 1) + IN(set, 2) + IN(set, 3) + IN(set, 4))

#ifdef EPOCH
#define QUORUM_OF(f) (node_epoch[f] == 1 -> survivors / 2 + 1 : MAJORITY)
#else
#define QUORUM_OF(f) MAJORITY
#endif

inline find_electable(f, voters)
{
    allowed = COUNT(voters) == QUORUM_OF(f) && IN(voters, f) && MAY_CAMPAIGN(f);
    i = 0;
    do
    :: allowed && i < NODES ->
        if
        :: IN(voters, i) ->
            allowed = RANK(node_log[f]) >= RANK(node_log[i]);
#ifdef EPOCH
#ifdef PLANT_EPOCH_IGNORED
            allowed = allowed && node_epoch[f] <= node_epoch[i];
#else
            allowed = allowed && node_epoch[f] == node_epoch[i];
#endif
#endif
        :: else
        fi;
        i++
    :: else -> break
    od
}

inline elect(t, f, voters)
{
    newest_term = t;
    v = 0;
    do
    :: v < NODES -> if :: IN(voters, v) -> enter_term(v, t) :: else fi; v++
    :: else -> break
    od;
    reign[t].state = LEADING; reign[t].leader = f; reign[t].log = node_log[f];
#ifdef EPOCH
    reign[t].epoch = node_epoch[f];
#endif
    STORY_ELECTED
}

#ifdef VOTES
/* An election in its single steps, for which a term may also be won after a later one has begun. */
inline campaign(t, f)
{
    newest_term = t;
    enter_term(f, t);
    reign[t].state = CAMPAIGNS; reign[t].leader = f; reign[t].votes = 1 << f; reign[t].log = node_log[f];
    printf("@ term %d: node:%d campaigns\n", t, f)
}

inline vote(t, v)
{
    printf("@ term %d: node:%d votes for node:%d\n", t, v, reign[t].leader);
    enter_term(v, t);
    reign[t].votes = reign[t].votes | (1 << v);
    if
    :: COUNT(reign[t].votes) >= MAJORITY ->
        reign[t].votes = 0; reign[t].state = LEADING;
        printf("@ term %d: node:%d is elected, with %d entries on its disk\n", t, reign[t].leader, LENGTH(reign[t].log))
    :: else
    fi
}
#endif

#ifdef LIBRAFT
/* The rule by way of libraft (10), which counts one number per voter and knows neither sites nor modes. The
 * guard may only choose which number it is told of the witness, and which index it may try to commit. */
hidden byte view_told, libraft_count;

/* -> libraft_count: voters that have c, as libraft was told */
inline find_libraft_count()
{
    libraft_count = 0; i = 0;
    do
    :: i < NODES ->
        if
        :: (!IS_DATA(i) && view_told >= c) || (IS_DATA(i) && view_verified[i] >= c) -> libraft_count++
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* When an own append ends, libraft tries its last stored index by itself, with what it was told before. */
inline find_own_commit()            /* -> c */
{
    c = view_verified[view_leader];
    find_libraft_count();
    if :: libraft_count < MAJORITY || TERM_AT(view_log, c) != view_term || c <= view_commit -> c = 0 :: else fi
}

inline find_libraft_commit(named)   /* -> c: libraft commits to c, 0 if it does not */
{
    /* q: the highest index that a majority verified, the witness counted in full; not above the leader's own
     * synced index, beyond which libraft does not commit */
    c = view_verified[view_leader];
    do
    :: c > 0 ->
        find_allowed(c);
        if :: raw_count >= MAJORITY -> break :: else -> c-- fi
    :: else -> break
    od;
    find_gate();
    find_mode(view_log, c);
    if
    :: WITNESSES == 1 ->
        if
        :: mode == DEGRADED ->
#ifdef PLANT_TOLD_PAST_RETURN     /* in full, past the return entry that ends the degraded run */
            x = view_length;
#else
            x = c;
            do :: x < view_length && KIND(view_log, x + 1) != RETURN -> x++ :: else -> break od;
#endif
        :: else -> x = gate
        fi;
        if :: x > view_verified[DATA_NODES] -> x = view_verified[DATA_NODES] :: else fi;
        if :: view_told < x -> view_told = x :: else fi
    :: else
    fi;
#ifdef PLANT_NAMED_INDEX          /* libraft tries the index that the answer names */
    c = (named < view_verified[view_leader] -> named : view_verified[view_leader]);
    find_libraft_count();
    if :: libraft_count < MAJORITY -> c = 0 :: else fi;
#else
    c = view_verified[view_leader];
    do
    :: c > 0 ->
        find_libraft_count();
        if :: libraft_count >= MAJORITY -> break :: else -> c-- fi
    :: else -> break
    od;
#endif
    if :: c > 0 && (TERM_AT(view_log, c) != view_term || c <= view_commit) -> c = 0 :: else fi
}

#endif
