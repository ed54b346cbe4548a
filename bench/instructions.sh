#!/bin/bash
# Counts the instructions of whole request paths and compares them with bench/budget.toml.
#
#   bench/instructions.sh             every path; fails when one needs 1 % more than its budget
#   bench/instructions.sh NAME...     only these
#   bench/instructions.sh --update    writes what was counted into the budget
#
# Counted are the instructions in user space of one worker's turns (crates/testkit/examples/paths.rs
# under callgrind), per request: the same on every run, unlike time. A path that became cheaper
# updates its budget in the same commit. CARGO names the cargo to build with.
set -euo pipefail
cd "$(dirname "$0")/.."
budget=bench/budget.toml
rounds=${ROUNDS:-1000}
update=false
if [ "${1:-}" = --update ]; then update=true; shift; fi
command -v valgrind > /dev/null || { echo "valgrind is not installed" >&2; exit 2; }

built=$(${CARGO:-cargo} build --quiet --release -p keyway-testkit --example paths \
  --message-format=json | sed -n 's/.*"executable":"\([^"]*\/paths\)".*/\1/p' | tail -1)
[ -x "$built" ] || { echo "the driver was not built" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

count() { # NAME: instructions per request
  local requests total
  requests=$(valgrind --tool=callgrind --collect-atstart=no '--toggle-collect=*counted_turn*' \
    --callgrind-out-file="$folder/$1" "$built" "$1" "$rounds" 2> "$folder/$1.log" | tail -1)
  total=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$folder/$1.log")
  if [ -z "$total" ] || [ -z "$requests" ]; then cat "$folder/$1.log" >&2; return 1; fi
  echo $(((total + requests / 2) / requests))
}

status=0
if [ $# -gt 0 ]; then names=("$@"); else mapfile -t names < <("$built"); fi
for name in "${names[@]}"; do
  now=$(count "$name")
  limit=$(sed -n "s/^$name = \([0-9]*\).*/\1/p" "$budget" 2> /dev/null || true)
  note=ok
  if [ -z "$limit" ]; then
    note="no budget"
    $update && echo "$name = $now" >> "$budget" || status=1
  elif [ $((now * 100)) -gt $((limit * 101)) ]; then
    note="OVER"
    $update || status=1
  elif [ $((now * 100)) -lt $((limit * 99)) ]; then
    note="cheaper: update the budget"
  fi
  if $update && [ -n "$limit" ]; then sed -i "s/^$name = .*/$name = $now/" "$budget"; fi
  printf '%-26s %8d instructions per request, budget %8s  %s\n' "$name" "$now" "${limit:--}" "$note"
done
exit $status
