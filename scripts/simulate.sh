#!/usr/bin/env bash
# Hours of simulated clusters over fresh seeds, on all cores: see --help.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

build=build-simulate
seconds=60
shorten_seconds=120
hours='' topologies=() seed='' extra=()
usage()
{
    cat <<HELP
usage: scripts/simulate.sh --hours N [--topology 1+1+1|2+2+1]... [--seed-start S]
                           [--seconds N] [-- OPTION...]

Makes a release build of tally-sim ($build/) and runs at least N virtual hours in all, shared
evenly by the topologies (1+1+1 and 2+2+1 unless told otherwise), every seed with $seconds virtual
seconds of faults. Prints commit and seeds first, a line of progress every 10 s, each violation with
the command that replays it, and a summary; then makes the first failing seed short, in at most
$shorten_seconds s, and tells its story. Exit code 1: a promise was broken.
  --seed-start S   first seed; a new one each second unless given
  --seconds N      virtual seconds of faults per seed
  -- OPTION...     more options of tally-sim (docs/simulator.md), as in: -- --think-ms 200
HELP
}
fail()
{
    echo "error: $1" >&2
    usage >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --hours | --topology | --seed-start | --seconds)
        [ $# -ge 2 ] || fail "$1 wants a value"
        case $1 in
        --hours) hours=$2 ;;
        --topology) topologies+=("$2") ;;
        --seed-start) seed=$2 ;;
        --seconds) seconds=$2 ;;
        esac
        shift 2
        ;;
    --help | -h) usage; exit 0 ;;
    --) shift; extra=("$@"); break ;;
    *) fail "there is no option \"$1\"" ;;
    esac
done
[[ $hours =~ ^[0-9]+$ ]] && [ "$hours" -gt 0 ] || fail "--hours wants a whole number above 0"
[[ $seconds =~ ^[0-9]+$ ]] && [ "$seconds" -gt 0 ] || fail "--seconds wants a whole number above 0"
[ ${#topologies[@]} -gt 0 ] || topologies=(1+1+1 2+2+1)
# Ten thousand numbers a second: searches begun one after another share no seed.
[ -n "$seed" ] || seed=$(($(date +%s) * 10000))
[[ $seed =~ ^[0-9]+$ ]] || fail "--seed-start wants a number"

install_packages "${packages_build[@]}"
configure_build "$build" -Dtests=disabled -Dbuildtype=release -Db_lto=true
ninja -C "$build" chaos/sim/tally-sim >"$build/ninja.log" || { tail -n 30 "$build/ninja.log"; exit 1; }

# A failing seed made short, behind the words of the search: chaos/report/simulated.py reads both.
shorten()
{
    local topology=$1 report=$2 found began=$SECONDS
    found=$(sed -n 's/^VIOLATION seed \([0-9]*\): .*/\1/p;T;q' "$report")
    [ -n "$found" ] || return 0
    {
        echo "-- seed $found made short"
        timeout -k 10 $((2 * shorten_seconds)) "$build/chaos/sim/tally-sim" --topology "$topology" \
            --seconds "$seconds" "${extra[@]}" --shrink "$found" \
            --shrink-seconds "$shorten_seconds" || [ $? = 1 ] || echo "not made short: it did not end well"
        [ $((SECONDS - began)) -lt "$shorten_seconds" ] ||
            echo "the $shorten_seconds s for this were used up: there may be a shorter one"
        echo "--"
    } | tee -a "$report"
}

count=$(((hours * 3600 + seconds * ${#topologies[@]} - 1) / (seconds * ${#topologies[@]})))
last=$((seed + count - 1))
echo "== commit $(git describe --always --dirty --abbrev=10), seeds $seed..$last of each of ${topologies[*]}," \
    "$seconds virtual seconds of faults a seed"
code=0 summaries=()
for topology in "${topologies[@]}"; do
    echo "== $topology"
    report=$build/report-$topology.txt
    "$build/chaos/sim/tally-sim" --topology "$topology" --seeds "$seed..$last" --seconds "$seconds" \
        "${extra[@]}" | tee "$report" || { code=1; shorten "$topology" "$report"; }
    summaries+=("$(grep -E '^[0-9+]+: [0-9]+ seeds' "$report" || echo "$topology: did not end")")
done
echo "== in all"
printf '%s\n' "${summaries[@]}"
[ $code = 0 ] && echo "== no promise broken" || echo "== FAILED: see the lines with VIOLATION above"
exit $code
