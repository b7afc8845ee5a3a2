#!/usr/bin/env bash
# Checks the model of the durability rule with spin: every configuration has to hold all claims in every
# reachable state, and every planted error has to be found, by the claim that it breaks.
set -euo pipefail
cd "$(dirname "$0")/.."

usage()
{
    cat <<'HELP'
usage: model/check.sh [--quick | --deep] [--only PATTERN] [--stories] [--jobs N] [--keep DIRECTORY]

  --quick       continuous integration's slice: about a minute, below 1 GB
  --deep        adds the largest bounds: most of an hour, up to 12 GB; says how far it is
  --only P      only rows whose name matches the extended regular expression P
  --stories     tells how each planted error breaks its claim, step by step
  --jobs N      searches at a time (default: processors)
  --keep DIR    leaves generated programs, outputs and trails in DIR

Exit status 0: every configuration held, was searched to its end, and every planted error was found.
1: not so; the table says which, and a broken claim is told as a story. 2: wrong usage, missing packages.
HELP
}

level=1
only=.
stories=false
jobs=$(nproc)
keep=
while [ $# -gt 0 ]; do
    case $1 in
    --quick) level=0 ;;
    --deep) level=2 ;;
    --stories) stories=true ;;
    --only | --jobs | --keep)
        [ $# -ge 2 ] || { echo "error: $1 needs a value (see --help)" >&2; exit 2; }
        case $1 in
        --only) only=$2 ;;
        --jobs) jobs=$2 ;;
        --keep) keep=$2 ;;
        esac
        shift
        ;;
    --help) usage; exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
[[ $jobs =~ ^[1-9][0-9]?$ ]] || { echo "error: --jobs $jobs: a number from 1 to 99 is needed" >&2; exit 2; }

. scripts/packages.sh
install_packages "${packages_model[@]}" || exit 2

if [ -n "$keep" ]; then
    mkdir -p "$keep"
    work=$(cd "$keep" && pwd)
else
    work=$(mktemp -d)
fi
model=$PWD/model
[ "$level" -lt 2 ] && memory_mb=900 seconds_max=300 || memory_mb=12000 seconds_max=14400

# ---------------------------------------------------------------------------------------------- what is run
# holds LEVEL SHAPE TERMSxENTRIES [OPTION...]: every claim has to hold, in all states there are.
# refused LEVEL SHAPE: the check of configurations has to refuse it.
# planted CLAIM SHAPE TERMSxENTRIES ERROR [OPTION...]: the search has to find that CLAIM is broken.
rows=()
holds() { [ "$1" -gt "$level" ] || rows+=("holds - ${*:2}"); }
refused() { [ "$1" -gt "$level" ] || rows+=("refused - $2 1x1"); }
planted() { rows+=("planted $1 $2 $3 PLANT_$4 ${*:5}"); }

holds 0 1+1+1 2x3
holds 0 1+1+1 3x2
holds 0 1+1+1 2x2 RETURN_LAGS
holds 0 1+1+1 1x4
holds 0 2+2+1 1x3
holds 0 2+1+1 2x1
holds 0 2+2+0 2x1
holds 0 1+1+0 3x2
holds 0 1+1+1 3x2 NO_DEGRADE VERDICTS
holds 0 2+2+1 1x2 VERDICTS
holds 0 1+1+1 2x2 LIBRAFT
holds 0 1+1+1 1x4 LIBRAFT RETURN_LAGS
holds 0 1+1+1 2x2 VOTES
holds 0 1+1+1 2x2 EPOCH
holds 0 2+1+1 2x1 EPOCH
refused 0 2+1+0
refused 0 1+2+0
refused 0 3+1+1
refused 0 2+3+0
holds 1 1+1+1 3x3 NO_DEGRADE
holds 1 1+1+1 3x2 EPOCH
holds 1 2+1+1 2x2
holds 1 2+2+0 2x2
holds 1 1+1+1 2x3 RETURN_LAGS
holds 1 1+1+1 3x2 RETURN_LAGS
holds 1 1+1+1 1x4 LIBRAFT
holds 1 2+2+1 2x2
holds 1 2+2+1 2x2 NO_DEGRADE VERDICTS
holds 1 2+2+1 1x3 LIBRAFT
holds 1 1+1+1 3x2 VOTES
holds 1 2+2+1 3x1 VOTES
holds 2 1+1+1 2x4
holds 2 1+1+1 2x3 LIBRAFT
holds 2 1+1+1 4x2
holds 2 2+2+1 1x4
holds 2 2+2+1 2x2 EPOCH
holds 2 1+1+1 3x3

