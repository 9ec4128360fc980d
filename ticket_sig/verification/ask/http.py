"""JSON over HTTP with a server that nobody vouches for: bounded in time and size, patient under load."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Mapping
from contextlib import suppress
from threading import Timer
from typing import Any, NoReturn

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError
from urllib3.util import Url, parse_url

from ticket_sig.errors import InputError, bad_input
from ticket_sig.fields import parse_json

_OVERLOADED = (429, 502, 503, 504)
_LONGEST_WAIT = 60  # seconds, whatever Retry-After asks for
_LARGEST = 16 << 20  # bytes of one answer; read as JSON it may take thirty times as much
_CHUNK = 1 << 16
_TEXT = 200  # characters of an error text that are shown


class NoAnswer(InputError):
    """The server is dead, too slow, overloaded or broken: another request may do better."""


class Refused(InputError):
    """The server understood the request and refuses it (3xx, 4xx).

    Attributes:
        status: of HTTP.
        text: what it says.
    """

    def __init__(self, message: str, status: int, text: str) -> None:
        super().__init__(message)
        self.status, self.text = status, text


class _Patience(Retry):
    """Waits as the server asks, but not for hours."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        wait = super().get_retry_after(response)
        return None if wait is None else min(wait, _LONGEST_WAIT)


class _Clock:
    """Ends a request whose answer takes too long, by shutting its socket down.

    A limit on every read begins anew with every byte: a server that drips the bytes of a header, sends
    `100 Continue` for ever or never ends its trailers would keep us for ever.

    Attributes:
        late: whether the last request was ended.
    """

    def __init__(self, seconds: float) -> None:
        self.late = False
        self._seconds = seconds
        self._timer: Timer | None = None

    def begin(self, connection: socket.socket) -> None:
        """Begins the time of a request over a connection."""
        self.stop()
        self.late = False
        self._timer = Timer(self._seconds, self._end, [connection])
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Lets the request be: it is done."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, connection: socket.socket) -> None:
        self.late = True
        with suppress(OSError):  # closed already
            # Not the method of a TLS socket, which would go on in plain text.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Timed(HTTPConnection):
    """A connection whose requests run against a clock."""

    def __init__(self, *arguments: Any, clock: _Clock, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._clock = clock

    def __str__(self) -> str:  # what urllib3 begins its messages with
        return f"{self.host}:{self.port}"

    def request(self, *arguments: Any, **options: Any) -> None:
        if self.sock is None:
            self.connect()  # has a limit of its own
        self._clock.begin(self.sock)
        super().request(*arguments, **options)


class _TimedSecurely(_Timed, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Timed


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _TimedSecurely


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
        address = _address(url)
        self.url, self._timeout, self._clock = address.url, timeout, _Clock(timeout)
        self._prefix = address.path or ""
        self._headers = {"Accept": "application/json"}
        if token is not None:
            if not (token.isascii() and token.isprintable() and token):
                raise bad_input("", "token", "printable ASCII characters", "others, or none")
            self._headers["Authorization"] = f"Bearer {token}"
        pool = {"https": _SecurePool}.get(str(address.scheme), _Pool)
        self._pool = pool(
            str(address.host),
            address.port,
            clock=self._clock,
            # Silence is the clock's, too; that it should come first makes one message of the two.
            timeout=Timeout(connect=timeout, read=2 * timeout),
            retries=_Patience(
                total=retries,
                read=min(retries, 1),
                redirect=False,
                status_forcelist=_OVERLOADED,
                allowed_methods=None,  # asking twice does no harm
                backoff_factor=0.5,
                backoff_max=_LONGEST_WAIT,
                raise_on_status=False,
            ),
        )

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path.

        Raises:
            NoAnswer: the server is dead, too slow, overloaded or broken (5xx).
            Refused: it refuses (3xx, 4xx).
            InputError: what it sends is endless or no JSON object.
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
                self._prefix + path,
                json=value,
                headers=self._headers | ({"Content-Type": "application/json"} if value is not None else {}),
                redirect=False,
                preload_content=False,
            )
            try:
                body = _body(response, where)
            finally:
                response.close()
        except HTTPError as error:
            if self._clock.late:
                raise self._too_slow(where) from None
            reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            raise _no_answer(where, "an answer", f"none ({_short(str(reason))})") from None
        finally:
            self._clock.stop()
        if self._clock.late:  # a body or header that was cut off may look like one that has ended
            raise self._too_slow(where)
        if response.status != 200:
            _refused(where, response, body)
        return _parsed(where, body)

    def _too_slow(self, where: str) -> NoAnswer:
        return _no_answer(where, "a whole answer in time", f"none in {self._timeout:g} seconds")


def _address(url: str) -> Url:
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
    return parts._replace(path=(parts.path or "").rstrip("/") or None)


def _body(response: BaseHTTPResponse, where: str) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK, decode_content=False):
        body += chunk
        _check_size(body, where)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    return bytes(body) if encoding in ("identity", "") else _unpacked(bytes(body), encoding, where)


def _unpacked(body: bytes, encoding: str, where: str) -> bytes:
    """An answer that was compressed, though nobody asked for it; a few bytes could unfold to gigabytes."""
    forms = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}  # deflate comes with a head or without
    for form in forms.get(encoding, ()):
        stream = zlib.decompressobj(form)
        with suppress(zlib.error):
            plain = stream.decompress(body, _LARGEST + 1)
            _check_size(plain, where)
            if stream.eof:
                return plain
    raise bad_input(where, "answer", "JSON, plain or as a whole gzip or deflate", repr(encoding)[:80])


def _check_size(body: bytes | bytearray, where: str) -> None:
    if len(body) > _LARGEST:
        raise bad_input(where, "answer", f"at most {_LARGEST >> 20} MiB", "more")


def _refused(where: str, response: BaseHTTPResponse, body: bytes) -> NoReturn:
    text = _error_text(body)
    expected, found = "HTTP status 200", f"HTTP status {response.status}{text}"
    if response.status >= 500 or response.status in _OVERLOADED:
        raise _no_answer(where, expected, found)
    target = response.headers.get("Location")
    hint = f"redirects are not followed; it names {_short(target)}" if target else ""
    raise Refused(str(bad_input(where, "answer", expected, found, hint=hint)), response.status, text)


def _parsed(where: str, body: bytes) -> dict[str, Any]:
    try:
        value = parse_json(body, finite=False)
    except ValueError as error:
        found = f"something else ({_short(str(error))})"
        raise bad_input(where, "answer", "JSON", found) from None
    if not isinstance(value, dict):
        raise bad_input(where, "answer", "a JSON object", f"a {type(value).__name__}")
    return value


def _error_text(body: bytes) -> str:
    """What servers put under "error" (the protocol's word) or "detail", else the text as it is."""
    try:
        value = parse_json(body)
    except ValueError:
        value = None
    told = (value.get("error") or value.get("detail")) if isinstance(value, dict) else None
    text = _short(told if isinstance(told, str) else body[: 4 * _TEXT].decode("utf-8", "replace"))
    return f": {text}" if text else ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}..."


def _no_answer(where: str, expected: str, found: str) -> NoAnswer:
    return NoAnswer(str(bad_input(where, "server", expected, found)))
