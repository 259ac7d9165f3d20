"""``python -m casesearch_pd``: a demo of both services that needs no account."""

from __future__ import annotations

from casesearch_pd.demo import show

if __name__ == "__main__":
    show()