both=answer_both_sites_is_true
planted $both 1+1+1 1x1 NO_GATE
planted $both 1+1+1 2x2 NO_CLAMP
planted $both 1+1+1 1x3 DEGRADE_BY_WITNESS
planted $both 1+1+1 1x2 DEGRADE_AT_ONCE
planted "everything_commits_again|$both" 1+1+1 1x2 MODE_OF_COMMITTED
planted $both 1+1+1 1x3 RETURN_ONCE_COMMITTED
planted $both 1+1+1 1x3 RETURN_UNGATED
planted return_is_earned 1+1+1 1x2 RETURN_EARLY
planted $both 1+1+1 1x1 UNSYNCED_LEADER
planted witness_not_ahead_under_sync 1+1+1 2x3 GATE_INHERITED NO_DEGRADE
planted $both 1+1+1 2x3 WITNESS_APPENDS
planted leader_can_be_elected 1+1+1 1x2 WITNESS_NEVER_LEADS
planted both_index_is_true 1+1+1 2x3 MODE_AT_FOLLOWER
planted $both 1+1+1 1x2 MODE_OF_ENTRY
planted $both 1+1+1 1x3 NAMED_INDEX LIBRAFT
planted $both 1+1+1 1x4 TOLD_PAST_RETURN LIBRAFT
planted "site_loss_loses_nothing|leader_has_all_committed|committed_logs_agree" 1+1+1 3x2 OLD_TERM
planted "$both|site_loss_loses_nothing|leader_has_all_committed" 1+1+1 2x2 STALE_TAIL
planted $both 2+1+0 1x1 NO_SHAPE_CHECK
planted proven_zero_is_true 2+2+1 1x1 TWO_FILES_PROVE VERDICTS
planted recovery_keeps_everything 1+1+1 1x1 TAIL_DROPPED EPOCH
planted recovery_keeps_everything 2+1+1 1x1 FIRST_SURVIVOR EPOCH
planted "new_epoch_keeps_everything|committed_logs_agree|leader_has_all_committed" 1+1+1 3x1 EPOCH_IGNORED EPOCH

sentence_of()
{
    case $1 in
    committed_logs_agree) echo "two leaders committed different entries at one index" ;;
    leader_has_all_committed) echo "a leader lacks what was committed before it" ;;
    answer_both_sites_is_true) echo "it was committed under SYNC, and one site has it on no data node's disk" ;;
    both_index_is_true) echo "it was said to be on both sites, and one site lacks it" ;;
    site_loss_loses_nothing) echo "with one site lost, the best log of the others lacks what was acknowledged" ;;
    sync_needs_no_witness) echo "under SYNC a site's data nodes lack what was acknowledged" ;;
    witness_not_ahead_under_sync) echo "nobody degraded, and the witness is ahead of a site" ;;
    return_is_earned) echo "the return was appended while a site lacked what was committed" ;;
    proven_zero_is_true) echo "PROVEN_ZERO was said, and the files that were read lack what was acknowledged" ;;
    leader_can_be_elected) echo "a majority is up for good, and nobody can be elected" ;;
    everything_commits_again) echo "a majority is up for good, and the log does not commit" ;;
    sync_comes_back) echo "everybody is up for good, and SYNC does not come back" ;;
    recovery_keeps_everything) echo "the recovery lost what was acknowledged under SYNC" ;;
    new_epoch_keeps_everything) echo "the new epoch's members lost what it acknowledged" ;;
    *) echo "$1" ;;
    esac
}

