"""Keep AWS credentials out of messages and tracebacks.

botocore's frames hold signed headers, and a service may repeat a header in its message. Tools such
as IPython's verbose tracebacks show the local variables of every frame.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import AccessDeniedError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["hide_secrets", "require_valid_headers"]

_HIDDEN = "<hidden>"
_SIGNED = re.compile(r"(Signature|Credential)=[^\s,;\"'&<>\\]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADERS = {
    "authorization": "the AWS access key id or the region",
    "x-amz-security-token": "the AWS session token",
}


def require_valid_headers(headers: Mapping[str, Any]) -> None:
    """Raise AccessDeniedError if a credential has a line break, as one read from a file may."""
    for name, value in headers.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if name.lower() in _HEADERS and _CONTROL.search(text):
            raise AccessDeniedError(
                f"{_HEADERS[name.lower()]} contains a line break or another control character; "
                "remove it from the environment variable or the profile"
            )


def hide_secrets(error: BaseException, credentials: Any) -> None:
    """Remove frames, requests and secrets from an exception of botocore and from its causes."""
    secrets: list[str] = []
    with suppress(Exception):  # credentials that cannot be renewed
        frozen = credentials.get_frozen_credentials()
        # A shorter text is no key of AWS, and may occur in any word.
        secrets = [item for item in (frozen.secret_key, frozen.token) if item and len(item) >= 8]  # noqa: PLR2004
    current: BaseException | None = error
    while current is not None:
        following = current.__cause__ or current.__context__
        current.__traceback__ = current.__cause__ = current.__context__ = None
        current.args = tuple(_redact(item, secrets) for item in current.args)
        for name in ("request", "kwargs"):
            if hasattr(current, name):
                setattr(current, name, {} if name == "kwargs" else None)
        if isinstance(response := getattr(current, "response", None), dict):
            current.response = _redact(response, secrets)  # type: ignore[attr-defined]
        current = following


def _redact(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _redact(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_redact(item, secrets) for item in value)
    if isinstance(value, BaseException):
        return type(value).__name__  # it may hold the request
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, _HIDDEN)
    return _SIGNED.sub(rf"\1={_HIDDEN}", value)
