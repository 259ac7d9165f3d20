"""`BaseSource`: a service of your own in one class with four methods.

The author writes `discover`, `pushdown_support`, `request` and `page`. Rate limit, retries,
timeouts, cancellation, paging, threads and everything else belong to this package.
"""

from __future__ import annotations

import json
import shlex
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from casesearch_pd.errors import FilterError, InvalidResponseError
from casesearch_pd.query.expressions import TRUE, Expression, all_of, comparisons, conjuncts
from casesearch_pd.query.limits import fit_to_limits
from casesearch_pd.query.pushdown import (
    Pushdown,
    exactness_test,
    fit_pushdown,
    push_down,
    require_evaluable,
)
from casesearch_pd.query.schema import Schema
from casesearch_pd.sources.traits import ServiceTraits
from casesearch_pd.sources.transport.body import MAX_RESPONSE_BYTES
from casesearch_pd.sources.transport.context import ReadContext
from casesearch_pd.sources.transport.rate_limit import RateLimiter, rate_limiter_for
from casesearch_pd.sources.transport.retry import (
    TransientError,
    invalid_response_error,
    send_with_retry,
)
from casesearch_pd.sources.transport.timestamps import parse_date_header, times_as_text
from casesearch_pd.sources.transport.urls import is_loopback, validate_base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from casesearch_pd.query.expressions import Compare
    from casesearch_pd.query.limits import RequestLimits
    from casesearch_pd.query.pushdown import PushdownSupport
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.base import Page, Request, Scan

__all__ = ["BaseSource"]

_Decoded = TypeVar("_Decoded")

_JSON_HEADERS = {"Content-Type": "application/json"}
_REQUIRED = ("case_id", "created_at")