# --------------------------------------------------------------------------------------------- how it is run

# story SHAPE: turns what the model printed into sentences with the nodes' names.
story()
{
    local a=${1%%+*} rest=${1#*+} number=0 node script='s/^ *@ //; s/site:0/A/; s/site:1/B/;'
    script+=' s/kind:1/normal entry/; s/kind:2/degrade/; s/kind:3/return/; s/mode:0/SYNC/; s/mode:1/DEGRADED/;'
    for ((node = 1; node <= a; node++, number++)); do script+=" s/node:$number\\b/A$node/g;"; done
    for ((node = 1; node <= ${rest%%+*}; node++, number++)); do script+=" s/node:$number\\b/B$node/g;"; done
    sed -n "/^ *@ /{$script s/node:$number\\b/W/g; p}"
}

# search DIRECTORY KIND CLAIM SHAPE BOUNDS OPTION...: generates, compiles and runs one search. Leaves in
# DIRECTORY: output, story, and verdict, one line "VERDICT|states|depth|seconds|MB|steps|claim".
search()
{
    local directory=$1 kind=$2 claim=$3 shape=$4 bounds=$5 flags option begin=$SECONDS seconds
    shift 5
    mkdir -p "$directory"
    cd "$directory"
    flags=(-DDATA_A="${shape%%+*}" -DWITNESSES="${shape##*+}" -DTERMS="${bounds%x*}" -DENTRIES="${bounds#*x}")
    option=${shape#*+}
    flags+=(-DDATA_B="${option%+*}")
    for option in "$@"; do flags+=("-D$option"); done
    # What takes time in short searches is the compiler.
    local optimize=-O2
    [ "$level" -gt 0 ] || optimize=-O1
    [ "$kind" = holds ] || optimize=-O0
    if ! spin "${flags[@]}" -a "$model/durability.pml" >output 2>&1 ||
        ! gcc $optimize -w -DSAFETY -DNOREDUCE -DCOLLAPSE -DMEMLIM=$memory_mb -o pan pan.c >>output 2>&1; then
        echo "NOT COMPILED|-|-|$((SECONDS - begin))|-|-|-" >verdict
        return
    fi
    timeout $seconds_max ./pan -m100000 >output 2>&1 || true
    seconds=$((SECONDS - begin))

    local states depth mb found='' steps=- verdict
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' output)
    depth=$(sed -n 's/.*depth reached \([0-9]*\),.*/\1/p' output)
    mb=$(sed -n 's/^ *\([0-9]*\)\.[0-9]*.total actual memory usage.*/\1/p' output)
    found=$(sed -n 's/.*assertion violated (*\([a-z_]*\).*/\1/p' output | head -n 1)
    if compgen -G '*.trail' >/dev/null; then
        { ./pan -r ./*.trail 2>/dev/null || true; } | story "$shape" >story
        steps=$(wc -l <story)
        [ -z "$found" ] || echo "so: $(sentence_of "$found") ($found)" >>story
    fi
    if ! grep -q '^State-vector.*errors: ' output; then
        verdict="NOT FINISHED"
    elif [ -n "$found" ]; then
        verdict=broken
        if [ "$kind" = planted ]; then
            [[ $found =~ ^($claim)$ ]] && verdict=found || verdict="OTHER CLAIM"
        fi
    elif ! grep -q '^State-vector.*errors: 0' output; then
        verdict="OTHER ERROR"
    elif grep -qi 'not completed\|max search depth too small\|out of memory\|MEMLIM\|resolution' output; then
        verdict=TRUNCATED
    elif [ "$kind" = refused ]; then
        # Not a step was taken.
        [ "${states:-99}" -le 5 ] && verdict=refused || verdict="NOT REFUSED"
    elif [ "$kind" = planted ]; then
        verdict="NOT FOUND"
    elif [ "${states:-0}" -lt 100 ]; then
        verdict="TOO FEW STATES"
    else
        verdict=holds
    fi
    [ "$verdict" != broken ] || verdict=BROKEN
    echo "$verdict|${states:--}|${depth:--}|$seconds|${mb:--}|$steps|${found:--}" >verdict
}

selected=()
for row in "${rows[@]}"; do
    if grep -qE -- "$only" <<<"$row"; then selected+=("$row"); fi
done
[ ${#selected[@]} -gt 0 ] || { echo "error: no row matches $only (rows: see $0)" >&2; exit 2; }

pids=()
finish()
{
    local pid
    for pid in "${pids[@]}"; do
        # each search is a process group of its own
        kill -- "-$pid" 2>/dev/null || true
    done
    [ -n "$keep" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

row_name()
{
    # holds 1+1+1 2x3 OPTIONS, or the planted error in words
    local words
    read -r -a words <<<"$1"
    if [ "${words[0]}" = planted ]; then
        echo "${words[4]#PLANT_} (${words[2]} ${words[3]})"
    else
        echo "${words[2]} ${words[3]} ${words[*]:4}"
    fi
}

echo "== $(spin -V), $(gcc --version | head -n 1); ${#selected[@]} searches, $jobs at a time"
printf '%-46s %11s %6s %5s %6s  %s\n' "shape, terms x entries; or planted error" states depth s MB verdict
failed=0
next=0
shown=0
said=$SECONDS
set -m
while [ "$shown" -lt ${#selected[@]} ]; do
    running=0
    for ((row = shown; row < next; row++)); do
        if [ ! -f "$work/$row/verdict" ] && kill -0 "${pids[row]}" 2>/dev/null; then running=$((running + 1)); fi
    done
    while [ "$next" -lt ${#selected[@]} ] && [ "$running" -lt "$jobs" ]; do
        read -r -a words <<<"${selected[next]}"
        rm -rf "${work:?}/$next"
        (search "$work/$next" "${words[@]}") </dev/null &
        pids[next]=$!
        next=$((next + 1))
        running=$((running + 1))
    done
    # Rows are shown in their order.
    if [ "$shown" -lt "$next" ] && ! kill -0 "${pids[shown]}" 2>/dev/null; then
        wait "${pids[shown]}" || true
        verdict='NOT FINISHED|-|-|-|-|-|-'
        [ ! -s "$work/$shown/verdict" ] || verdict=$(cat "$work/$shown/verdict")
        IFS='|' read -r verdict states depth seconds mb steps claim <<<"$verdict"
        told=$verdict
        [ "$steps" = - ] || told="$verdict: $claim, in $steps steps"
        printf '%-46s %11s %6s %5s %6s  %s\n' "$(row_name "${selected[shown]}")" \
            "$states" "$depth" "$seconds" "$mb" "$told"
        case $verdict in
        holds | refused) ;;
        found) if $stories; then sed 's/^/    /' "$work/$shown/story"; fi ;;
        *)
            failed=$((failed + 1))
            for file in story output; do
                if [ -s "$work/$shown/$file" ]; then
                    head -n 60 "$work/$shown/$file" | sed 's/^/    /'
                    break
                fi
            done
            ;;
        esac
        shown=$((shown + 1))
        continue
    fi
    if [ "$level" -eq 2 ] && [ $((SECONDS - said)) -ge 60 ]; then
        said=$SECONDS
        for ((row = shown; row < next; row++)); do
            [ -f "$work/$row/verdict" ] || echo ".. $(row_name "${selected[row]}"):" \
                "$(tail -n 1 "$work/$row/output" 2>/dev/null | grep States || echo compiling)"
        done
    fi
    sleep 0.1
done
set +m
if [ "$failed" -gt 0 ]; then
    echo "$failed of ${#selected[@]} searches did not end as they have to"
    exit 1
fi
echo "all ${#selected[@]} searches ended as they have to, in $SECONDS s"
