"""Persona cases as a source: a scan in, pages out, through requests.

The token goes to the configured origin and nowhere else: redirects are refused, and a next
link that leads to another scheme, host or port is an error. Every request pins the version
and the key inflection, because a key's own defaults would change the answers; none bears an
``Idempotency-Key``, which would replay a day-old answer.
"""

from __future__ import annotations

import json
import shlex
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter

from casesearch_pd import errors
from casesearch_pd.query.pushdown import Pushdown, PushdownSupport, push_down
from casesearch_pd.sources.base import Page, Request, Scan, merge_assumptions
from casesearch_pd.sources.persona.auth import VARIABLE, Bearer
from casesearch_pd.sources.persona.capabilities import (
    SORTED,
    by_id,
    ids_of,
    legal,
    legal_listed,
    list_pushdown_support,
    pushdown_support,
    with_bound,
)
from casesearch_pd.sources.persona.codec import (
    decode,
    decode_one,
    fieldset,
    list_parameters,
    search_body,
    shown,
)
from casesearch_pd.sources.persona.columns import DecodedPage, Known
from casesearch_pd.sources.persona.errors import (
    from_exception,
    from_service,
    invalid_response,
    unsearchable,
)
from casesearch_pd.sources.persona.field_names import ATTRIBUTES, RELATIONSHIPS, TO_ONE
from casesearch_pd.sources.persona.schema import Template, decode_template, discover_schema
from casesearch_pd.sources.transport.context import ReadContext
from casesearch_pd.sources.transport.rate_limit import RateLimiter, rate_limiter_for
from casesearch_pd.sources.transport.retry import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    TransientError,
    parse_retry_after,
    send_with_retry,
)
from casesearch_pd.sources.transport.timestamps import served_at
from casesearch_pd.sources.transport.urls import is_loopback, require_same_origin, validate_base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from casesearch_pd.query.expressions import Compare, Expression
    from casesearch_pd.query.schema import Field, Schema

__all__ = ["PersonaCases"]

_Told = TypeVar("_Told")

# "Rate limiting", Persona's documentation: 300 requests a minute for a whole environment;
# four fifths are used, and a fifth of the window is always left to others.
_QUOTA = 300 / 60
_SHARE = 0.8
_BURST = 10.0

_WINDOW = 60.0  # seconds

_PAGE = 100  # cases in one request (OpenAPI description)
_LEAST = 0.001  # seconds; no time at all would be no time-out
_OK = 200
_AT_ONCE = 1 << 22  # bytes; a page of whole cases has some 200 kB
_API = "https://api.withpersona.com/api/v1"


# --- configuration -----------------------------------------------------------------------


