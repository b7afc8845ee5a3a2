#!/usr/bin/env bash
# A site is lost: who is there, who serves, what is in doubt, and, where the policy leaves it to
# people, the decision to go on without it.
set -euo pipefail

usage()
{
    cat <<HELP
usage: ops/failover.sh SITE [--reason TEXT] [--since TIME] [--lost-at TIME] [--data DIR]...
                       [--yes] [--dry-run]

SITE is lost. Shows the cluster, the rule about both sites, the requests in doubt and what the
certificate proves. Under policy "operator" it asks, and then goes on without SITE ("tally durability
degrade"); under "auto" the leader has done that by itself, under "never" nobody may. It decides by
the word of the leader, which it waits for, and for what is under way, some seconds. Safe to run
again. Who and where: TALLY_PROFILE, or the other variables of docs/cli.md, with a site operator's
certificate; TALLY names the program (tally).
  --reason TEXT   kept in the log (default: "site SITE is lost")
  --since TIME    shortly before the loss, 2026-11-22T08:00:00Z (default: 15 minutes ago)
  --lost-at TIME  when it was lost, as far as you know: for the certificate's verdict
  --data DIR      a *stopped* survivor's directory: its files are looked at, too
  --yes           do not ask
  --dry-run       change nothing

Exit codes: 0 the cluster serves, without SITE (a leader answers, that SITE is done without is
committed, and no writes are refused) or with it (SITE is not lost); 1 it does not, or it does
without another site than SITE: the text says why and what to do; 2 usage; 3 refused, nothing was
changed; 4 nobody answers.
HELP
}

tally=${TALLY:-tally}
site="" reason="" since="" yes="" dry_run=""
data=()
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --reason | --since | --lost-at | --data)
            [ $# -gt 1 ] || { usage >&2; exit 2; }
            case $1 in
                --reason) reason=$2 ;;
                --since) since=$2 ;;
                --lost-at) data+=(--lost-at "$2") ;;
                --data) data+=(--data "$2") ;;
            esac
            shift ;;
        --yes) yes=yes ;;
        --dry-run) dry_run=yes ;;
        -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
        *) [ -z "$site" ] || { echo "error: one site only (see --help)" >&2; exit 2; }; site=$1 ;;
    esac
    shift
done
[ -n "$site" ] || { usage >&2; exit 2; }
case $site in *[!A-Za-z0-9_-]*) echo "error: \"$site\" names no site (see --help)" >&2; exit 2 ;; esac
reason=${reason:-site $site is lost}
since=${since:-$(date -u -d '-15 minutes' +%Y-%m-%dT%H:%M:%SZ)}

# Fields of "tally durability show --json", which has one to a line; "" when it lacks one.
field() # NAME
{
    sed -n 's/^  "'"$1"'": \(.*[^,]\),\{0,1\}$/\1/p' <<<"$view" | sed 's/^"\(.*\)"$/\1/; s/\\"/"/g'
}
connected() # SITE: true, false, or "" when no data node of it votes
{
    sed -n '/^  "connected": {$/,/^  }/ s/^    "'"$1"'": \([a-z]*\),\{0,1\}$/\1/p' <<<"$view"
}

# Looks, and sets $verdict, why it is so, and the next step. A verdict of "wait" may pass by itself.
look()
{
    local writes
    view=$("$tally" durability show --json) || exit 4
    there=$(connected "$site") held_up=$(field held_up) policy=$(sed -n \
        '/^  "policy": {$/,/^  }/ s/^    "decision": "\([a-z]*\)",\{0,1\}$/\1/p' <<<"$view")
    writes=$(field write_refusal)
    grep -q '^  "write_refusal": ' <<<"$view" || writes="the node does not say whether it takes any"
    if [ "$(field leads)" != true ]; then
        verdict=wait next="start whoever is missing, mend the links: a majority of the voters has to \
run and to reach each other (tally status); then this again"
        if [ "$(field leader)" = 0 ]; then
            why="nobody leads, so nothing is decided or acknowledged: node $(field node) says: $writes"
            [ -z "$(field given_up)" ] || why="$why. Site $(field given_up) was given up before: \
without it nobody else can be lost"
        else
            why="the leader, node $(field leader), does not answer: only its word counts"
            next="name all data nodes in the profile, from a place that reaches them; then this again"
        fi
    elif [ -z "$there" ]; then
        echo "error: no data node that votes is at a site $site; look at the sites above" >&2
        exit 3
    elif [ "$(field mode)" = degraded ] || [ "$(field mode_committed)" = degraded ]; then
        look_degraded
    elif [ "$there" = true ] && [ -z "$held_up" ]; then
        verdict=fine why="a data node of site $site is connected: it is not lost" \
            next="nothing; to leave site $site: ops/switchover.sh"
        [ -z "$writes" ] || verdict=wait why="$why, but writes are refused: $writes" \
            next="mend that; tally status"
    elif [ "$(field site)" = "$site" ]; then
        verdict=no why="the leader is at site $site: it is not lost, but writes stand still: $held_up" \
            next="bring the other site back, or ops/failover.sh with its name"
    else
        verdict=lost why="the leader, node $(field node) at site $(field site), has no data node of site \
$site connected"
        [ "$there" = false ] || why="a data node of site $site is connected, but of no use: $held_up"
    fi
}

