"""Seats: how many tokens wait for Keystone's word, and that a place is given back however it ends."""

import asyncio
import threading

import pytest

from foreshape_controller.api.identity import WAITING, Seats
from foreshape_controller.errors import Unauthenticated, Unavailable
from foreshape_controller.model.caller import Caller

pytestmark = pytest.mark.unit

SOMEBODY = Caller(user="u", project="p")


def refuse():
    raise Unauthenticated("no")


def test_beyond_the_bound_nobody_waits_and_afterwards_all_do_again():
    go = threading.Event()

    def slow():
        go.wait(10)
        return SOMEBODY

    async def story():
        seats = Seats("test")
        waiting = [asyncio.create_task(seats.take(slow)) for _ in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await seats.take(slow)
        go.set()
        assert set(await asyncio.gather(*waiting)) == {SOMEBODY}
        for _ in range(WAITING + 1):
            with pytest.raises(Unauthenticated):
                await seats.take(refuse)

    asyncio.run(story())
