"""A project's own view is what the whole view has of it, whoever says whose a server is: the cloud, else its agent."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreshape_controller.model.cloud_word import CloudWord
from store_support import T0, card, open_store, report, sample

pytestmark = [pytest.mark.functional, pytest.mark.engines]

NAMES = tuple(f"vm-{i}" for i in range(6))
PROJECTS = ("p1", "p2", "")


@pytest.fixture
def store():
    made = open_store(None)
    made.told = iter(range(1, 10**9))
    yield made
    made.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    agents=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(PROJECTS), min_size=1),
    cloud=st.dictionaries(st.sampled_from(NAMES), st.sampled_from((*PROJECTS, None))),
    apart=st.booleans(),
)
def test_it_is_the_part_of_the_whole(store, agents, cloud, apart):
    """Each example has servers and projects of its own, beside those of the examples before."""
    k = next(store.told)
    own = {p: f"{p}-{k}" if p else p for p in PROJECTS}
    mine = sorted(agents)
    for host, some in {"hv1": mine[::2], "hv2": mine[1::2]}.items() if apart else {"hv1": mine}.items():
        cards = tuple(card(f"{n}-{k}", project=own[agents[n]]) for n in some)
        at = T0 + 10 * next(store.told)
        store.history.take(report(next(store.told), at, [sample(f"{n}-{k}") for n in some], cards=cards, host=host), at + 1)
    store.cloud_servers.save([CloudWord(server=f"{n}-{k}", project=p and own[p]) for n, p in cloud.items()])
    now = at + 2
    whole = store.inventory.view(now)
    for project in (own["p1"], own["p2"], "nobody"):
        part = store.inventory.view(now, project)
        assert part.servers == tuple(s for s in whole.servers if s.project == project)
        assert part.hosts == ()
        assert store.inventory.owned(project) >= {s.id for s in part.servers}
    for s in whole.servers:
        assert store.inventory.owner(s.id) == s.project
        for project in (own["p1"], own["p2"]):
            assert bool(store.inventory.remembered(s.id, project)) == (s.project == project)