class BaseSource(ABC):
    """A service that answers over HTTP with JSON, with safe defaults for everything it may lack.

    A subclass sets `name` and the attributes below that differ, and writes four methods:
    `discover`, `pushdown_support`, `request` and `page`. A service without HTTP also
    overrides `send`.

    Parameters
    ----------
    address
        ``"https://HOST/PATH"`` or ``"NAME://HOST/PATH"``, where NAME is the `name` of the
        service. Plain HTTP is used for this machine only.
    token
        A bearer token, or a function that returns one; None reads the environment variable
        `token_variable`. A service without `token_variable` and token sends none.
    rate
        Requests per second; None uses the `rate` of the class.
    schema
        A schema discovered earlier, to save the discovery requests.

    Raises
    ------
    NotFoundError
        If the address is invalid.
    AccessDeniedError
        If there is no token, or it would be sent unencrypted.
    """

    name: ClassVar[str] = "service"
    traits: ServiceTraits = ServiceTraits()
    token_variable: ClassVar[str] = ""
    headers: Mapping[str, str] = MappingProxyType({"Accept": "application/json"})
    # Attributes of the class or of an instance: what the service can do, and its limits.
    can_count: bool = False
    can_search: bool = False
    max_sorts: int = 0
    page_size: int = 100
    max_response_bytes: int = MAX_RESPONSE_BYTES  # of a decompressed response; larger is refused
    rate: float = 1.0
    burst: float = 1.0
    lookback: float = 300.0
    limits: RequestLimits | None = None

    address: str = ""
    base_url: str = ""
    _schema: Schema | None = None
    _auth: Any = None  # signs requests; its repr does not show the token

    def __init__(
        self,
        address: str,
        *,
        token: str | Callable[[], str] | None = None,
        rate: float | None = None,
        schema: Schema | None = None,
    ) -> None:
        self.base_url = self._base_url_of(address)
        self.address = f"{self.name}://{self.base_url.partition('://')[2]}"
        self._auth = self._create_auth(token)
        self.configure(schema=schema, rate=rate)
        # Report an invalid rate or a missing token here instead of at the first request.
        _ = self.rate_limiter

    def _base_url_of(self, address: str) -> str:
        scheme, _, rest = address.partition("://")
        if scheme == self.name:
            address = f"{'http' if is_loopback(f'//{rest}') else 'https'}://{rest}"
        return validate_base_url(address, example=f"{self.name}://HOST/PATH")

    def configure(self, *, schema: Schema | None = None, rate: float | None = None) -> None:
        """Set a schema discovered earlier, or another rate; None leaves it unchanged."""
        if schema is not None:
            self._schema = schema
        if rate is not None:
            self.rate, self.burst = rate, 1.0
            self.__dict__.pop("rate_limiter", None)  # the next use looks it up again

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without token and client: a copy elsewhere reads its environment."""
        excluded = {"_auth", "_http", "rate_limiter"}
        return {name: value for name, value in self.__dict__.items() if name not in excluded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state; raise AccessDeniedError if the environment has no token."""
        self.__dict__.update(state)
        self._auth = self._create_auth(None)

    @abstractmethod
    def discover(self) -> Schema | Iterable[Field]:
        """Return the fields of the service; `fetch` requests what is needed for that.

        There must be fields with the columns ``case_id`` and ``created_at``; ``updated_at`` is
        needed to read changes. The names of the other columns are in the README.
        """

    @abstractmethod
    def pushdown_support(self, comparison: Compare, /) -> PushdownSupport:
        """Return how well the service evaluates one comparison.

        Parameters
        ----------
        comparison
            Its ``target`` is the field, its ``op`` one of ``eq, lt, lte, gt, gte, contains,
            isna``, its ``value`` is of the field's type (a time is a UTC `pandas.Timestamp`).

        Returns
        -------
        str
            ``"exact"``; ``"inexact"`` if the service may return too many cases;
            ``"remote_only"`` if only the service sees the values; otherwise ``"unsupported"``:
            then the comparison is evaluated locally.
        """

    @abstractmethod
    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Return the request for one page.

        Parameters
        ----------
        scan
            ``scan.where`` consists of comparisons that `pushdown_support` accepts and, unless
            `limits` says otherwise, any nesting of And, Or and Not.
        cursor
            The ``cursor`` of the previous page; None for the first.

        Returns
        -------
        Request
            Its path begins after the host.
        """

    @abstractmethod
    def page(self, response: Any, scan: Scan) -> Page:
        """Return the page in a response.

        A ValueError, KeyError or TypeError counts as an invalid response; the request is then
        repeated. `Page.from_records` makes a page from JSON objects. Times may be ISO 8601 text
        or Python datetimes.

        Parameters
        ----------
        response
            What `send` returned: by default an `HttpResponse` with status 200.
        """

    @cached_property
    def schema(self) -> Schema:
        """The fields, discovered at first use.

        Raise FilterError if a field that every read needs is not discovered.
        """
        fields = self.discover() if self._schema is None else self._schema
        schema = fields if isinstance(fields, Schema) else Schema(tuple(fields))
        if schema.closed_status != self.traits.closed_status:
            schema = replace(schema, closed_status=self.traits.closed_status)
        # A schema that was passed may be a part of the fields: filters and forms need no more.
        missing = [name for name in _REQUIRED if schema.find(name) is None]
        if missing and self._schema is None:
            raise FilterError(
                f"{type(self).__name__}.discover() must return fields with the columns "
                f"{missing!r}; every read needs them"
            )
        return schema

    def can_request(self, where: Expression) -> bool:
        """Return whether one request can contain a pushed filter.

        By default any nesting of comparisons within `limits`. A service whose requests are a
        list of parameters overrides this: what it refuses is evaluated locally.
        """
        return self.limits is None or self.limits.allows(where)

    def push_down(self, where: Expression) -> Pushdown:
        """Split a bound filter between the service, within its `limits`, and local evaluation."""
        pushdown = push_down(where, self.pushdown_support)
        if self.limits is not None:
            return fit_pushdown(pushdown, self.limits, self.pushdown_support)
        if self.can_request(pushdown.pushed):
            return pushdown
        return self._push_terms(pushdown)

    def _push_terms(self, pushdown: Pushdown) -> Pushdown:
        """Return a pushdown with as many terms of its conjunction as one request can contain."""
        pushed: Expression = TRUE
        residual = [pushdown.residual]
        for term in conjuncts(pushdown.pushed):
            combined = all_of([pushed, term])
            if self.can_request(combined):
                pushed = combined
            else:
                require_evaluable(term, self.pushdown_support)
                residual.append(term)
        return Pushdown((pushed,), all_of(residual))

    def with_bound(self, where: Expression, bound: Expression) -> Expression | None:
        """Return a pushed filter with a bound; None if one request cannot contain both."""
        support = self.pushdown_support
        if any(support(item) not in {"exact", "inexact"} for item in comparisons(bound)):
            return None
        combined = all_of([where, bound])
        if self.limits is None:
            return combined if self.can_request(combined) else None
        fitted = fit_to_limits(combined, self.limits, exactness_test(support))
        return fitted.parts[0] if fitted.is_one_request else None

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Return one group: `case_id` and `created_at`, which resuming needs, and the fields."""
        required = [self.schema.resolve(name) for name in _REQUIRED]
        return [tuple(dict.fromkeys([*required, *fields]))]

    def can_sort_by(self, field: Field) -> bool:  # noqa: ARG002 - the safe default
        """Return False: the safe default is that the service cannot sort."""
        return False

    def command(self, request: Request) -> str:
        """Return a request as a curl command; the token comes from the environment."""
        headers = dict(self.headers) | ({} if request.body is None else _JSON_HEADERS)
        options = [part for name, text in headers.items() for part in ("-H", f"{name}: {text}")]
        if request.body is not None:
            options += ["-d", json.dumps(request.body, ensure_ascii=False)]
        url = self._http.url(request.path, request.query)
        call = shlex.join(["curl", "-X", request.method, url, *options])
        if not self.token_variable:
            return call
        return f'{call} -H "Authorization: Bearer ${self.token_variable}"'

    def describe(self) -> dict[str, Any]:
        """Return name and address."""
        return {"service": self.name, "address": self.address}

    def count(self, scan: Scan, context: ReadContext) -> int:
        """Return the total that the first page contains.

        Raise InvalidResponseError if it contains none.
        """
        total = self.read_page(replace(scan, sort=()), None, context).total
        if total is None:
            raise InvalidResponseError(
                f"{self.traits.display_name or self.name} returned no total; read the cases to "
                "count them"
            )
        return total

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        """The rate limiter that every source of this address and token shares."""
        token = None if self._auth is None else hash(self._auth.value())
        key = (self.name, self.address or id(self), token)
        return rate_limiter_for(key, rate=self.rate, burst=self.burst)

    def read_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        """Request one page, with the rate limit and the retries of the source.

        Raise ServiceError if no attempt is left: the error of the last one.
        """
        return send_with_retry(
            lambda: self._request_page(scan, cursor, context), self.rate_limiter, context
        )

    def fetch(self, request: Request, decode: Callable[[Any], _Decoded]) -> _Decoded:
        """Send a discovery request, with the rate limit and the retries of the source.

        Parameters
        ----------
        decode
            Returns what is needed of the response; its ValueError, KeyError or TypeError counts
            as an invalid response.

        Raises
        ------
        ServiceError
            If no attempt is left: the error of the last one.
        """
        context = ReadContext.for_discovery()
        return send_with_retry(
            lambda: _decode(self.send(request, context), decode), self.rate_limiter, context
        )

    def send(self, request: Request, context: ReadContext) -> Any:
        """Send one request once, over HTTP; return its response if the status is 200.

        Raises
        ------
        TransientError
            If another attempt may succeed.
        ServiceError
            If not.
        """
        from casesearch_pd.sources.transport.http import response_error  # noqa: PLC0415 - imports requests

        response = self._http.send(
            request.method, request.path, request.query, request.body, context
        )
        if response.status != HTTPStatus.OK:
            raise response_error(response, self.base_url, variable=self.token_variable)
        return response

    def _request_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        """Request one page once."""
        response = self.send(self.request(scan, cursor), context)
        page = _decode(response, lambda response: self.page(response, scan))
        headers = getattr(response, "headers", {})
        if "date" in headers:
            page.served_at = parse_date_header(headers)
        for item in scan.fields:
            if item.type == "datetime" and item.column in page.columns:
                page.columns[item.column] = times_as_text(page.columns[item.column])
        return page

    @cached_property
    def _http(self) -> Any:
        from casesearch_pd.sources.transport.http import HttpClient  # noqa: PLC0415 - imports requests

        limit = self.max_response_bytes
        return HttpClient(self.base_url, self.headers, self._auth, max_response_bytes=limit)

    def _create_auth(self, token: str | Callable[[], str] | None) -> Any:
        if token is None and not self.token_variable:
            return None
        from casesearch_pd.sources.transport.http import BearerToken  # noqa: PLC0415 - imports requests

        service = self.traits.display_name or self.name
        return BearerToken(token, variable=self.token_variable, service=service)


def _decode(response: Any, decode: Callable[[Any], _Decoded]) -> _Decoded:
    """Return the decoded response; raise TransientError if it is invalid."""
    status = getattr(response, "status", None)
    request_id = getattr(response, "request_id", None)
    try:
        return decode(response)
    except (ValueError, RecursionError) as error:
        failure = invalid_response_error(error, status, request_id)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TransientError(invalid_response_error(reason, status, request_id)) from error
    # Raised outside of the handler, because a JSONDecodeError holds the whole body.
    raise TransientError(failure)
