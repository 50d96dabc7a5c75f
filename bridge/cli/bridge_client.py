"""Talking to a running bridge from the command line: the options that say where it is, and its client."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import click
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from yarl import URL

ML = "/_plugins/_ml"
DEFAULT = "http://127.0.0.1:9700"
TRIES = 6
LONGEST_PAUSE = 10.0
"""Seconds between two tries at most."""
_PASSING = (429, 502, 503, 504)
_CONNECT_SECONDS = 15.0
_READ_SECONDS = 3600.0
"""The answer to the last chunk waits until the whole content has been read and hashed."""
_POLL_SECONDS = 0.3
_LONGEST_LINE = 500

T = TypeVar("T")


class Refused(click.ClickException):
    """The bridge said no, or a task failed: exit code 1."""

    exit_code = 1

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(click.ClickException):
    """Nobody answered at the bridge's address: exit code 3."""

    exit_code = 3


class _Again(Exception):
    """A try that may go better the next time."""


def read_id(text: str) -> str:
    """The id of a model or task: any text that stays one segment of a path.

    Raises click.BadParameter for what a server would read as no segment or as another place.
    """
    if not text.strip() or text in (".", ".."):
        raise click.BadParameter(f"{text!r} cannot be an id")
    return text


@dataclass(frozen=True)
class Target:
    """Where the bridge is and who asks; `as_json`: print machine-readable results."""

    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    verify: bool = True
    as_json: bool = False


def bridge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a connection and call it with them as one `to: Target`."""

    @functools.wraps(command)
    def wrapped(
        *, bridge: str, password_file: str | None, password: str | None, bearer_token: str | None, **rest: Any
    ) -> Any:
        if password_file and not password:
            password = Path(password_file).read_text(encoding="utf-8").strip()
        known = {name: rest.pop(name) for name in ("user", "ca", "verify", "as_json")}
        return command(to=Target(_address(bridge), password=password, token=bearer_token, **known), **rest)

    options = (
        click.option("--bridge", envvar="BRIDGE_URL", default=DEFAULT, show_default=True, metavar="URL"),
        click.option("--user", envvar="BRIDGE_USER", help="User name towards the cluster behind the bridge."),
        click.option("--password", envvar="BRIDGE_PASSWORD", help="Password of --user (better: the variable or file)."),
        click.option("--password-file", envvar="BRIDGE_PASSWORD_FILE", type=click.Path(exists=True, dir_okay=False)),
        click.option("--bearer-token", "--token", envvar="BRIDGE_BEARER_TOKEN", help="Bearer token instead."),
        click.option("--ca", envvar="BRIDGE_CA", type=click.Path(exists=True, dir_okay=False), help="CA (PEM)."),
        click.option("--verify/--no-verify", default=True, help="Check the bridge's certificate."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    )
    decorated: Callable[..., Any] = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def _address(text: str) -> str:
    """--bridge without slashes at its end. Raises click.BadParameter for what is no address of a server."""
    try:
        url = URL(text)
        usable = url.scheme in ("http", "https") and bool(url.host) and url.explicit_port != 0
    except ValueError:
        usable = False
    if not usable or url.query_string or url.fragment or any(letter.isspace() for letter in text):
        raise click.BadParameter(f"takes a URL such as {DEFAULT}, not {text!r}", param_hint="'--bridge'")
    return str(url).rstrip("/")


class BridgeClient:
    """Calls of one bridge."""

    def __init__(self, to: Target, session: aiohttp.ClientSession) -> None:
        self._to = to
        self._session = session

    async def call(
        self, method: str, segments: Sequence[str], body: Any = None, *, repeat: bool = True
    ) -> dict[str, Any]:
        """The JSON object that answers. `segments` of the path below the ML routes are escaped here: ids may hold
        anything. `repeat`: acting twice is the same as acting once, so a cut answer is asked for again.

        Raises Refused for an error answer, Unreachable when there is none, or none of a bridge.
        """
        path = "".join(f"/{quote(segment, safe='')}" for segment in segments)
        tries = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE),
            retry=retry_if_exception_type(_Again),
        )
        try:
            async for attempt in tries:
                with attempt:
                    return await self._once(method, path, body, repeat)
        except RetryError as failed:
            raise Unreachable(f"{self._to.url}: {failed.last_attempt.exception()}") from None
        raise AssertionError("a retry loop ends by returning or raising")

    async def _once(self, method: str, path: str, body: Any, repeat: bool) -> dict[str, Any]:
        given: dict[str, Any] = {} if body is None else {"json": body}
        if isinstance(body, bytes):
            given = {"data": io.BytesIO(body), "headers": {"Content-Type": "application/octet-stream"}}
        try:
            # Encoded already: no further escape, and no dot segment, is to be read into what stands there.
            target = URL(f"{self._to.url}{ML}{path}", encoded=True)
            async with self._session.request(method, target, **given) as answer:
                raw = await answer.read()
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable(f"{self._to.url}: {error}") from error
        except aiohttp.ClientConnectorError as error:
            raise _Again(str(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if not repeat:
                raise Unreachable(f"{self._to.url}: {error or type(error).__name__}") from error
            raise _Again(str(error) or type(error).__name__) from error
        reason = reason_in(raw)
        if answer.status in _PASSING and (repeat or answer.status in (429, 503)):
            raise _Again(f"status {answer.status}: {reason or 'no reason given'}")
        if answer.status >= 400 and reason is not None:
            raise Refused(reason, answer.status)
        told = _decoded(raw)
        if answer.status >= 400 or not isinstance(told, dict):
            raise Unreachable(
                f"{self._to.url} is no bridge: it answers {method} {ML}{path} with status {answer.status} and"
                f" {answer.content_type}; check --bridge"
            )
        return told

    async def ended(
        self, task_id: str, *, seconds: float, tell: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """The task once it is final; `tell` hears of every change. Raises Refused when it takes longer."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        seen: tuple[Any, ...] = ()
        while True:
            task = await self.call("GET", ("tasks", task_id))
            now = (task.get("state"), task.get("progress"))
            if tell is not None and now != seen:
                tell(task)
            seen = now
            if task.get("state") not in ("CREATED", "RUNNING", "CANCELLING"):
                return task
            if loop.time() >= deadline:
                raise Refused(f"task {task_id} is still {task.get('state')} after {seconds:g} s")
            await asyncio.sleep(_POLL_SECONDS)


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def reason_in(raw: bytes) -> str | None:
    """What an error answer says: an error envelope's reason, or a line of text as the security plugin writes it.

    None for what no bridge says: nothing, pages of HTML, other JSON.
    """
    told = _decoded(raw)
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(error, dict):
        return str(error.get("reason"))
    if isinstance(error, str):
        return error
    text = raw.decode(errors="replace").strip()
    plain = told is None and 0 < len(text) <= _LONGEST_LINE and "\n" not in text and not text.startswith("<")
    return text if plain else None


