"""JSON over HTTP with a server that nobody vouches for: bounded in time and size, patient under load."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from urllib3 import BaseHTTPResponse, PoolManager, Retry
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError
from urllib3.util import Url, parse_url

from ticket_sig.errors import InputError, bad_input

_OVERLOADED = (429, 502, 503, 504)
_LONGEST_WAIT = 60  # seconds, whatever Retry-After asks for
_LARGEST = 64 << 20  # bytes of one answer
_CHUNK = 1 << 16
_TEXT = 200  # characters of an error text that are shown


class NoAnswer(InputError):
    """The server is dead, too slow, overloaded or broken: another request may do better."""


class _Patience(Retry):
    """Waits as the server asks, but not for hours."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        wait = super().get_retry_after(response)
        return None if wait is None else min(wait, _LONGEST_WAIT)


class Connection:
    """Requests to one server. Redirects are not followed: a token must not travel to another host.

    Args:
        url: http://HOST:PORT or https://HOST, perhaps with a path before `/v2`.
        timeout: seconds to connect, and for one whole answer.
        retries: further tries where the server cannot be reached or is overloaded (429, 502, 503, 504),
            after waits that double, or as long as Retry-After asks; one that is too slow is tried once more.
        token: sent as a bearer token.

    Raises:
        InputError: the address or the token cannot be used.
    """

    def __init__(self, url: str, *, timeout: float, retries: int, token: str | None = None) -> None:
        self.url = _address(url)
        self._timeout = timeout
        self._headers = {"Accept": "application/json"}
        if token is not None:
            if not (token.isascii() and token.isprintable() and token):
                raise bad_input("", "token", "printable ASCII characters", "others, or none")
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = PoolManager(
            retries=_Patience(
                total=retries,
                read=min(retries, 1),
                redirect=False,
                status_forcelist=_OVERLOADED,
                allowed_methods=None,  # asking twice does no harm
                backoff_factor=0.5,
                backoff_max=_LONGEST_WAIT,
                raise_on_status=False,
            )
        )

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path.

        Raises:
            NoAnswer: the server is dead, too slow, overloaded or broken (5xx).
            InputError: it refuses (3xx, 4xx), or what it sends is endless or no JSON object.
        """
        return self._send("GET", path, None)

    def post(self, path: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that the server answers to one; errors as of `get`."""
        return self._send("POST", path, value)

    def _send(self, method: str, path: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
        where = f"{self.url}{path}"
        try:
            response = self._pool.request(
                method,
                where,
                json=value,
                headers=self._headers | ({"Content-Type": "application/json"} if value is not None else {}),
                timeout=self._timeout,
                redirect=False,
                preload_content=False,
            )
            try:
                body = _body(response, where, time.monotonic() + self._timeout)
            finally:
                response.close()
        except HTTPError as error:
            reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            raise _no_answer(where, "an answer", f"none ({_short(str(reason))})") from None
        if response.status != 200:
            _refused(where, response, body)
        return _parsed(where, body)


def _address(url: str) -> str:
    hint = "as http://127.0.0.1:8080"
    try:
        parts = parse_url(url)
    except LocationParseError:
        parts = Url()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise bad_input("", "url", "http:// or https:// and a host", repr(url)[:80], hint=hint)
    if parts.auth or parts.query or parts.fragment:
        found = "more (a password?)"
        raise bad_input("", "url", "scheme, host, port and path alone", found, hint=hint)
    return parts.url.rstrip("/")


def _body(response: BaseHTTPResponse, where: str, deadline: float) -> bytes:
    body = bytearray()
    # Compressed answers stay compressed: a few bytes could unfold to gigabytes.
    while chunk := response.read1(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > _LARGEST:
            raise bad_input(where, "answer", f"at most {_LARGEST >> 20} MiB", "more")
        if time.monotonic() > deadline:
            raise _no_answer(where, "a whole answer in time", f"{len(body)} bytes of one")
    return bytes(body)


def _refused(where: str, response: BaseHTTPResponse, body: bytes) -> NoReturn:
    status = f"HTTP status {response.status}"
    if response.status >= 500 or response.status in _OVERLOADED:
        raise _no_answer(where, "HTTP status 200", f"{status}{_error_text(body)}")
    if target := response.headers.get("Location"):
        hint = f"redirects are not followed; it names {_short(target)}"
        raise bad_input(where, "answer", "HTTP status 200", status, hint=hint)
    raise bad_input(where, "answer", "HTTP status 200", f"{status}{_error_text(body)}")


def _parsed(where: str, body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        found = f"something else ({_short(str(error))})"
        raise bad_input(where, "answer", "JSON", found) from None
    if not isinstance(value, dict):
        raise bad_input(where, "answer", "a JSON object", f"a {type(value).__name__}")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _error_text(body: bytes) -> str:
    """What servers put under "error" (the protocol's word) or "detail", else the text as it is."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    told = (value.get("error") or value.get("detail")) if isinstance(value, dict) else None
    text = _short(told if isinstance(told, str) else body[: 4 * _TEXT].decode("utf-8", "replace"))
    return f": {text}" if text else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}..."


def _no_answer(where: str, expected: str, found: str) -> NoAnswer:
    return NoAnswer(str(bad_input(where, "server", expected, found)))