look_degraded()
{
    local given_up
    given_up=$(field given_up)
    if [ "$(field mode)" != "$(field mode_committed)" ] ||
        [ "$(field number)" != "$(field number_committed)" ]; then
        verdict=wait why="entry $(field number) is not committed yet, so it is not certain that the \
cluster goes on" next="this again; if it lasts, mend what \"tally status\" names: without one site \
all others are needed"
    elif [ "$given_up" != "$site" ]; then
        verdict=no why="it is site $given_up that the cluster goes on without, not site $site" \
            next="bring site $given_up back, then ops/failback.sh $given_up"
        [ "$there" = true ] && why="$why, which is connected" ||
            next="bring site $site back, too: two are missing"
    elif [ -n "$writes" ]; then
        verdict=wait why="the cluster goes on without site $site, but writes are refused: $writes" \
            next="bring site $site back, then ops/failback.sh $site; tally status"
    else
        verdict=fine why="the cluster serves without site $site; what is acknowledged from now on is \
at one site only" next="bring site $site back, then ops/failback.sh $site"
        [ "$there" = false ] || next="site $site is connected again: ops/failback.sh $site"
    fi
}

# The same, for some seconds, while it may pass by itself.
look_and_wait()
{
    local turn
    for turn in 1 2 3 4 5 6; do
        look
        [ "$verdict" = wait ] || [ "$verdict$policy" = lostauto ] || break
        [ "$turn" = 6 ] || sleep 1
    done
}

echo "== who is there"
"$tally" status || { echo "no node answers: are you at a place that reaches one?" >&2; exit 4; }

look_and_wait
echo "== the rule about both sites"
"$tally" durability show || exit 4
echo "$why"

if [ "$verdict" = lost ]; then
    next="bring site $site back, then ops/failback.sh $site"
    case $policy in
        operator)
            decision=("$site" --reason "$reason" --number "$(field number)") # of what was seen
            "$tally" durability degrade "${decision[@]}" --dry-run || exit $?
            if [ -n "$dry_run" ]; then
                next="the same without --dry-run, or $next"
            else
                if [ -z "$yes" ]; then
                    read -r -p "go on without site $site? What it alone has acknowledged stays \
there [yes/no] " answer || answer=no
                    [ "$answer" = yes ] || { echo "nothing was changed"; exit 1; }
                fi
                "$tally" durability degrade "${decision[@]}"
                look_and_wait
                echo "$why"
            fi ;;
        never)
            echo "policy never: nothing is acknowledged that is not at both sites, so writes wait for" \
                "site $site. Bring it back; nobody may go on without it" ;;
        auto)
            echo "policy auto: the leader goes on without site $site after about a second, and has" \
                "not yet: ${held_up:-it does not say why}"
            next="this again; $next" ;;
        *) echo "the policy is not known: look again" ;;
    esac
fi

echo "== requests in doubt since $since"
"$tally" request in-doubt --since "$since" --deadline 3 || true # 4: the lost site says nothing
echo "== what is proven about the loss"
if [[ " ${data[*]-} " == *" --data "* ]]; then
    "$tally" certificate verify --lost-site "$site" "${data[@]}" || true
else
    "$tally" certificate show || true
    echo "with files of stopped survivors: tally certificate verify --lost-site $site --data DIR"
fi
echo "== next: $next"
[ "$verdict" = fine ]
