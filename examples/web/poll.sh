#!/bin/sh
# Start an import over HTTP and poll it until it ends: needs curl and `processor dev examples.web.imports`.
# usage: examples/web/poll.sh [URL of the API]
set -eu

api=${1:-http://127.0.0.1:8233}
runs=$api/api/v1/namespaces/default/workflows/import_file/runs
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

# The same key again starts nothing again, and has the same answer.
curl -fsS -D "$headers" -o /dev/null -H 'Content-Type: application/json' -H "Idempotency-Key: import-$$" \
    -d '{"arguments": ["customers.csv"]}' "$runs"
place=$(sed -n 's/^[Ll]ocation: *//p' "$headers" | tr -d '\r')
echo "202, and it will be at ${place#"$api"}"

for attempt in 1 2 3 4 5 6 7 8 9 10; do
    # Each request waits up to five seconds: 202 is "not yet", 200 is the result.
    answer=$(curl -fsS -w '\n%{http_code}' "$place&wait=5")
    if [ "$(echo "$answer" | tail -n 1)" = 200 ]; then
        echo "$answer" | head -n 1
        exit 0
    fi
done
echo "it still runs: ask again" >&2
exit 1
