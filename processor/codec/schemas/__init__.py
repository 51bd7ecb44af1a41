"""The Avro schemas: written from the classes, read from files, and held against what was published.

A record's class is the one source: its schema is what ``processor schemas write`` makes of it.
"""
