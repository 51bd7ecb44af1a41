"""The embedded runtime: one shard in this process, its log a RocksDB store, no broker."""
