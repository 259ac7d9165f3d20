"""A Persona environment as its operations see it: stores, key, rate limit, choices."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Generic, TypeVar

from casesearch_pd.local.choices import Choices
from casesearch_pd.local.http import Reply
from casesearch_pd.local.persona_render import Plan
from casesearch_pd.local.rates import Window
from casesearch_pd.local.store import Store

PREFIX = "/api/v1"
_KEPT = 1000

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Memory(Generic[_Key, _Value]):
    """The last thousand things remembered, the oldest forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = threading.RLock()

    def recall(self, key: _Key) -> _Value | None:
        """Return what is remembered, or None."""
        with self._lock:
            return self._kept.get(key)

    def remember(self, key: _Key, value: _Value) -> None:
        """Keep a value, forgetting the oldest."""
        with self._lock:
            self._kept[key] = value
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def once(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """Return what is remembered, or make and remember it; one thread at a time."""
        with self._lock:
            if key not in self._kept:
                self.remember(key, make())
            return self._kept[key]


@dataclass(frozen=True)
class Environment:
    """A Persona environment: its cases and how it answers.

    Parameters
    ----------
    store
        The cases that search sees.
    live
        The cases that List and retrieve see.
    token
        The API key that is let in.
    window
        The rate limit of the environment.
    created
        When its templates were made.
    choices
        How it answers where no document says it.
    replays
        Replies by Idempotency-Key, with what they were replies to.
    offsets
        How many rows came before a cursor when it was handed out, for cursors that are offsets.
    plans
        What to show of a case, by inflection and sparse fieldset.
    numbers
        Counts requests.
    """

    store: Store
    live: Store
    token: str = field(repr=False)
    window: Window
    created: datetime
    choices: Choices
    replays: Memory[str, tuple[bytes, Reply]] = field(default_factory=Memory)
    offsets: Memory[object, int] = field(default_factory=Memory)
    plans: Memory[object, Plan] = field(default_factory=Memory)
    numbers: Iterator[int] = field(default_factory=count)
