"""A Cases domain as the operations of Amazon Connect see it: stores, names, tokens, choices."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from casesearch_pd.local.choices import Choices
from casesearch_pd.local.related import RelatedItems
from casesearch_pd.local.store import Store
from casesearch_pd.local.tokens import Tokens


@dataclass(frozen=True)
class Domain:
    """A Cases domain: its cases and how it answers.

    Parameters
    ----------
    store
        The cases that search sees.
    domain_id, region, account
        What the domain's ARNs are made of.
    created
        When the domain was made.
    tokens
        Makes and reads page tokens.
    access_key
        The one access key id let in, or None for any.
    choices
        How it answers where no document says it.
    live
        The cases that everything but search sees.
    items
        The related items of all cases.
    clock
        The service's time.
    """

    store: Store
    domain_id: str
    region: str
    account: str
    created: datetime
    tokens: Tokens
    access_key: str | None
    choices: Choices
    live: Store
    items: RelatedItems
    clock: Callable[[], datetime]
