"""Persona as a source: the search, List and retrieve endpoints over HTTP.

The token is sent to the configured origin only: redirects are not followed, and a next link to
another scheme, host or port is an error. Every request pins the version and the key inflection,
because the defaults of an API key would change the responses. No request has an
``Idempotency-Key``, which would replay a day-old response.
"""

from __future__ import annotations

from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn
from urllib.parse import parse_qsl, quote, urlsplit

from casesearch_pd import errors
from casesearch_pd.query.pushdown import Pushdown, PushdownSupport, push_down
from casesearch_pd.sources.base import Page, Request, Scan, merge_assumptions
from casesearch_pd.sources.base_source import BaseSource
from casesearch_pd.sources.persona.capabilities import (
    LIMITS,
    SORT_FIELDS,
    case_ids,
    fit_to_list,
    list_support,
    push_down_ids,
    search_support,
)
from casesearch_pd.sources.persona.codec import (
    decode_case,
    decode_page,
    fieldset,
    list_parameters,
    present_names,
    search_body,
)
from casesearch_pd.sources.persona.columns import KnownFields
from casesearch_pd.sources.persona.errors import (
    TOKEN_VARIABLE,
    has_errors,
    response_error,
    unsearchable_field_error,
)
from casesearch_pd.sources.persona.field_names import ATTRIBUTES, RELATIONSHIPS, TO_ONE
from casesearch_pd.sources.persona.schema import Template, decode_template, discover_schema
from casesearch_pd.sources.traits import PERSONA
from casesearch_pd.sources.transport.body import MAX_RESPONSE_BYTES, require_size
from casesearch_pd.sources.transport.rate_limit import RateLimiter, rate_limiter_for
from casesearch_pd.sources.transport.retry import parse_retry_after
from casesearch_pd.sources.transport.timestamps import parse_date_header
from casesearch_pd.sources.transport.urls import require_same_origin, validate_base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from casesearch_pd.query.expressions import Compare, Expression
    from casesearch_pd.query.limits import RequestLimits
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.sources.traits import ServiceTraits
    from casesearch_pd.sources.transport.context import ReadContext
    from casesearch_pd.sources.transport.http import HttpResponse

__all__ = ["PersonaCases"]

# "Rate limiting", Persona's documentation: 300 requests a minute for a whole environment. Four
# fifths are used, and a fifth of every window is always left to others.
_QUOTA = 300 / 60
_SHARE = 0.8
_BURST = 10.0
_WINDOW = 60.0  # seconds

_EXAMPLE_URL = "https://api.withpersona.com/api/v1"


