"""What the logs alone can do on this machine at this moment: one JSON line for each.

python -m benchmarks.yardsticks --server localhost:9092
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from processor.bench.raw import commits, raw_appends


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--server", required=True)
    arguments.add_argument("--smoke", action="store_true")
    given = arguments.parse_args()
    one, many, seconds = (50, 5_000, 0.3) if given.smoke else (300, 200_000, 2.0)
    appends = raw_appends(given.server, one, many)
    print(json.dumps({"peer": "raw appends", "workload": "raw", **appends}))
    with tempfile.TemporaryDirectory() as folder:
        committed = commits(Path(folder), seconds)
    print(json.dumps({"peer": "raw commits", "workload": "raw", **committed}))


if __name__ == "__main__":
    main()
