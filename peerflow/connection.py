"""One HTTP connection to a set of identical pods: the first that answers is as good as any other.

A request goes to the address that answered last; where that one does not answer, or answers 502, 503 or 504, to the next. Every
request of the API can be sent twice (a submission carries an idempotency key), so an answer lost on the way is asked for again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence

import httpx
from pydantic import JsonValue

from engine.errors import ConfigError, PeerflowError, Problem

DEFAULT_URL = "http://127.0.0.1:8000"
# A pod behind a gateway, a pod that drains, a pod without Redis: another pod may do better.
TRY_ANOTHER = frozenset({502, 503, 504})
# Pauses between rounds over all addresses: quick at first, then one round a second.
FIRST_PAUSE_SECONDS = 0.2
LAST_PAUSE_SECONDS = 1.0
BROKEN = "connection broken"


class PodUnreachable(PeerflowError):
    """No address answers; `causes` has one text for each address, in the order in which they were given."""

    def __init__(self, causes: Mapping[str, str]) -> None:
        self.causes = dict(causes)
        super().__init__("no pod answers at " + ", ".join(f"{address} ({cause})" for address, cause in self.causes.items()))


class ApiError(PeerflowError):
    """A pod refused the request; the facts of its problem document (RFC 9457).

    `problems` names each offending place of a definition; it is empty for errors that are not about a place.
    """

    def __init__(self, address: str, status: int, *, type_: str, title: str, detail: str, problems: tuple[Problem, ...] = ()) -> None:
        self.address = address
        self.status = status
        self.type = type_
        self.title = title
        self.detail = detail
        self.problems = problems
        super().__init__(f"{detail or title} (HTTP {status} from {address})")


def parse_addresses(urls: str | Sequence[str]) -> tuple[str, ...]:
    """Base addresses from one text with commas or from a sequence; raises ConfigError naming each that is none."""
    texts = urls.split(",") if isinstance(urls, str) else list(urls)
    addresses = [text.strip().rstrip("/") for text in texts if text.strip()]
    problems = [f"{text!r} is no address of a pod; one looks like {DEFAULT_URL}" for text in addresses if not _is_address(text)]
    if not addresses:
        problems = [f"no address of a pod is given; one looks like {DEFAULT_URL}"]
    if problems:
        raise ConfigError(problems)
    return tuple(dict.fromkeys(addresses))


def _is_address(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host)


def _checked(api_key: str) -> str:
    """The key without the white space around it; raises ConfigError, which does not quote it, where it cannot stand in a header."""
    key = api_key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigError(["the API key is empty or has characters that no key has; give it as `peerflow keys new` printed it"])
    return key


class Connection:
    """Sends requests; not shared between threads. `patience_seconds` bounds how long a call waits for any pod to answer.

    `api_key` is an API key or a token; it is sent with each request.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = DEFAULT_URL,
        *,
        api_key: str | None = None,
        patience_seconds: float = 0.0,
        timeout_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.addresses = parse_addresses(urls)
        self.patience_seconds = patience_seconds
        self.on_silence: Callable[[PodUnreachable | ApiError], None] | None = None
        """Called after each round in which no pod answered and before the next one, for a display."""
        self._current = 0
        self._clock = clock
        self._sleep = sleep
        headers = {"Accept": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {_checked(api_key)}"
        # A proxy set for the world must not be asked for this machine's own addresses.
        own = () if transport else ("localhost", "127.0.0.1", "[::1]")
        direct: dict[str, httpx.BaseTransport | None] = {f"all://{host}": None for host in own}
        timeout = httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 3.0))
        # Without redirects: the key goes to the addresses that were given, and nowhere else.
        self._http = httpx.Client(timeout=timeout, transport=transport, mounts=direct, headers=headers, follow_redirects=False)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> httpx.Response:
        return self.request("GET", path, params=params)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """The first answer that is a success, or whose status is in `accept`.

        Raises ApiError for a refusal and PodUnreachable where no address answers within the patience; both at once are an
        ApiError, since a pod's own words say more than a refused connection.
        """
        deadline = self._clock() + self.patience_seconds
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            outcome = self._round(method, path, params=params, content=content, headers=headers, accept=accept)
            if isinstance(outcome, httpx.Response):
                return outcome
            if self._clock() + pause_seconds > deadline:
                raise outcome
            if self.on_silence is not None:
                self.on_silence(outcome)
            self._sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, LAST_PAUSE_SECONDS)

    def _round(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None,
        content: bytes | None,
        headers: Mapping[str, str] | None,
        accept: frozenset[int],
    ) -> httpx.Response | PodUnreachable | ApiError:
        """Asks each address once, the last good one first, and raises a final refusal."""
        causes: dict[str, str] = {}
        refusal: ApiError | None = None
        # Where the first address broke the connection it is asked again at the end: a pod closes idle connections, at times just as
        # one is used.
        for offset in range(len(self.addresses) + 1):
            index = (self._current + offset) % len(self.addresses)
            address = self.addresses[index]
            if offset == len(self.addresses) and causes.get(address) != BROKEN:
                continue
            try:
                response = self._http.request(method, address + path, params=params, content=content, headers=headers)
            except httpx.TransportError as error:
                causes[address] = describe_transport_error(error)
                continue
            except httpx.DecodingError:
                causes[address] = "an answer that cannot be decoded"
                continue
            if response.is_success or response.status_code in accept:
                self._current = index
                return response
            refusal = api_error(address, response)
            if response.status_code not in TRY_ANOTHER:
                self._current = index
                raise refusal
        return refusal or PodUnreachable({address: causes[address] for address in self.addresses if address in causes})


def describe_transport_error(error: httpx.TransportError) -> str:
    """Why an address did not answer, in a few words."""
    if isinstance(error, httpx.ConnectTimeout):
        return "connection timed out"
    if isinstance(error, httpx.ConnectError):
        text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
        return "connection refused" if "refused" in text.lower() else f"connection failed: {text}"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return BROKEN if isinstance(error, httpx.RemoteProtocolError | httpx.NetworkError) else str(error) or type(error).__name__


def api_error(address: str, response: httpx.Response) -> ApiError:
    """The refusal in an answer; one that is no problem document comes from something else than a pod, and is said to."""
    try:
        body: JsonValue = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("title"), str):
        detail = f"{address} answers, but not like a peerflow pod ({response.status_code} {response.reason_phrase})"
        return ApiError(address, response.status_code, type_="about:blank", title=response.reason_phrase, detail=detail)
    errors = body.get("errors")
    return ApiError(
        address,
        response.status_code,
        type_=_text(body.get("type")) or "about:blank",
        title=_text(body["title"]),
        detail=_text(body.get("detail")),
        problems=tuple(_problem(item) for item in errors if isinstance(item, dict)) if isinstance(errors, list) else (),
    )


def _problem(item: Mapping[str, JsonValue]) -> Problem:
    code, pointer, message, remedy = (_text(item.get(field)) for field in ("code", "pointer", "message", "remedy"))
    return Problem(code=code, pointer=pointer, message=message, remedy=remedy)


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""
