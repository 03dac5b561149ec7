"""The command's door to the controller's API: the only place of the CLI that imports httpx."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from foreshape_controller.cli.errors import CliError, NotPermitted, Unreachable, UsageError

SIMULATED = "x-foreshape-simulated"
"""Header of every answer of a controller whose hosts and servers do not exist."""


@dataclass(frozen=True)
class Access:
    """Where the controller is, and by what right it is asked."""

    url: str
    token_file: Path
    ca_file: Path | None = None
    timeout_s: float = 15.0
    keystone_token: str = ""
    """Sent instead of the operators' token."""
    verify: bool = True
    """Whether the controller's certificate is looked at."""


class Client:
    """Asks the controller; every way it can go wrong becomes a CliError that says what to do."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._token = "" if access.keystone_token else _read_token(access.token_file)
        self.simulated = False
        """Whether the last answer spoke of hosts and servers that do not exist."""
        self._http = httpx.Client(
            base_url=_checked_url(access.url),
            verify=_trust(access),
            timeout=access.timeout_s,
            headers=self._credentials(),
        )

    def _credentials(self) -> dict[str, str]:
        if self._access.keystone_token:
            return {"X-Auth-Token": self._access.keystone_token}
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def get(self, path: str, **params: str | float) -> Any:
        return self._ask("GET", path, params=params)

    def text(self, path: str, **params: str | float) -> str:
        """What is no JSON: a calendar, a CSV file."""
        return str(self._ask("GET", path, body=lambda response: response.text, params=params))

    def tagged(self, path: str) -> tuple[Any, str]:
        """What is there, and its ETag."""
        tags: list[str] = []

        def both(response: httpx.Response) -> Any:
            tags.append(response.headers.get("etag", ""))
            return self._body(response)

        return self._ask("GET", path, body=both), tags[0]

    def put(self, path: str, body: dict[str, Any], if_match: str = "") -> Any:
        """``if_match``: only while it has this ETag."""
        return self._ask("PUT", path, json=body, headers={"If-Match": if_match} if if_match else {})

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", path, json=body)

    def post_text(self, path: str, text: bytes, media_type: str, **params: str | float) -> Any:
        return self._ask("POST", path, content=text, headers={"Content-Type": media_type}, params=params)

    def delete(self, path: str, **params: str | float) -> Any:
        return self._ask("DELETE", path, params=params)

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, path: str, body: Callable[[httpx.Response], Any] | None = None, **kwargs: Any) -> Any:
        try:
            response = self._http.request(method, path, **kwargs)
        except httpx.HTTPError as e:
            raise Unreachable(self._why_unreachable(e)) from e
        self.simulated = response.headers.get(SIMULATED) == "true"
        if response.is_success:
            return body(response) if body else self._body(response)
        raise self._refusal(response)

    def _why_unreachable(self, error: httpx.HTTPError) -> str:
        said = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return f"the certificate of {self._access.url} is not trusted: give the controller's CA with --ca-file or FORESHAPE_CA_FILE"
        if isinstance(error, httpx.RemoteProtocolError) or "SSL" in said:
            return f"{self._access.url} does not speak this protocol ({said}): check http or https, and the port, in --url"
        why = "no answer in time" if isinstance(error, httpx.TimeoutException) else _short(said)
        return f"cannot reach the controller at {self._access.url}: {why}; is foreshape-controller running? set --url or FORESHAPE_URL"

    def _body(self, response: httpx.Response) -> Any:
        if not response.content:
            return {}
        try:
            return response.json()
        except ValueError as e:
            raise CliError(f"{self._access.url} answers, but not as a Foreshape controller does: check --url") from e

    def _token_used(self) -> str:
        if self._access.keystone_token:
            return "asked with a token of Keystone's: 'openstack token issue' makes a new one where it is too old"
        file = self._access.token_file
        return f"{f'the token in {file}' if self._token else f'there is no token file {file}'}; set --token-file or FORESHAPE_TOKEN_FILE"

    def _refusal(self, response: httpx.Response) -> CliError:
        detail = _detail(response)
        if response.status_code in {401, 403}:
            return NotPermitted(f"not permitted: {detail} ({self._token_used()})")
        if response.status_code in {502, 503, 504}:
            return Unreachable(f"the controller at {self._access.url} cannot answer now: {detail}")
        return CliError(detail)


def _detail(response: httpx.Response) -> str:
    """The problem's own words (RFC 9457), else the status."""
    try:
        problem = response.json()
        return str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, AttributeError):
        return f"HTTP {response.status_code} {response.reason_phrase}"


def _short(said: str) -> str:
    """``[Errno 111] Connection refused`` without its number."""
    text = said.rsplit("] ", 1)[-1] or "no connection"
    return text[:1].lower() + text[1:]


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as e:
        raise UsageError(f"--url {url!r} is not a URL: {e}") from e
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UsageError(f"--url {url!r}: write it as https://HOST:PORT")
    return url


def _read_token(path: Path) -> str:
    """Empty when there is no such file: the controller then says what it needs."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as e:
        why = getattr(e, "strerror", None) or "not a text file"
        raise NotPermitted(f"cannot read the token file {path}: {why.lower()}; run as a user who may, or set --token-file") from e


def _trust(access: Access) -> Any:
    if access.ca_file is None or not access.verify:
        return access.verify
    import ssl  # noqa: PLC0415 - only needed for a private CA; start-up time of a command counts

    try:
        return ssl.create_default_context(cafile=str(access.ca_file))
    except (OSError, ssl.SSLError) as e:
        raise UsageError(f"--ca-file {access.ca_file} cannot be used: {e.strerror or e}") from e
