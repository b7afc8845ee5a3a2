#!/usr/bin/env bash
# What the tests run of the product: see --help.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build-coverage
parts=unit,simulator,e2e
hours=1
clean=true
missing=0
usage()
{
    cat <<HELP
usage: scripts/coverage.sh [--only PART,...] [--add] [--hours N] [--missing N]

Builds with gcc's counters ($build/), runs the tests, prints lines and branches that ran, by layer and
in all, and writes a page for each file under $build/coverage/.

  --only PART,...  of: unit (all suites of the layers), simulator, e2e, report (only the figures of
                   what ran before); default: $parts
  --add            to the counters of runs before (default: they are set to zero)
  --hours N        virtual hours of the simulator (default $hours, shared by two topologies)
  --missing N      also list the N largest stretches of lines that nothing ran

A failed test does not stop it, for this build is slower than tests with deadlines like; the failures
are listed, and the exit code is then 1. What a killed node had counted in its last 700 ms is missing
(tests/coverage/flush.c). docs/coverage.md says what the figures are and what is not covered, and why.
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
    --only | --hours | --missing)
        [ $# -ge 2 ] || fail "$1 wants a value"
        case $1 in
        --only) parts=$2 ;;
        --hours) hours=$2 ;;
        --missing) missing=$2 ;;
        esac
        shift 2
        ;;
    --add) clean=false; shift ;;
    --help | -h) usage; exit 0 ;;
    *) fail "there is no option \"$1\"" ;;
    esac
done
for part in ${parts//,/ }; do
    case $part in
    unit | simulator | e2e) ;;
    report) clean=false ;;
    *) fail "--only: there is no part \"$part\"" ;;
    esac
done
[[ $hours =~ ^[0-9]+$ ]] && [ "$hours" -gt 0 ] || fail "--hours wants a whole number above 0"
[[ $missing =~ ^[0-9]+$ ]] || fail "--missing wants a whole number"

. scripts/packages.sh
install_packages "${packages_build[@]}" "${packages_test[@]}" "${packages_coverage[@]}"
root=$PWD
failed=()

# The counters' own code, linked into every program; -Og, since tests have deadlines; atomic, since
# nodes have threads.
gcc -O1 -fPIC -D_GNU_SOURCE -Wall -Wextra -c tests/coverage/flush.c -o "$root/$build-flush.o"
CC=${CC:-gcc} configure_build "$build" -Dtests=enabled -Db_coverage=true -Doptimization=g -Ddebug=true \
    -Dwerror=false -Dc_args=-fprofile-update=atomic \
    "-Dc_link_args=--coverage $root/$build-flush.o -Wl,--wrap=_exit"
ninja -C "$build" >"$build/ninja.log" 2>&1 || { tail -n 30 "$build/ninja.log"; exit 1; }

export TALLY_COVERAGE_DIR=$root/$build/processes
if $clean; then
    find "$build" -name '*.gcda' -delete
    rm -rf "$TALLY_COVERAGE_DIR"
fi
mkdir -p "$TALLY_COVERAGE_DIR"

# run NAME COMMAND...: what it prints goes to a log, its last line is shown.
run()
{
    local name=$1 log=$build/coverage-$1.log
    shift
    echo "== $name"
    "$@" >"$log" 2>&1 || failed+=("$name: see $log")
    tail -n 1 "$log"
}

for part in ${parts//,/ }; do
    case $part in
    unit)
        run unit meson test -C "$build" --no-rebuild --num-processes "$(nproc)" -t 8 --suite core \
            --suite storage --suite net --suite replication --suite server --suite client
        grep -E '(FAIL|TIMEOUT|ERROR)  ' "$build/coverage-unit.log" || true
        ;;
    simulator)
        for topology in 1+1+1 2+2+1; do
            run "simulator-$topology" "$build/chaos/sim/tally-sim" --topology "$topology" \
                --seeds "1..$((hours * 3600 / 60 / 2))" --seconds 60
        done
        ;;
    e2e)
        run e2e tests/e2e/run.py --build "$build"
        grep -E '^FAIL' "$build/coverage-e2e.log" || true
        ;;
    esac
done
/usr/bin/python3 tests/coverage/merge.py "$build" "$TALLY_COVERAGE_DIR"

options=(--rc lcov_branch_coverage=1 --rc 'lcov_excl_br_line=invariant(_values)?\(')
# capture NAME [OPTION...]: gcc names sources from the build's directory; what is not ours goes later.
capture()
{
    lcov -q --capture --directory "$build" --base-directory "$root/$build" "${options[@]}" "${@:2}" \
        --output-file "$build/$1.info" >"$build/lcov-$1.log" 2>&1 ||
        { tail "$build/lcov-$1.log"; exit 1; }
}
# A file that no program links has no counters: without this it would not be missing in the figures.
capture none --initial
capture ran
lcov -q "${options[@]}" --add-tracefile "$build/none.info" --add-tracefile "$build/ran.info" \
    --output-file "$build/all.info" >"$build/lcov.log" 2>&1 || { tail "$build/lcov.log"; exit 1; }
lcov -q --extract "$build/all.info" "$root"/{core,storage,net,replication,server,client}/'*' \
    "${options[@]}" --output-file "$build/coverage.info" >>"$build/lcov.log" 2>&1
genhtml -q --branch-coverage --legend --prefix "$root" --output-directory "$build/coverage" \
    --title "tallystick $(git rev-parse --short HEAD 2>/dev/null || true)" "$build/coverage.info" \
    >>"$build/lcov.log" 2>&1 || { tail "$build/lcov.log"; exit 1; }
echo "== commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), parts: $parts"
/usr/bin/python3 tests/coverage/figures.py "$build/coverage.info" "$root" \
    $([ "$missing" -eq 0 ] || echo --missing "$missing")
echo "pages: $build/coverage/index.html"
for name in "${failed[@]}"; do
    echo "FAILED $name"
done
[ ${#failed[@]} -eq 0 ]
