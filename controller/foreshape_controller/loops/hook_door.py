"""The door to webhooks: one signed POST to an address that may be told, and nothing else. The only place of the loops that imports httpx.

A tenant chooses the URL, so it is somebody else's word: its name is resolved once, every address behind it must be a public one (or in a
network that is listed), and that very address is connected to. No proxies, no redirects, no answer is read, all ends in time.
"""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread, Timer

import httpx

from foreshape_controller.errors import ConfigError, Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

URL_MOST = 2000
NAT64 = ipaddress.ip_network("64:ff9b::/96")
LOCAL = ("localhost", "localhost.localdomain", "ip6-localhost")


@dataclass(frozen=True)
class HookTerms:
    """What the configuration says."""

    networks: tuple[Network, ...] = ()
    """Addresses beside public ones that may be told."""
    plain: bool = False
    """http is allowed, too."""
    timeout_s: float = 5.0
    total_s: float = 10.0


@dataclass(frozen=True)
class Told:
    """How one try ended."""

    status: int
    """0: there was no answer."""
    said: str

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300


class Refused(Exception):
    """The address must not be told anything."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Raises ConfigError."""
    try:
        return tuple(ipaddress.ip_network(t.strip()) for t in texts if t.strip())
    except ValueError as e:
        raise ConfigError(f"[requests] webhook_networks: {e}; write them as 10.1.0.0/16") from e


def resolved(host: str, port: int) -> Sequence[str]:
    """All addresses of a name. Raises OSError."""
    return tuple({str(row[4][0]): None for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})


def checked(url: str, terms: HookTerms) -> httpx.URL:
    """A URL that may be kept; its name is not looked up. Raises Invalid."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError, ValueError) as e:
        raise Invalid(f"url: {e}") from e
    if len(url) > URL_MOST or not url.isprintable() or " " in url:
        raise Invalid(f"url: at most {URL_MOST} printable characters, without spaces")
    if parsed.scheme != "https" and not (terms.plain and parsed.scheme == "http"):
        raise Invalid("url: https only (an operator may allow http: [requests] webhook_http)")
    if parsed.userinfo or parsed.fragment or not parsed.host:
        raise Invalid("url: write it as https://HOST[:PORT]/PATH, without a user, a password or a fragment")
    with suppress(ValueError):
        if reason := forbidden(ipaddress.ip_address(parsed.host.strip("[]")), terms.networks):
            raise Invalid(f"url: {reason}")
    if parsed.host.lower().rstrip(".") in LOCAL and not terms.networks:
        raise Invalid(f"url: {parsed.host} is this machine itself")
    return parsed


def forbidden(address: Address, allowed: Sequence[Network]) -> str:
    """Why nothing is sent to an address; empty: it may be. What hides another address is judged by that, too."""
    if any(address in network for network in allowed):
        return ""
    inner = _inner(address)
    if inner is not None and (reason := forbidden(inner, allowed)):
        return reason
    public = address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
    return (
        "" if public or inner is not None else f"{address} is not a public address (an operator may list it: [requests] webhook_networks)"
    )


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def signature(secret: str, at: float, body: bytes) -> str:
    """``t=INSTANT,v1=HMAC-SHA256(secret, "INSTANT." + body)`` in hexadecimal: who receives it can tell an old one that is sent again."""
    instant = f"{at:.0f}"
    return f"t={instant},v1={hmac.new(secret.encode(), f'{instant}.'.encode() + body, hashlib.sha256).hexdigest()}"


class HookDoor:
    """``post`` for the loop; safe from any thread."""

    def __init__(self, terms: HookTerms, resolve: Resolve = resolved, verify: object = True) -> None:
        """``verify``: the certificates that are trusted, for tests."""
        self.terms, self._resolve, self._verify = terms, resolve, verify

    def post(self, url: str, secret: str, delivery: str, body: bytes, now: float) -> Told:
        """Send it once. Never raises for what the other side does."""
        try:
            parsed = checked(url, self.terms)
            address = self._address(parsed)
            return self._send(parsed, address, self._headers(parsed, secret, delivery, body, now), body)
        except (Invalid, Refused) as e:
            return Told(0, f"not sent: {e}")
        except (httpx.HTTPError, OSError, RuntimeError, ValueError) as e:
            return Told(0, f"no answer: {type(e).__name__}: {e}"[:300])

    def _address(self, url: httpx.URL) -> Address:
        """The one that is connected to: nobody looks the name up again. Raises Refused, OSError."""
        found = [ipaddress.ip_address(a.partition("%")[0]) for a in self._looked_up(url.host.strip("[]"), url.port or 443)]
        for address in found:
            if reason := forbidden(address, self.terms.networks):
                raise Refused(reason)
        if not found:
            raise Refused(f"{url.host} has no address")
        return found[0]

    def _looked_up(self, host: str, port: int) -> Sequence[str]:
        """In a thread that is left behind where the name service takes too long: whoever owns the name owns its speed. Raises OSError."""
        answer: Future[Sequence[str]] = Future()

        def look() -> None:
            try:
                answer.set_result(self._resolve(host, port))
            except Exception as e:  # noqa: BLE001  raised again for whom it concerns
                answer.set_exception(e)

        Thread(target=look, name="webhook-name", daemon=True).start()
        try:
            return answer.result(self.terms.timeout_s)
        except FutureTimeout as e:
            raise TimeoutError(f"{host} was not looked up within {self.terms.timeout_s:g} s") from e

    @staticmethod
    def _headers(url: httpx.URL, secret: str, delivery: str, body: bytes, now: float) -> dict[str, str]:
        return {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "foreshape",
            "X-Foreshape-Delivery": delivery,
            "X-Foreshape-Signature": signature(secret, now, body),
        }

    def _send(self, url: httpx.URL, address: Address, headers: dict[str, str], body: bytes) -> Told:
        host = f"[{address}]" if address.version == 6 else str(address)
        client = httpx.Client(verify=self._verify, timeout=self.terms.timeout_s, trust_env=False, follow_redirects=False)  # type: ignore[arg-type]
        late = Timer(self.terms.total_s, client.close)  # one who answers a byte at a time is not waited for
        late.daemon = True
        late.start()
        try:
            extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
            request = client.build_request("POST", url.copy_with(host=host), headers=headers, content=body, extensions=extensions)
            response = client.send(request, stream=True)
            response.close()
            return Told(response.status_code, f"HTTP {response.status_code}")
        finally:
            late.cancel()
            client.close()