@asynccontextmanager
async def _client(to: Target) -> AsyncIterator[BridgeClient]:
    async with aiohttp.ClientSession(
        headers=_credentials(to),
        connector=aiohttp.TCPConnector(ssl=_tls(to)),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS),
    ) as session:
        yield BridgeClient(to, session)


def _credentials(to: Target) -> dict[str, str]:
    if to.token:
        return {"Authorization": f"Bearer {to.token}"}
    if not to.user:
        return {}
    pair = b64encode(f"{to.user}:{to.password or ''}".encode()).decode("ascii")
    return {"Authorization": f"Basic {pair}"}


def _tls(to: Target) -> ssl.SSLContext | bool:
    if not to.url.startswith("https:"):
        return True
    context = ssl.create_default_context(cafile=to.ca)
    # As towards the cluster: own authorities often write certificates without a key identifier.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not to.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def show(to: Target, value: Any, lines: Callable[[], list[str]]) -> None:
    """Print a result: as JSON, or as the lines for people."""
    if to.as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        for line in lines():
            click.echo(line)


async def must_complete(client: BridgeClient, task_id: str, seconds: float) -> dict[str, Any]:
    """The COMPLETED task; its changes go to standard error. Raises Refused when it ends otherwise."""
    task = await client.ended(task_id, seconds=seconds, tell=tell_change)
    if task.get("state") != "COMPLETED":
        raise Refused(f"task {task_id} ended {task.get('state')}: {task.get('error') or 'no reason given'}")
    return task


def tell_change(task: dict[str, Any]) -> None:
    """One line about a task on standard error."""
    progress = task.get("progress")
    click.echo(f"{task.get('state')}{'' if progress is None else f' {float(progress):.0%}'}", err=True)


def connected(to: Target, work: Callable[[BridgeClient], Awaitable[T]]) -> T:
    """Run `work` with a client of `to`. Raises Unreachable when an answer lacks what every bridge says there."""

    async def inside() -> T:
        async with _client(to) as client:
            return await work(client)

    try:
        return asyncio.run(inside())
    except KeyError as missing:
        raise Unreachable(f"{to.url} is no bridge: its answer lacks {missing}; check --bridge") from missing
