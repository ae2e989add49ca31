#!/usr/bin/env bash
# make demo: the whole round on free ports in a temporary directory. Start, send, ask, stop.
set -euo pipefail
cd "$(dirname "$0")/../.."

penstock=$PWD/bin/penstock
work=$(mktemp -d)
server=""
finish() {
  status=$?
  if [ "$status" != 0 ]; then cat "$work/log" >&2; fi
  if [ -n "$server" ]; then kill -TERM "$server" 2>/dev/null && wait "$server" || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

touch "$work/out" "$work/log" # the loop below may be quicker than the redirections
"$penstock" local --data "$work/data" --listen 127.0.0.1:0 --s3-listen 127.0.0.1:0 --min-free 64MiB \
  --log-level warn >"$work/out" 2>"$work/log" &
server=$!
until grep -q '^  data' "$work/out"; do
  kill -0 "$server" 2>/dev/null || exit 1
  sleep 0.1
done
cat "$work/out"
PENSTOCK_URL=$(awk '$1 == "HTTP" {print $2}' "$work/out")
export PENSTOCK_URL

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
ask() { printf '\n> %s\n' "$1"; "$penstock" query "$1"; }

corpus=../shared/corpus
if [ -d "$corpus" ]; then
  say "Sending real documents"
  "$penstock" send --type github --split "$corpus/github_events.json"
  "$penstock" send --type cellphone "$corpus/amazon_cellphones.ndjson"
  "$penstock" send --type status --split "$corpus/twitter_timeline.json"
  # All but fluent.json.gz, which is over 10 MiB.
  "$penstock" send --type document "$corpus"/{apache_builds,canada,citm_catalog,google_maps_api_compact_response}.json \
    "$corpus"/{google_maps_api_response,gsoc-2018,instruments,marine_ik,twitter,update-center}.json \
    "$corpus/material-symbols.json.gz"
  say "Asking"
  ask "SELECT type, count(*) AS events, sum(size) AS bytes, max(size) AS largest FROM events GROUP BY type ORDER BY events DESC"
  ask "SELECT json_extract_scalar(data, '\$.type') AS event, count(*) AS n FROM events WHERE type = 'github' GROUP BY 1 ORDER BY n DESC"
  ask "SELECT json_extract_scalar(data, '\$.actor.login') AS who, json_extract_scalar(data, '\$.repo.name') AS repository FROM events WHERE type = 'github' AND json_extract_scalar(data, '\$.type') = 'PushEvent' ORDER BY who LIMIT 8"
else
  say "Sending 20,000 made-up orders"
  awk 'BEGIN { srand(7); split("lisbon,oslo,quito,hanoi,accra", city, ",");
    for (i = 1; i <= 20000; i++)
      printf "{\"order\":%d,\"city\":\"%s\",\"items\":[%d,%d],\"total\":%.2f}\n", i, city[1+int(rand()*5)], rand()*100, rand()*100, rand()*500 }' \
    | "$penstock" send --type order -
  say "Asking"
  ask "SELECT count(*) AS events, sum(size) AS bytes, min(received_at) AS first, max(received_at) AS last FROM events"
  ask "SELECT json_extract_scalar(data, '\$.city') AS city, count(*) AS orders, round(sum(CAST(json_extract_scalar(data, '\$.total') AS double)), 2) AS total FROM events GROUP BY 1 ORDER BY total DESC"
  ask "SELECT json_extract_scalar(data, '\$.order') AS \"order\", json_array_get(data, 0) IS NULL AS is_object, json_extract_scalar(data, '\$.items[0]') AS first_item FROM events ORDER BY CAST(json_extract_scalar(data, '\$.total') AS double) DESC LIMIT 5"
fi

say "Stopping"
kill -TERM "$server"
wait "$server"
server=""
echo "stopped; everything acked is on disk"
