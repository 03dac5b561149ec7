"""Whose token a request carries: the local admin token, or Keystone's."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hmac import compare_digest
from threading import BoundedSemaphore
from typing import Protocol, TypeVar

import msgspec

from foreshape_controller.api.limits import Limits
from foreshape_controller.api.logins import Logins
from foreshape_controller.api.policy import Policy
from foreshape_controller.api.sessions import Sessions
from foreshape_controller.config_tenants import IdentitySettings
from foreshape_controller.errors import Forbidden, Invalid, Unauthenticated, Unavailable
from foreshape_controller.model.caller import OPERATOR, Caller
from foreshape_controller.model.login import Login

_T = TypeVar("_T")

ASKING = 4
"""Tokens, or passwords, of each kind that Keystone is asked about at once: threads of their own, not those of reports."""
WAITING = 200
"""Tokens that wait for one of those threads, or have one."""


class Tokens(Protocol):
    """Keystone's tokens (``cloud.tokens``)."""

    def known(self, token: str) -> Caller | None:
        """What is remembered of it; None: it has to be asked. Never waits. Raises Unauthenticated."""

    def familiar(self, token: str) -> bool:
        """Whether it was accepted not long ago, and not refused since. Never waits."""

    def ask(self, token: str) -> Caller:
        """Ask Keystone. Raises Unauthenticated, Forbidden, Unavailable while Keystone does not answer."""

    def login(self, who: Login) -> tuple[str, Caller]:
        """A new token of Keystone's for a password, and who has it. Raises Unauthenticated, Forbidden, Unavailable."""


class Seats:
    """Threads that ask Keystone, and a bounded number of those who wait for one."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(ASKING, thread_name_prefix=name)
        self._room = BoundedSemaphore(WAITING)

    async def take(self, ask: Callable[[], _T]) -> _T:
        """What ``ask`` says, and what it raises. Raises Unavailable where too many wait."""
        if not self._room.acquire(blocking=False):
            raise Unavailable("too many wait for Keystone's word: try again in a few seconds")
        asked = self._threads.submit(ask)
        asked.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(asked)


class Identity:
    """Tells callers apart, and what each may. ``keystone``: None where no cloud is configured."""

    def __init__(self, admin_token: str, policy: Policy, keystone: Tokens | None = None, of: IdentitySettings | None = None) -> None:
        said = of or IdentitySettings()
        self._admin_token = admin_token
        self.policy = policy
        self.again_s = max(1.0, said.token_cache_s)
        """Whose request goes on for longer is asked again so often."""
        self.keystone = keystone
        self.sessions = Sessions(said.session_s)
        self.limits = Limits(said.requests_per_minute, said.failures_per_minute, time.monotonic, said.writes_per_minute)
        self.logins = Logins(said.logins_per_minute, time.monotonic)
        self._new, self._again = Seats("tokens"), Seats("tokens-again")
        self._strange, self._familiar = Seats("logins"), Seats("logins-again")

    def local(self, token: str) -> Caller:
        """Who has the controller's own admin token. Raises Unauthenticated."""
        if not compare_digest(token.encode(), self._admin_token.encode()):
            raise Unauthenticated("this is not the operators' token: the controller keeps it in [api] admin_token_file")
        return OPERATOR

    async def remote(self, token: str, address: str) -> Caller:
        """Who has a Keystone token. ``address``: who sent it. Raises Unauthenticated, Forbidden, Unavailable, TooMany."""
        if self.keystone is None:
            raise Unauthenticated("no Keystone is configured here ([cloud] enabled): send 'Authorization: Bearer TOKEN', the admin token")
        found = self.keystone.known(token)
        if found is None:
            found = await self._asked(self.keystone, token, address)
        return self._placed(found)

    async def login(self, who: Login, address: str) -> tuple[str, Caller]:
        """A token for a password, and who has it. Raises Invalid, Unauthenticated, Forbidden, Unavailable, TooMany."""
        if self.keystone is None:
            raise Invalid("no Keystone is configured here ([cloud] enabled): log in with the controller's own token")
        ask, attempt = partial(self.keystone.login, who), self.logins.begin(who, address)
        try:
            token, found = await (self._familiar if attempt.familiar else self._strange).take(ask)
        except (Unavailable, Forbidden):
            self.logins.unknown(attempt)
            raise
        self.logins.right(attempt)
        return token, self._placed(found)

    def _placed(self, found: Caller) -> Caller:
        return msgspec.structs.replace(found, everywhere=self.policy.may("system_reader", found))

    async def _asked(self, keystone: Tokens, token: str, address: str) -> Caller:
        """A token that was good lately is asked about again whatever others send, from its address or any: they have their own seats."""
        if keystone.familiar(token):
            return await self._again.take(partial(keystone.ask, token))
        self.limits.may_fail(address)
        return await self._new.take(partial(keystone.ask, token))
