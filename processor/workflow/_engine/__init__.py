"""What runs the code of one run: the loop, the requests of a turn, and the watchdog."""
