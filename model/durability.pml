/* The durability rule of Tallystick, checked by spin.
 *
 * Two sites hold a ledger, a witness elsewhere breaks ties, and Raft agrees on the log. The rule promises that
 * what is committed while the mode is SYNC is on disk at both sites. This model lets spin try *every* order of
 * elections, appends, deliveries and commits within small bounds, with whatever may be lost, late, repeated
 * or down, and look for one that breaks a claim.
 *
 * Reading order: shape.pml (who votes, where), log.pml (a log is a number), rule.pml (the rule itself, and
 * its planted errors), raft.pml (what can happen), claims.pml (what must hold), recovery.pml (getting up
 * again), and below the world that puts the steps together. check.sh runs it all; README.md explains.
 *
 * Promela in six lines: `inline` is a macro with parameters; `if` and `do` take any branch that begins with a
 * true statement, `else` only when none is; where several are true, spin tries each of them; `do` repeats
 * until `break`; `d_step { }` is one indivisible step without choices; `atomic { }` is one with choices;
 * `select(x : a .. b)` gives x any value; (c -> a : b) is C's c ? a : b; `hidden` variables are scratch that
 * is no part of a state. (A `skip` behind `select` is there since no d_step may follow a loop at once.)
 */
#include "shape.pml"
#include "log.pml"
#include "rule.pml"
#include "raft.pml"
#include "claims.pml"
#include "recovery.pml"

/* A leader's first entry is of its own term: the barrier, or a degrade that takes its place. */
inline first_entry(t)
{
    if
    :: COUNTS(t) && LENGTH(reign[t].log) < ENTRIES ->
        if
        :: d_step { append(t, NORMAL) }
#ifndef NO_DEGRADE
        :: d_step { append(t, DEGRADE) }
#endif
        fi
    :: else
    fi
}

/* It knows of anything between nothing and all that was committed before. */
inline begin_reign(t)
{
    if
    :: HAS_LEADER(t) ->
        first_entry(t);
        select(k : 0 .. LENGTH(acknowledged));
        skip;
        d_step { if :: IS_DATA(reign[t].leader) && KNOWS_COMMIT(t, k) -> reign[t].commit = k :: else fi }
    :: else
    fi
}

