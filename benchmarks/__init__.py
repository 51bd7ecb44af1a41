"""Measures this library and compares it with others; see ``docs/performance.md``."""