class PersonaCases:
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
        Requests a second; None uses 80 % of the documented 300 a minute and leaves a fifth
        of every window to others, `math.inf` never waits.
    templates
        Ids of case templates whose fields are wanted, since Persona cannot list them.
    fresh
        Read the List endpoint, which shows a write at once; search lags by about a minute.
        Filters that it cannot take are applied here.
    schema
        A schema read earlier, to save the discovery requests.
    assume
        What is known of this service beyond its documentation, by name (see `ASSUME`).

    Raises
    ------
    AccessDeniedError
        If there is no token, or it would travel in clear text.

    Notes
    -----
    A search returns 100 cases a request and no total.
    """

    name: ClassVar[str] = "persona"
    can_count: ClassVar[bool] = False
    can_search: ClassVar[bool] = False
    max_sorts: ClassVar[int] = 1
    lookback: ClassVar[float] = 120.0
    page_size: ClassVar[int] = _PAGE

    ASSUME: ClassVar[dict[str, bool]] = {"exact_text": False}
    """Unconfirmed facts, on the safe side. ``exact_text``: whether ``eq`` on text minds
    letter case; if not, its answer is checked again here and its negation is not pushed."""

    def __init__(
        self,
        *,
        token: str | Callable[[], str] | None = None,
        base_url: str = _API,
        version: str = "2025-12-08",
        rate: float | None = None,
        templates: Iterable[str] = (),
        fresh: bool = False,
        schema: Schema | None = None,
        assume: Mapping[str, bool] | None = None,
    ) -> None:
        self.base_url = validate_base_url(base_url, _API)
        self.version = version
        self.templates = (templates,) if isinstance(templates, str) else tuple(templates)
        self.fresh = fresh
        self.assume = merge_assumptions(self.ASSUME, assume)
        self._token = Bearer(token)
        self._given = schema
        self._rate = rate
        _ = self.budget  # an impossible rate is an error now

    def __repr__(self) -> str:
        """Name the address; nothing secret is in it."""
        return f"PersonaCases(base_url={self.base_url!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the token behind: a copy elsewhere finds its own in the environment."""
        lost = {"_token", "_session", "_blank", "budget"}
        return {name: value for name, value in self.__dict__.items() if name not in lost}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the token from the environment."""
        self.__dict__.update(state, _token=Bearer(None))

    @property
    def rate(self) -> float:
        """Requests a second."""
        return _QUOTA * _SHARE if self._rate is None else self._rate

    @property
    def burst(self) -> float:
        """Requests that may go at once after a pause."""
        return _BURST if self._rate is None else 1.0

    def describe(self) -> dict[str, Any]:
        """Tell address and version."""
        return {
            "service": self.name,
            "base_url": self.base_url,
            "version": self.version,
            "fresh": self.fresh,
        }

    @cached_property
    def budget(self) -> RateLimiter:
        """The request budget that every source of this host and token shares."""
        key = (self._origin, hash(self._token.value()))
        if self._rate is None:
            return rate_limiter_for((*key, "quota"), rate=_QUOTA * _SHARE, burst=_BURST)
        return rate_limiter_for((*key, "given"), rate=self._rate, burst=1.0)

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        if not is_loopback(self.base_url):  # no proxy is asked for this machine
            told = session.merge_environment_settings(self.base_url, {}, None, None, None)
            session.proxies, session.verify = told["proxies"], told["verify"]
        session.trust_env = False  # the environment is told now; asking at each call is dear
        adapter = HTTPAdapter(pool_maxsize=32)  # one connection a reader; nothing is retried here
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        session.headers.update(_headers(self.version))
        return session

    @cached_property
    def _blank(self) -> requests.PreparedRequest:
        """What all requests have in common; merging it anew costs a quarter of a request."""
        return self._session.prepare_request(requests.Request("GET", self.base_url))

    # --- the fields -----------------------------------------------------------------------

    @cached_property
    def schema(self) -> Schema:
        """The fields: what one newest page shows, and what its templates and `templates` tell."""
        if self._given is not None:
            return self._given
        request = Request("GET", f"{self._root}/cases", query=(("page[size]", str(_PAGE)),))
        run = ReadContext.for_discovery()
        page, attributes = send_with_retry(partial(self._newest, request, run), self.budget, run)
        names = dict.fromkeys((*self.templates, *page.templates))
        told = [self._template(name, run) for name in names]
        return discover_schema([item for item in told if item is not None], page, attributes)

    def _newest(self, request: Request, run: ReadContext) -> tuple[DecodedPage, frozenset[str]]:
        response, body = self._send(request, run)
        return _read(response, lambda: (decode(body, Known({}, {}), ()), shown(body)))

    def _template(self, name: str, run: ReadContext) -> Template | None:
        request = Request("GET", f"{self._root}/case-templates/{quote(name, safe='')}")
        try:
            return send_with_retry(partial(self._told, request, run), self.budget, run)
        except (errors.AccessDeniedError, errors.NotFoundError):
            if name in self.templates:  # the user asked for it
                raise
            return None  # its fields are known as far as the cases show them

    def _told(self, request: Request, run: ReadContext) -> Template:
        response, body = self._send(request, run)
        return _read(response, lambda: decode_template(body))

    @cached_property
    def _known(self) -> Known:
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
        return Known(custom, names, attributes)

    # --- judging --------------------------------------------------------------------------

    def push_down(self, where: Expression) -> Pushdown:
        """Divide a filter: what search can compare is pushed, within depth 2 and 20 clauses."""
        one_by_one = by_id(where, self.pushdown_support)
        if one_by_one is not None:
            return one_by_one
        return (legal_listed if self.fresh else legal)(
            push_down(where, self.pushdown_support), self.pushdown_support
        )

    def pushdown_support(self, literal: Compare) -> PushdownSupport:
        """Say how well search, or List, answers one comparison."""
        return (
            list_pushdown_support(literal) if self.fresh else pushdown_support(literal, self.assume)
        )

    def with_bound(self, where: Expression, bound: Expression) -> Expression | None:
        """Add a bound to a pushed filter, if one search can hold both."""
        if self.fresh or ids_of(where):
            return None
        return with_bound(where, bound, self.pushdown_support)

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Ask once: for all there is, or for the named fields and what a restart needs."""
        if set(self.schema.active) <= set(fields):
            return [()]
        created = self.schema.resolve("created_at")
        return [tuple(dict.fromkeys([created, *fields]))]

    def can_sort_by(self, field: Field) -> bool:
        """Tell whether search can sort by the field."""
        return field.id in SORTED and not self.fresh

    # --- asking ---------------------------------------------------------------------------

    @property
    def _root(self) -> str:
        return urlsplit(self.base_url).path

    @property
    def _origin(self) -> str:
        return self.base_url.removesuffix(self._root)

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Write the request for one page; a cursor is the next link, followed as it stands."""
        query = fieldset(scan)
        if (named := _id_of(scan)) is not None:
            return Request("GET", f"{self._root}/cases/{quote(named, safe='')}", query=query)
        path, pairs = f"{self._root}/cases" if self.fresh else f"{self._root}/cases/search", query
        if cursor is not None:
            link = urlsplit(cursor)
            told = tuple(parse_qsl(link.query, keep_blank_values=True))
            # The link keeps what pages; the fieldset must be said again where it does not.
            pairs = (*told, *(pair for pair in query if pair[0] not in dict(told)))
        elif self.fresh:
            pairs = (*list_parameters(scan.where, _PAGE), *pairs)
        if self.fresh:
            return Request("GET", path, query=pairs)
        return Request("POST", path, search_body(scan, _PAGE), pairs)

    def command(self, request: Request) -> str:
        """Write the request for curl; the token comes from the environment."""
        headers = {**_headers(self.version), "Content-Type": "application/json"}
        said = [part for name, text in headers.items() for part in ("-H", f"{name}: {text}")]
        body = [] if request.body is None else ["-d", json.dumps(request.body, ensure_ascii=False)]
        call = shlex.join(["curl", "-X", request.method, self._url(request), *said, *body])
        return f'{call} -H "Authorization: Bearer ${VARIABLE}"'

    def read_page(self, scan: Scan, cursor: str | None, run: ReadContext) -> Page:
        """Ask for one page.

        Raises
        ------
        ServiceError
            What the service answered, once patience is at an end.
        FilterError
            If the service refuses a custom field that may not be searchable.
        """
        try:
            return send_with_retry(lambda: self._ask(scan, cursor, run), self.budget, run)
        except errors.NotFoundError:
            if _id_of(scan) is None:
                raise
            return Page(0, {}, None, None, served_at({}))  # no such case
        except errors.InvalidRequestError as error:
            if (told := unsearchable(error, scan)) is not None:
                raise told from error
            raise

    def count(self, scan: Scan, run: ReadContext) -> int:
        """Persona tells no totals."""
        raise NotImplementedError

    def _ask(self, scan: Scan, cursor: str | None, run: ReadContext) -> Page:
        request = self.request(scan, cursor)
        response, body = self._send(request, run)
        read = decode if _id_of(scan) is None else decode_one
        answer = _read(response, lambda: read(body, self._known, scan.fields))
        if not (answer.linked and answer.next != "") and answer.rows == _PAGE:
            raise TransientError(invalid_response("a full page without a next link", response))
        following = answer.next or None
        if following is not None:
            following = require_same_origin(following, base_url=self.base_url, path=request.path)
        return Page(
            answer.rows,
            answer.columns,
            following,
            None,
            served_at(response.headers),
            new_fields=answer.new_fields,
        )

    # --- what there is around a case --------------------------------------------------------

    kinds: ClassVar[tuple[str, ...]] = tuple(
        column for name, column in RELATIONSHIPS.items() if name not in TO_ONE
    )

    def related(self, _: tuple[str, ...]) -> None:
        """Say that columns of these names hold the related things of a case."""

    def events(self) -> NoReturn:
        """Refuse: Persona's events are those of a whole environment, for three months.

        Raises
        ------
        FilterError
            Always.
        """
        raise errors.FilterError(
            "Persona's API tells no audit history of a case; read created_at, updated_at, "
            "assigned_at and closed_at instead, or have a webhook collect the case.* events"
        )

    # --- sending --------------------------------------------------------------------------

    def _send(self, request: Request, run: ReadContext) -> tuple[requests.Response, bytes]:
        response, body = self._exchange(request, run)
        self._learn(response)
        if response.status_code == _OK:
            return response, body
        raise from_service(response, self.base_url)

    def _exchange(self, request: Request, run: ReadContext) -> tuple[requests.Response, bytes]:
        try:
            response = self._session.send(
                self._prepared(request),
                allow_redirects=False,  # a redirected POST becomes a GET or goes abroad
                timeout=_timeout(run),
                stream=True,  # so that `_whole` reads the body
            )
            return response, _whole(response)
        except requests.RequestException as error:
            failure = from_exception(error, self.base_url, late=not run.remaining())
        raise TransientError(failure)  # out of the handler: its context would carry the token

    def _prepared(self, request: Request) -> requests.PreparedRequest:
        """Write the request on a copy of the blank, and sign it; no cookie goes back."""
        prepared = self._blank.copy()
        prepared.prepare_method(request.method)
        prepared.prepare_url(self._url(request), None)
        prepared.prepare_body(None, None, request.body)
        prepared.prepare_auth(self._token)
        return prepared

    def _url(self, request: Request) -> str:
        url = f"{self._origin}{request.path}"
        return f"{url}?{urlencode(request.query)}" if request.query else url

    def _learn(self, response: requests.Response) -> None:
        """Leave a fifth of the window to others; nothing of it, if the user named a rate."""
        limit, remaining, reset = (
            parse_retry_after(response.headers.get(f"RateLimit-{name}"))
            for name in ("Limit", "Remaining", "Reset")
        )
        if limit is None or remaining is None or reset is None:
            return
        ours = limit * _SHARE if self._rate is None else limit
        self.budget.leave_only(ours - (limit - remaining), min(reset, _WINDOW))


# --- one request ---------------------------------------------------------------------------


def _headers(version: str) -> dict[str, str]:
    """Say what a key's own defaults would change otherwise."""
    return {"Key-Inflection": "kebab", "Persona-Version": version, "Accept": "application/json"}


def _id_of(scan: Scan) -> str | None:
    """Name the case that a scan is for, if it is for one."""
    ids = ids_of(scan.where)
    return ids[0] if len(ids) == 1 else None


def _timeout(run: ReadContext) -> tuple[float, float]:
    """Wait for a connection, and for an answer, but not beyond the run's end."""
    left = max(run.remaining(), _LEAST)
    return min(CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left)


# --- one answer ----------------------------------------------------------------------------


def _whole(response: requests.Response) -> bytes:
    """Read a page at once, where requests would take it 10 kB at a time."""
    if response.status_code == _OK:
        return b"".join(response.iter_content(_AT_ONCE))
    return response.content  # it stays there for who looks what went wrong


def _read(response: requests.Response, decode: Callable[[], _Told]) -> _Told:
    try:
        return decode()
    except (ValueError, RecursionError) as error:
        failure = invalid_response(error, response)
    raise TransientError(failure)  # out of the handler: its context would carry the answer
