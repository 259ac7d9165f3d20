"""Measure the time of ``import casesearch_pd`` in addition to ``import pandas``; at most 0.25 s.

New processes in turn, so that a busy moment of the machine affects both; the fastest of each
counts, because other work can only add to it.
"""

from __future__ import annotations

import subprocess
import sys

ROUNDS = 7
LIMIT = 0.25  # seconds
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """Return the time to import a module in a new process."""
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print both times and the difference; fail above the limit."""
    seconds("casesearch_pd")  # compiles the bytecode
    times = [(seconds("pandas"), seconds("casesearch_pd")) for _ in range(ROUNDS)]
    pandas, ours = (min(column) for column in zip(*times, strict=True))
    print(f"import pandas         {pandas:.3f} s")
    print(f"import casesearch_pd  {ours:.3f} s, {ours - pandas:.3f} s more; the limit is {LIMIT} s")
    if ours - pandas > LIMIT:
        sys.exit("import casesearch_pd takes too long")


if __name__ == "__main__":
    main()
