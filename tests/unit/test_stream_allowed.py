"""Who reads a stream is asked about again: what ends it, and what does not."""

import asyncio

import pytest

from foreshape_controller.api import stream
from foreshape_controller.errors import Forbidden, TooMany, Unauthenticated, Unavailable
from foreshape_controller.model.caller import Caller

pytestmark = pytest.mark.unit

ME = Caller(user="u", project="p", roles=frozenset({"admin"}))


def looked(answer, caller=ME):
    """What comes of asking at once."""

    async def ask():
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def story():
        return await stream._Allowed(0.0, ask).now(caller)

    return asyncio.run(story())


@pytest.mark.parametrize("why", [Unauthenticated("revoked"), Forbidden("no role")])
def test_who_may_not_any_more_is_nobody(why):
    assert looked(why) is None


@pytest.mark.parametrize("why", [Unavailable("away"), TooMany("flood", delay=1.0)])
def test_while_nobody_can_say_he_stays_but_not_for_ever(why, monkeypatch):
    assert looked(why) == ME
    monkeypatch.setattr(stream, "UNKNOWN_S", 0.0)
    assert looked(why) is None


def test_new_roles_count_and_another_person_does_not_take_over():
    fewer = Caller(user="u", project="p", roles=frozenset({"reader"}))
    assert looked(fewer) == fewer
    assert looked(Caller(user="other", project="p")) is None


def test_in_between_nobody_is_asked():
    async def story():
        return await stream._Allowed(60.0, None).now(ME)

    assert asyncio.run(story()) == ME
