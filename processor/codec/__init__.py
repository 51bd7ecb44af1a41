"""The wire: records as Avro, commands as JSON, payloads of users, and how schemas may change."""
