#!/usr/bin/env bash
# Leadership goes to another site while clients go on: looks first, then moves, then looks again.
set -euo pipefail

usage()
{
    cat <<HELP
usage: ops/switchover.sh SITE [--reason TEXT] [--dry-run]

Makes a data node of SITE lead, with "tally site switchover". No request is refused for it. Safe to
run again: when SITE leads already, nothing happens. Who and where: TALLY_PROFILE, or the other
variables of docs/cli.md, with a site operator's certificate; TALLY names the program (tally).
  --reason TEXT   kept in the audit log (default: "planned switchover")
  --dry-run       only say what stands in the way

Exit codes: 0 done; 2 usage; 3 something stands in the way, nothing was changed; 4 nobody answers.
HELP
}

tally=${TALLY:-tally}
site="" reason="planned switchover" dry_run=""
while [ $# -gt 0 ]; do
    case $1 in
        --help) usage; exit 0 ;;
        --reason) [ $# -gt 1 ] || { usage >&2; exit 2; }; reason=$2; shift ;;
        --dry-run) dry_run=yes ;;
        -*) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
        *) [ -z "$site" ] || { echo "error: one site only (see --help)" >&2; exit 2; }; site=$1 ;;
    esac
    shift
done
[ -n "$site" ] || { usage >&2; exit 2; }

echo "== what stands in the way"
"$tally" site switchover "$site" --reason "$reason" --dry-run
[ -z "$dry_run" ] || exit 0
echo "== moving"
"$tally" site switchover "$site" --reason "$reason"
echo "== afterwards"
"$tally" status
