#!/usr/bin/env bash
# A site that was lost or drained is back: it serves again, both sites count again, and, if wanted,
# leadership returns.
set -euo pipefail

usage()
{
    cat <<HELP
usage: ops/failback.sh SITE [--reason TEXT] [--wait SECONDS] [--switchover] [--dry-run]

SITE's nodes have been started again. Waits until SITE is current, returns to SYNC and ends its drain
if it is drained ("tally site resume"), and shows the cluster.
Safe to run again. Who and where: TALLY_PROFILE, or the other variables of docs/cli.md, with a site
operator's certificate; TALLY names the program (tally).
  --reason TEXT    kept in the log (default: "site SITE is back")
  --wait SECONDS   for SYNC (default: 600)
  --switchover     afterwards SITE leads
  --dry-run        change nothing

Exit codes: 0 done; 2 usage; 3 refused, nothing was changed; 4 not in SYNC in time, repeat it; or nobody
answers.
HELP
}

tally=${TALLY:-tally}
site="" reason="" wait_s=600 switchover="" dry_run=""
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --reason | --wait)
            [ $# -gt 1 ] || { usage >&2; exit 2; }
            case $1 in
                --reason) reason=$2 ;;
                --wait) wait_s=$2 ;;
            esac
            shift ;;
        --switchover) switchover=yes ;;
        --dry-run) dry_run=yes ;;
        -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
        *) [ -z "$site" ] || { echo "error: one site only (see --help)" >&2; exit 2; }; site=$1 ;;
    esac
    shift
done
[ -n "$site" ] || { usage >&2; exit 2; }
reason=${reason:-site $site is back}
case $wait_s in *[!0-9]* | "" | 0) echo "error: --wait: whole seconds (see --help)" >&2; exit 2 ;; esac

echo "== now"
"$tally" status || exit 4
if [ -n "$dry_run" ]; then
    "$tally" site resume "$site" --reason "$reason" --dry-run
    exit
fi

echo "== site $site serves, and both sites count again"
"$tally" site resume "$site" --reason "$reason" --deadline "$wait_s"
"$tally" durability show

if [ -n "$switchover" ]; then
    echo "== site $site leads again"
    "$tally" site switchover "$site" --reason "$reason"
fi
echo "== afterwards"
"$tally" status
