"""The Persona token: where it comes from, how it is put on a request, and that it stays unseen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from requests.auth import AuthBase

from casesearch_pd.errors import AccessDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests import PreparedRequest, Request

__all__ = ["VARIABLE", "Bearer", "without_token"]

VARIABLE = "PERSONA_API_KEY"
_SCHEME = "Bearer "


class Bearer(AuthBase):
    """The token, put on each request; an auth object, because ``~/.netrc`` overrules a header.

    Parameters
    ----------
    source
        The token, or a function that returns it anew for each request; None reads the
        environment.

    Raises
    ------
    AccessDeniedError
        If there is no token now.
    """

    def __init__(self, source: str | Callable[[], str] | None) -> None:
        self._source = source
        self.value()

    def __repr__(self) -> str:
        return "<token>"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign one request."""
        request.headers["Authorization"] = f"{_SCHEME}{self.value()}"
        return request

    def value(self) -> str:
        """Look the token up."""
        told = self._source() if callable(self._source) else self._source
        token = os.environ.get(VARIABLE, "") if told is None else told
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            state = "missing" if not token else "not one word of plain characters"
            raise AccessDeniedError(f"the Persona token is {state}; set {VARIABLE}, or pass token=")
        return token


def without_token(text: str, request: PreparedRequest | Request | None) -> str:
    """Take the token that a request bore out of a text that came back."""
    sent = "" if request is None else str(request.headers.get("Authorization", ""))
    token = sent.removeprefix(_SCHEME)
    return text.replace(token, "<token>") if token else text
