"""Search that lags behind writes: changes reach the live store at once, the searched one later."""

import threading
from collections import deque
from collections.abc import Callable

from casesearch_pd.local.store import Store

Change = Callable[[Store], bool]


class Lag:
    """Two stores of the same cases, or one and the same where there is no delay.

    Parameters
    ----------
    live
        The store that sees every change at once.
    delay
        Seconds until the searched store sees a change.
    clock
        Seconds, steadily rising.
    """

    def __init__(self, live: Store, delay: float, clock: Callable[[], float]) -> None:
        self.live = live
        self.searched = live.copy() if delay else live
        self._delay, self._clock = delay, clock
        self._waiting: deque[tuple[float, Change]] = deque()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close both stores."""
        self.live.close()
        self.searched.close()

    def apply(self, change: Change) -> bool:
        """Make a change, now and for searches later; return what it says of the live store."""
        with self._lock:
            done = change(self.live)
            if self.searched is not self.live:
                self._waiting.append((self._clock() + self._delay, change))
            return done

    def catch_up(self) -> None:
        """Let searches see what has become due."""
        if not self._waiting:
            return
        with self._lock:
            now = self._clock()
            while self._waiting and self._waiting[0][0] <= now:
                self._waiting.popleft()[1](self.searched)
