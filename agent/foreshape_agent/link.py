"""The way to the controller: HTTPS with this host's token, enrolment, rotation. The only place that knows httpx.

Tokens lie in files of mode 0600 and are written whole or not at all. A new token is used from the next report on; the old one
stays until the new one has worked. No token is ever logged or put in an error.
"""

import os
import ssl
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from foreshape_agent.errors import ConfigError, LinkDown, LinkRefused, ReportRefused
from foreshape_wire.codec import MAX_MESSAGE_BYTES

PATIENCE = 4
"""A reply that drips in may take so many times the timeout."""


TAKEN = frozenset({200, 201})


class Trust(NamedTuple):
    """Whose certificate is believed: a CA bundle's (empty: the system's); with ``insecure`` anybody's, and http too."""

    ca_file: str = ""
    insecure: bool = False


SYSTEM = Trust()


class _Token(msgspec.Struct):
    """The part of a reply that is the link's own business."""

    token: str = ""


class TokenStore:
    """The host's token, and the next one while it has not worked yet."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._next_path = self._path.with_name(self._path.name + ".next")
        self.current = _read(self._path)
        self.next = _read(self._next_path)

    @property
    def best(self) -> str:
        return self.next or self.current

    def replace(self, token: str) -> None:
        """A new token from enrolment: there is no old one to keep."""
        _write(self._path, token)
        self._next_path.unlink(missing_ok=True)
        self.current, self.next = token, ""

    def offer(self, token: str) -> None:
        """A new token from rotation: written before it is used."""
        if token not in {self.current, self.next}:
            _write(self._next_path, token)
            self.next = token

    def worked(self) -> None:
        """The best token was accepted: it is the only one from now on."""
        if self.next:
            self._next_path.replace(self._path)
            self.current, self.next = self.next, ""

    def refuse_next(self) -> bool:
        """The new token was refused: back to the old one, if there are two."""
        if not self.next or not self.current:
            return False
        self._next_path.unlink(missing_ok=True)
        self.next = ""
        return True


class HttpLink:
    """``exchange`` as the cycle wants it, over one kept-alive connection."""

    def __init__(
        self,
        url: str,
        tokens: TokenStore,
        *,
        host: str,
        trust: Trust = SYSTEM,
        timeout_s: float = 5.0,
        join_token_file: str = "",
    ) -> None:
        self._url, self._tokens, self._host = _checked(url, insecure=trust.insecure), tokens, host
        self._join_token_file, self._timeout_s = join_token_file, timeout_s
        self._client = httpx.Client(verify=_verify(trust), timeout=timeout_s, follow_redirects=False, trust_env=False)

    def exchange(self, report: bytes) -> bytes:
        """Hand over a report. Raises LinkDown, LinkRefused, ReportRefused."""
        if not self._tokens.best:
            self._join()
        status, body = self._report(report)
        if status == 401 and self._tokens.refuse_next():
            status, body = self._report(report)
        if status not in TAKEN:
            raise _refusal(status, body, f"{self._url}/v1/reports")
        self._tokens.worked()
        self._keep_offered(body)
        return body

    def enrol(self, join_token: str) -> None:
        """Trade a one-time join token for this host's own. Raises LinkDown, LinkRefused."""
        question = msgspec.json.encode({"host": self._host, "join_token": join_token})
        status, body = self._post("/v1/agents/enrol", question, {})
        if status not in TAKEN:
            raise LinkRefused(f"enrolment was refused ({status}): {_detail(body)}")
        try:
            token = msgspec.json.decode(body, type=_Token).token
        except msgspec.MsgspecError as e:
            raise LinkDown(f"the answer to the enrolment cannot be read: {e}") from e
        if not token:
            raise LinkDown("the answer to the enrolment holds no token")
        self._tokens.replace(token)

    def close(self) -> None:
        self._client.close()

    def _join(self) -> None:
        """No token yet: use the join token that the operator left."""
        path = Path(self._join_token_file) if self._join_token_file else None
        if path is None or not path.is_file():
            raise LinkRefused(
                f"this agent is not enrolled: run 'foreshape agent enroll {self._host}' on the controller, then "
                "'foreshape-agent --config-file FILE --enrol TOKEN' here"
            )
        self.enrol(path.read_text(encoding="utf-8").strip())

    def _report(self, report: bytes) -> tuple[int, bytes]:
        return self._post("/v1/reports", report, {"Authorization": f"Bearer {self._tokens.best}"})

    def _post(self, path: str, content: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            with self._client.stream(
                "POST", self._url + path, content=content, headers={"Content-Type": "application/json"} | headers
            ) as reply:
                return reply.status_code, self._bounded(reply)
        except httpx.HTTPError as e:
            raise LinkDown(f"{self._url}: {type(e).__name__}: {e}") from e

    def _bounded(self, reply: httpx.Response) -> bytes:
        """The body, as long as it is neither too long nor too slow."""
        until, body = monotonic() + PATIENCE * self._timeout_s, bytearray()
        for chunk in reply.iter_bytes():
            body += chunk
            if len(body) > MAX_MESSAGE_BYTES:
                raise LinkDown(f"{self._url}: the answer is longer than {MAX_MESSAGE_BYTES} bytes")
            if monotonic() > until:
                raise LinkDown(f"{self._url}: the answer took longer than {PATIENCE * self._timeout_s:g} s")
        return bytes(body)

    def _keep_offered(self, body: bytes) -> None:
        try:
            offered = msgspec.json.decode(body, type=_Token).token
        except msgspec.MsgspecError:
            return  # the cycle reads the whole reply and says what is wrong with it
        if offered:
            self._tokens.offer(offered)


def _refusal(status: int, body: bytes, where: str) -> LinkDown | LinkRefused:
    """What a status means to the agent."""
    said = _detail(body)
    if status in {400, 413, 422}:
        return ReportRefused(f"{status}: {said}")
    if status == 401:
        return LinkRefused(f"the controller does not know this agent's token ({said}): enrol it anew with 'foreshape agent enroll HOST'")
    if status == 403:
        return LinkRefused(f"this token may not report for this host ({said}): is [agent] host the name it was enrolled with?")
    if status in {408, 425, 429} or status >= 500:
        return LinkDown(f"{where}: {status}: {said}")
    return LinkRefused(f"{where}: {status}: {said}: is [controller] controller_url right?")


def _detail(body: bytes) -> str:
    """What the controller says in its problem; cut, and never the raw body of a stranger."""
    try:
        problem = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return "no explanation"
    return str(problem.get("detail", "no explanation"))[:500] if isinstance(problem, dict) else "no explanation"


def _checked(url: str, *, insecure: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme == "http" and not insecure and not _loopback(parts.hostname or ""):
        raise ConfigError(f"controller_url is {url}: over http the token can be stolen; write https, or set [controller] insecure = true")
    return url.rstrip("/")


def _loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _verify(trust: Trust) -> ssl.SSLContext | bool:
    if not trust.ca_file:
        return False if trust.insecure else ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=trust.ca_file)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(f"[controller] ca_file {trust.ca_file} cannot be used: {e}") from e


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"the token file {path} cannot be read: {e}") from e


def _write(path: Path, token: str) -> None:
    """Whole or not at all, readable by the agent only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, token.encode("ascii"))
        os.fsync(handle)
    finally:
        os.close(handle)
    partial.replace(path)