active proctype world()
{
    byte t, f, k, voters;

    atomic {
        if
        :: SHAPE_REFUSED -> printf("@ this configuration is refused\n"); goto refused
        :: else
        fi;
        /* By symmetry the first leader is A1; where the sites differ, it may be B1. A witness that leads
         * first has nothing to hand over. */
        if
        :: f = 0
#if DATA_A != DATA_B
        :: f = DATA_A
#endif
        fi;
        d_step { voters = (1 << MAJORITY) - 1; t = 1 };
        if :: f > 0 -> voters = voters << (NODES - MAJORITY) :: else fi;
        d_step { elect(t, f, voters) };
        first_entry(t);
        d_step { t = 0; f = 0; voters = 0 }
    };

end:
    do
#ifdef VOTES
    :: newest_term < TERMS -> atomic {
        t = newest_term + 1;
        select(f : 0 .. NODES - 1);
        skip;
        d_step { if :: MAY_CAMPAIGN(f) -> campaign(t, f) :: else fi; t = 0; f = 0 }
    }
    :: atomic {
        select(t : 2 .. TERMS);
        select(f : 0 .. NODES - 1);
        if
        :: reign[t].state == CAMPAIGNS && node_term[f] < t && RANK(reign[t].log) >= RANK(node_log[f]) ->
            d_step {
                vote(t, f);
                if :: HAS_LEADER(t) -> elected_has_all_committed(t) :: else fi
            };
            begin_reign(t)
        :: else
        fi;
        d_step { t = 0; f = 0; k = 0 }
    }
#else
    /* Somebody is elected. One step, with all its votes: see README.md why that loses nothing. */
    :: newest_term < TERMS -> atomic {
        t = newest_term + 1;
        select(f : 0 .. NODES - 1);
        select(voters : 0 .. (1 << NODES) - 1);
        skip;
        d_step {
            find_electable(f, voters);
            if :: allowed -> elect(t, f, voters); elected_has_all_committed(t) :: else fi
        };
        begin_reign(t);
        d_step { t = 0; f = 0; k = 0; voters = 0 }
    }
#endif

    /* A leader appends. */
    :: atomic {
        select(t : 1 .. newest_term);
        if
        :: COUNTS(t) && LENGTH(reign[t].log) < ENTRIES ->
            if
            :: d_step { append(t, NORMAL) }
#ifndef NO_DEGRADE
            :: d_step {
                find_mode(reign[t].log, LENGTH(reign[t].log));
                if :: mode == SYNC -> append(t, DEGRADE) :: else fi
            }
            :: d_step {
                view(t);
                find_may_return();
                if
                :: allowed ->
                    find_on_both_sites(view_log, view_commit);
                    append(t, RETURN);
#ifndef RETURN_LAGS
                    return_is_earned = found; assert(return_is_earned)
#endif
                :: else
                fi
            }
#endif
            fi
        :: else
        fi;
        t = 0
    }

    /* Entries arrive somewhere, and the answer is on its way. */
    :: atomic {
        select(t : 1 .. newest_term);
        select(f : 0 .. NODES - 1);
        if
        :: ACCEPTS(f, t) && (reign[t].leader != f || COUNTS(t)) ->
            select(k : 1 .. LENGTH(reign[t].log));
            skip;
            d_step {
                if
                :: k <= LENGTH(reign[t].log) && NEWS(t, f, k) -> deliver(t, f, k)
                :: else
                fi
            }
        :: else
        fi;
        d_step { t = 0; f = 0; k = 0 }
    }

#ifdef LIBRAFT
    /* A leader hears an answer, and libraft commits what the guard lets it. */
    :: atomic {
        select(t : 1 .. newest_term);
        select(f : 0 .. NODES - 1);
        if
        :: COUNTS(t) && reign[t].unheard[f] > 0 ->
            select(k : 1 .. reign[t].unheard[f]);
            skip;
            d_step {
                if
                :: k <= reign[t].unheard[f] ->              /* an old answer may come once more */
                    if :: reign[t].verified[f] < k -> reign[t].verified[f] = k :: else fi;
                    STORY_HEARD;
                    view(t);
                    if
                    :: f == reign[t].leader ->
                        find_own_commit();
                        if :: c > 0 -> commit_up_to(t, c); view(t) :: else fi
                    :: else
                    fi;
                    find_libraft_commit(k);
                    if :: c > 0 -> commit_up_to(t, c) :: else fi;
                    reign[t].told = view_told;
                    view(t);                                /* the gate may have risen: the witness's answer again */
                    find_libraft_commit(0);
                    if :: c > 0 -> commit_up_to(t, c) :: else fi;
                    reign[t].told = view_told
                :: else
                fi
            }
        :: else
        fi;
        d_step { t = 0; f = 0; k = 0 }
    }
#else
    /* A leader commits: any index that the rule allows. */
    :: atomic {
        select(t : 1 .. newest_term);
        if
        :: COUNTS(t) ->
            select(k : 1 .. LENGTH(reign[t].log));
            skip;
            d_step {
                if
                :: k > reign[t].commit && k <= LENGTH(reign[t].log) ->
                    view(t);
                    find_allowed(k);
                    if :: allowed -> commit_up_to(t, k) :: else fi
                :: else
                fi
            }
        :: else
        fi;
        d_step { t = 0; k = 0 }
    }
#endif

#ifdef EPOCH
    :: d_step { !recovered -> recover(SITE_A); skip }
    :: d_step { !recovered -> recover(SITE_B); skip }
    :: d_step { recovered -> observe_new_epoch(); skip }
#else
    :: d_step {
        observe_site_loss();
        observe_both_index();
#ifdef VERDICTS
        observe_verdict();
#endif
        attempt_recovery();
        skip
    }
#endif
    od;
refused:
    skip
}