class PersonaCases(BaseSource):
    """Cases of one Persona environment.

    Parameters
    ----------
    token
        An API key, or a function that returns one; None reads ``PERSONA_API_KEY``.
    base_url
        The address of the API, with its version path.
    version
        The ``Persona-Version`` to pin.
    rate
        Requests per second. None uses 80 % of the documented 300 a minute and leaves a fifth
        of every window to others; `math.inf` never waits.
    templates
        Ids of case templates whose fields are needed, because Persona cannot list them.
    fresh
        Read the List endpoint, which shows a write at once; search lags by about a minute.
        Filters that it does not accept are applied locally.
    schema
        A schema discovered earlier, to save the discovery requests.
    assume
        What is known of this service beyond its documentation, by name (see `ASSUME`).
    max_response_bytes
        Size of a response, decompressed, beyond which it is refused.

    Raises
    ------
    AccessDeniedError
        If there is no token, or it would be sent unencrypted.

    Notes
    -----
    A search returns 100 cases per request, and no total.
    """

    name: ClassVar[str] = "persona"
    traits: ServiceTraits = PERSONA
    token_variable: ClassVar[str] = TOKEN_VARIABLE
    limits: RequestLimits | None = LIMITS
    max_sorts: int = 1
    page_size: int = 100  # the largest page (OpenAPI description)
    lookback: float = 120.0
    # The to-many relationships; the column of the same name contains their ids.
    kinds: ClassVar[tuple[str, ...]] = tuple(
        column for name, column in RELATIONSHIPS.items() if name not in TO_ONE
    )

    ASSUME: ClassVar[dict[str, bool]] = {"exact_text": False}
    """Undocumented behaviour, with safe defaults. ``exact_text``: whether ``eq`` on text is
    sensitive to letter case; if not, it is also evaluated locally, and its negation only there."""

    def __init__(
        self,
        *,
        token: str | Callable[[], str] | None = None,
        base_url: str = _EXAMPLE_URL,
        version: str = "2025-12-08",
        rate: float | None = None,
        templates: str | Iterable[str] = (),
        fresh: bool = False,
        schema: Schema | None = None,
        assume: Mapping[str, bool] | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.base_url = validate_base_url(base_url, _EXAMPLE_URL)
        self.version = version
        self.headers = {
            "Key-Inflection": "kebab",
            "Persona-Version": version,
            "Accept": "application/json",
        }
        self.templates = (templates,) if isinstance(templates, str) else tuple(templates)
        self.fresh = fresh
        self.max_response_bytes = require_size(max_response_bytes)
        self.assume = merge_assumptions(self.ASSUME, assume)
        self._auth = self._create_auth(token)
        self._schema = schema
        self._uses_quota = rate is None
        self.rate, self.burst = (_QUOTA * _SHARE, _BURST) if rate is None else (rate, 1.0)
        # Report an invalid rate or a missing token here instead of at the first request.
        _ = self.rate_limiter

    def __repr__(self) -> str:
        return f"PersonaCases(base_url={self.base_url!r})"

    def describe(self) -> dict[str, Any]:
        """Return address and version."""
        return {
            "service": self.name,
            "base_url": self.base_url,
            "version": self.version,
            "fresh": self.fresh,
        }

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        """The rate limiter that every source of this host and token shares."""
        origin = self.base_url.removesuffix(self._api_path)
        # A rate that the user chose is used exactly, so it is not shared with the default one.
        kind = "default" if self._uses_quota else "custom"
        key = (origin, hash(self._auth.value()), kind)
        return rate_limiter_for(key, rate=self.rate, burst=self.burst)

    def discover(self) -> Schema:
        """Return the fields of the newest page, of its templates and of `templates`."""
        request = Request(
            "GET", f"{self._api_path}/cases", query=(("page[size]", str(self.page_size)),)
        )
        nothing_known = KnownFields({}, {})
        page, names = self.fetch(
            request,
            lambda response: (
                decode_page(response.body, nothing_known, ()),
                present_names(response.body),
            ),
        )
        ids = dict.fromkeys((*self.templates, *page.templates))
        templates = [self._read_template(template_id) for template_id in ids]
        return discover_schema([item for item in templates if item is not None], page, names)

    def _read_template(self, template_id: str) -> Template | None:
        request = Request("GET", f"{self._api_path}/case-templates/{quote(template_id, safe='')}")
        try:
            return self.fetch(request, lambda response: decode_template(response.body))
        except (errors.AccessDeniedError, errors.NotFoundError):
            if template_id in self.templates:  # named by the user
                raise
            return None  # its fields are known as far as cases show them

    @cached_property
    def _known_fields(self) -> KnownFields:
        fields = self.schema.fields
        custom = {
            item.id.removeprefix("fields."): item for item in fields if item.namespace == "custom"
        }
        template = self.schema.find("template_id")
        names = {option.value: option.label for option in template.options} if template else {}
        documented = {"id", "template", *ATTRIBUTES, *RELATIONSHIPS}
        attributes = {
            item.id: item.column
            for item in fields
            if item.namespace == "system" and item.visible and item.id not in documented
        }
        return KnownFields(custom, names, attributes)

    def push_down(self, where: Expression) -> Pushdown:
        """Split a filter: what search evaluates is pushed, within depth 2 and 20 terms."""
        by_id = push_down_ids(where, self.pushdown_support)
        if by_id is not None:
            return by_id
        if self.fresh:
            return fit_to_list(push_down(where, self.pushdown_support), self.pushdown_support)
        return super().push_down(where)

    def pushdown_support(self, comparison: Compare, /) -> PushdownSupport:
        """Return how well search, or List, evaluates one comparison."""
        if self.fresh:
            return list_support(comparison)
        return search_support(comparison, self.assume)

    def with_bound(self, where: Expression, bound: Expression) -> Expression | None:
        """Return a pushed filter with a bound, if one search can contain both."""
        if self.fresh or case_ids(where):
            return None
        return super().with_bound(where, bound)

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Return one pass: over all fields, or the given ones and what a restart needs."""
        if set(self.schema.active) <= set(fields):
            return [()]
        created = self.schema.resolve("created_at")
        return [tuple(dict.fromkeys([created, *fields]))]

    def can_sort_by(self, field: Field) -> bool:
        """Return whether search can sort by the field."""
        return field.id in SORT_FIELDS and not self.fresh

    @property
    def _api_path(self) -> str:
        return urlsplit(self.base_url).path

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Return the request for one page; a cursor is the next link of the previous page."""
        query = fieldset(scan)
        if (case_id := _single_id(scan)) is not None:
            return Request("GET", f"{self._api_path}/cases/{quote(case_id, safe='')}", query=query)
        path = f"{self._api_path}/cases" if self.fresh else f"{self._api_path}/cases/search"
        if cursor is not None:
            # The link has what paging needs; the fieldset is added where it is missing.
            link_query = tuple(parse_qsl(urlsplit(cursor).query, keep_blank_values=True))
            names = dict(link_query)
            query = (*link_query, *(pair for pair in query if pair[0] not in names))
        elif self.fresh:
            query = (*list_parameters(scan.where, self.page_size), *query)
        if self.fresh:
            return Request("GET", path, query=query)
        return Request("POST", path, search_body(scan, self.page_size), query)

    def read_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        """Request one page.

        Raises
        ------
        ServiceError
            If no attempt is left: the error of the last one.
        FilterError
            If the service rejects a custom field that may not be searchable.
        """
        try:
            return super().read_page(scan, cursor, context)
        except errors.NotFoundError:
            if _single_id(scan) is None:
                raise
            return Page(0, {}, None, None, parse_date_header({}))  # the case does not exist
        except errors.InvalidRequestError as error:
            filter_error = unsearchable_field_error(error, scan)
            if filter_error is not None:
                raise filter_error from error
            raise

    def send(self, request: Request, context: ReadContext) -> HttpResponse:
        """Send one request once; return its response if the status is 200."""
        response: HttpResponse = self._http.send(
            request.method, request.path, request.query, request.body, context
        )
        self._update_rate_limit(response)
        if response.status != HTTPStatus.OK or has_errors(response):
            raise response_error(response, self.base_url)
        return response

    def _update_rate_limit(self, response: HttpResponse) -> None:
        """Leave a fifth of the window to others; if the user gave a rate, use all of it."""
        limit, remaining, reset = (
            parse_retry_after(response.headers.get(f"RateLimit-{name}"))
            for name in ("Limit", "Remaining", "Reset")
        )
        if limit is None or remaining is None or reset is None:
            return
        available = limit * _SHARE if self._uses_quota else limit
        used = limit - remaining
        self.rate_limiter.limit_window(available - used, min(reset, _WINDOW))

    def page(self, response: HttpResponse, scan: Scan) -> Page:
        """Return the page in a response."""
        decode = decode_page if _single_id(scan) is None else decode_case
        decoded = decode(response.body, self._known_fields, scan.fields)
        # Without the link a full page may or may not be the last one.
        has_link = decoded.has_next_link and decoded.next_link != ""
        if not has_link and decoded.rows == self.page_size:
            raise ValueError("a full page without a next link")
        link = decoded.next_link or None
        if link is not None:
            path = self.request(scan).path
            link = require_same_origin(link, base_url=self.base_url, path=path)
        return Page(
            decoded.rows,
            decoded.columns,
            link,
            new_fields=decoded.new_fields,
            invalid=decoded.invalid,
        )

    def related(self, kinds: tuple[str, ...]) -> None:
        """Return None: columns of these names hold the related items of a case."""

    def events(self) -> NoReturn:
        """Raise FilterError: Persona's events are those of the whole environment, for 3 months."""
        raise errors.FilterError(
            "Persona's API has no audit history of a case; read created_at, updated_at, "
            "assigned_at and closed_at instead, or have a webhook collect the case.* events"
        )


def _single_id(scan: Scan) -> str | None:
    """Return the id of the case, if the scan is for a single one."""
    ids = case_ids(scan.where)
    return ids[0] if len(ids) == 1 else None
