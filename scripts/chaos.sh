#!/usr/bin/env bash
# Attacks: the simulator over fresh seeds and the nemesis on real processes, with one report at the
# end: see --help. The work is in `chaos/tally-chaos search`.
set -euo pipefail
cd "$(dirname "$0")/.."

usage()
{
    cat <<'HELP'
usage: scripts/chaos.sh [--minutes N | --hours N | --ci] [--seed S] [--output DIR] [--build DIR]
                        [OPTION...]

Installs what is missing, makes a release build (build-chaos/) unless --build names one, and attacks
for N minutes (6): a third of the time whole clusters in the simulator, then every named scenario
there is time for and random faults on real processes. Prints commit and seed first. Ends with
DIR/report.html (DIR: chaos-SEED/), summary.json beside it, and the exit status: 0 nothing found;
1 a promise was broken; 2 something did not run as it should, or the search was interrupted, whose
report is there all the same.

  --ci         a slice of about five minutes on two cores: fresh seeds of the simulator, every named
               scenario that this machine can do, and a random run; two at a time (--lanes N). Fails
               when a claim of the checkers was judged in no run of a whole slice
  --hours N    a long search, unattended
  OPTION...    more options of `chaos/tally-chaos search`: see its --help
As root, nodes stand in network namespaces whose packets nftables drops; without the rights they are
behind relays (`chaos/tally-chaos list` says what a machine lacks).
HELP
}

given=false
for argument in "$@"; do
    case $argument in
    --help | -h) usage; exit 0 ;;
    --build | --build=*) given=true ;;
    esac
done
if ! $given; then
    . scripts/packages.sh
    install_packages "${packages_build[@]}" "${packages_test[@]}" "${packages_chaos[@]}"
    build=build-chaos
    configure_build "$build" -Dtests=disabled -Dbuildtype=release -Db_lto=true
    ninja -C "$build" server/tallyd client/cli/tally chaos/sim/tally-sim \
        chaos/power_loss/powerloss-apply chaos/power_loss/libpowerloss.so \
        chaos/power_loss/libdiskfault.so chaos/clock/libwallclock.so >"$build/ninja.log" ||
        { tail -n 30 "$build/ninja.log"; exit 2; }
    set -- --build "$build" "$@"
fi
exec /usr/bin/python3 chaos/tally-chaos search "$@"
