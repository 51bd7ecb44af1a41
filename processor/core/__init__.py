"""The pure core: (state, input, now) -> turn. No I/O, clock, threads or randomness in here."""
