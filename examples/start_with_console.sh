#!/bin/sh
# Start a workflow with Kafka's own console producer and a line of JSON.
#   examples/start_with_console.sh localhost:9092 order-8 [namespace]
set -eu
servers=$1 id=$2 namespace=${3:-default}
printf '%s|%s\n' "$id" \
    '{"type": "start", "workflow": "order_processing", "arguments": [{"id": "'"$id"'", "amount": 10, "follow_up_s": 1}]}' |
    "${KAFKA_CONSOLE_PRODUCER:-kafka-console-producer.sh}" --bootstrap-server "$servers" \
        --topic "$namespace.commands" \
        --property parse.key=true --property key.separator='|'
