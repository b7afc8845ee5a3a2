#!/usr/bin/env bash
# Runs every fuzz target for a while, each from its corpus, with address and undefined behaviour
# sanitizers. A crash is written to build-fuzz/crash-* and the command to repeat it is printed.
# tests/fuzz/README.md says which parser is reached by which target.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
only=
seeds=false
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --only)
        [ $# -ge 2 ] || { echo "error: $1 wants a value (see --help)" >&2; exit 2; }
        if [ "$1" = --seconds ]; then seconds=$2; else only=$2; fi
        shift 2 ;;
    --seeds) seeds=true; shift ;;
    --help | -h)
        cat <<HELP
usage: scripts/fuzz.sh [--seconds N] [--only TARGET] [--seeds]

  --seconds N     for each target (default 60)
  --only TARGET   e.g. fuzz_csv
  --seeds         write the seeds of tests/fuzz/corpus anew, with the product's encoders, and end
HELP
        exit 0 ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
done

# To libFuzzer 0 seconds, and what is no number, are for ever.
[[ $seconds =~ ^[1-9][0-9]*$ ]] ||
    { echo "error: --seconds $seconds: a whole number from 1 (see --help)" >&2; exit 2; }

. scripts/packages.sh
install_packages "${packages_build[@]}" "${packages_test[@]}"
CC=clang configure_build build-fuzz -Dfuzz=true -Dtests=enabled -Db_lundef=false \
    -Db_sanitize=address,undefined -Dwerror=false
targets=$(ninja -C build-fuzz -t targets all | sed -n 's/^tests\/fuzz\/\(fuzz_[a-z0-9_]*\): .*/\1/p' | sort -u)
[ -n "$targets" ] || { echo "error: no fuzz target found" >&2; exit 1; }

if $seeds; then
    ninja -C build-fuzz tests/fuzz/make_seeds >build-fuzz/build.log 2>&1 ||
        { tail -n 20 build-fuzz/build.log; exit 1; }
    exec build-fuzz/tests/fuzz/make_seeds tests/fuzz/corpus
fi
if [ -n "$only" ]; then
    grep -qFx "$only" <<<"$targets" ||
        { echo "error: no fuzz target is called $only; there are: ${targets//$'\n'/, }" >&2; exit 2; }
    targets=$only
fi
# shellcheck disable=SC2086
ninja -C build-fuzz ${targets//fuzz_/tests/fuzz/fuzz_} >build-fuzz/build.log 2>&1 ||
    { tail -n 20 build-fuzz/build.log; exit 1; }

# Undefined behaviour ends a target like any other crash.
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:suppressions=$PWD/tests/fuzz/undefined.supp

# One target, beside others: what it has to say comes in one piece at its end.
fuzz()
{
    local target=$1
    local corpus=tests/fuzz/corpus/${target#fuzz_} new=build-fuzz/corpus/${target#fuzz_}
    mkdir -p "$corpus" "$new"
    if build-fuzz/tests/fuzz/"$target" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=4096 \
        -artifact_prefix=build-fuzz/crash-"$target"- -print_final_stats=1 "$new" "$corpus" \
        >build-fuzz/"$target".log 2>&1; then
        echo "== $target: $(grep -oE '(number_of_executed_units|new_units_added): *[0-9]+' \
            build-fuzz/"$target".log | tr -s '\n ' ' ')"
        return 0
    fi
    tail -n 40 build-fuzz/"$target".log
    echo "FAILED: $target; repeat with: build-fuzz/tests/fuzz/$target $(ls -t build-fuzz/crash-"$target"-* | head -n 1)"
    return 1
}

echo "== $(wc -w <<<"$targets") targets for $seconds s each, $(nproc) at a time"
status=0
running=0
for target in $targets; do
    if [ $running -ge "$(nproc)" ]; then
        wait -n || status=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    wait -n || status=1
    running=$((running - 1))
done
exit $status
