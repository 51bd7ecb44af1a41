"""What measures the library: workloads, client loops and accounting, for `processor bench` and
for ``benchmarks/``, which compares runtimes and other systems with the same code."""
