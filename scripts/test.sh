#!/usr/bin/env bash
# Passes all tests of a checkout: installs what is missing, builds three times (plain; address and
# undefined behaviour sanitizers; thread sanitizer) and runs each test where it says most.
# Needs Debian 12 or 13 and root or sudo. Safe to run again; takes about half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --help ]; then
    cat <<'HELP'
usage: scripts/test.sh [--quick]

  --quick   only the plain build with unit and end-to-end tests (no sanitizers, fuzzing, loops)

Environment:
  TALLY_SEED   seed of every randomized slice (default: drawn, and printed)
HELP
    exit 0
fi
quick=false
if [ "${1:-}" = --quick ]; then
    quick=true
elif [ $# -gt 0 ]; then
    echo "error: unknown option $1 (see --help)" >&2
    exit 2
fi

. scripts/packages.sh
install_packages "${packages_build[@]}" "${packages_test[@]}" "${packages_model[@]}" "${packages_chaos[@]}"
export TALLY_SEED=${TALLY_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "== commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), seed $TALLY_SEED"

passed=0
failed=0
failures=()
# step NAME COMMAND...: runs one part; a failure is kept for the end, so that one run tells all.
step()
{
    local name=$1 begin=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
        echo "== $name: passed in $((SECONDS - begin)) s"
    else
        failed=$((failed + 1))
        failures+=("$name")
        echo "== $name: FAILED after $((SECONDS - begin)) s" >&2
    fi
}

format_is_clean()
{
    # Not by git: a checkout may be an archive, or belong to another user, whom git distrusts.
    find . -path './build*' -prune -o -name '.*' ! -name . -prune -o -name '*.[ch]' -print0 |
        xargs -0 clang-format --dry-run -Werror
}

# build_and_test DIRECTORY TARGET SUITES OPTION...: meson itself builds what the tests need besides.
build_and_test()
{
    local directory=$1 targets=$2 suites=$3
    shift 3
    configure_build "$directory" "$@" || return 1
    [ -z "$targets" ] || ninja -C "$directory" -k 0 "$targets" || return 1
    local arguments=() suite
    for suite in $suites; do
        arguments+=(--suite "$suite")
    done
    # The time limits of tests are against hangs, and made on a machine that is not slow.
    meson test -C "$directory" --print-errorlogs --num-processes 2 --timeout-multiplier 3 \
        "${arguments[@]}"
}

units="core storage net replication server client"
step "format" format_is_clean
step "model of the durability rule" model/check.sh --quick
if $quick; then
    step "plain build, unit and end-to-end tests" build_and_test build all "$units chaos e2e"
else
    # Units say more under the sanitizers; the plain build runs what talks to real programs, and
    # measures memory.
    step "plain build, end-to-end tests and the simulator's" build_and_test build programs "plain chaos e2e"
    step "address and undefined behaviour sanitizers, unit tests" \
        build_and_test build-asan all "$units" -Db_sanitize=address,undefined
    step "thread sanitizer" \
        build_and_test build-tsan "" threads -Db_sanitize=thread
    step "fuzzing, a short slice" scripts/fuzz.sh --seconds 6
    step "kill -9 loop, a short slice" \
        scripts/kill-loop.sh --rounds 12 --seed "$TALLY_SEED"
    step "kill -9 loop with power loss, a short slice" \
        scripts/kill-loop.sh --rounds 8 --seed "$TALLY_SEED" --power-loss
    step "the same loop without sync must fail" \
        scripts/kill-loop.sh --rounds 10 --seed "$TALLY_SEED" --power-loss --no-sync --expect-failure
    step "simulator and nemesis, a slice with fresh seeds" \
        scripts/chaos.sh --ci --build build --seed "$TALLY_SEED" \
        --output "$(mktemp -d -u build/chaos-XXXXXX)"
    step "failover loop, one run of each event" \
        scripts/failover-loop.sh --runs 1 --topology 1+1+1 --share-cluster --capacity 4000 \
        --flap-seconds 5 --slack 3 --attempts 4 --build build --seed "$TALLY_SEED" --report build/failover-slice
    step "planted bugs are found, a slice" scripts/planted.sh --ci --seed "$TALLY_SEED"
    step "fault loop on two sites and a witness, a short slice" \
        scripts/fault-loop.sh --build build --faults 20 --seed "$TALLY_SEED"
    for fault in sync_off reply_before_commit request_window_off; do
        step "the fault loop with $fault planted must fail" \
            scripts/fault-loop.sh --planted "$fault" --faults 12 --seed "$TALLY_SEED"
    done
fi

step "evidence of docs/guarantees.md and chaos/FINDINGS.md" scripts/check-guarantees.py

for name in "${failures[@]}"; do
    echo "FAILED: $name"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
