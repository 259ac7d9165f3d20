"""Measure what ``import casesearch_pd`` costs over ``import pandas``; the limit is 0.25 s.

Fresh processes, taken in turn, so that a busy moment of the machine hits both alike; the
quickest of each counts, because everything else only adds to it.
"""

from __future__ import annotations

import subprocess
import sys

ROUNDS = 7
LIMIT = 0.25  # seconds
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """Import a module in a fresh process."""
    command = [sys.executable, "-c", CODE.format(module)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print both times and the difference; fail above the limit."""
    seconds("casesearch_pd")  # compiles what is new
    taken = [(seconds("pandas"), seconds("casesearch_pd")) for _ in range(ROUNDS)]
    pandas, ours = (min(column) for column in zip(*taken, strict=True))
    print(f"import pandas         {pandas:.3f} s")
    print(f"import casesearch_pd  {ours:.3f} s, {ours - pandas:.3f} s more; the limit is {LIMIT} s")
    if ours - pandas > LIMIT:
        sys.exit("import casesearch_pd is too dear")


if __name__ == "__main__":
    main()
