"""``python -m casesearch_pd``: the main job, shown on both services without any account."""

from __future__ import annotations

from casesearch_pd.demo import show

if __name__ == "__main__":
    show()
