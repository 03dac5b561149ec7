"""The audit's rows: added in a chain, kept by the database itself, forgotten from the old end only."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, exc, insert, text, update

from foreshape_controller.model.audit import Entry, Stage, chained
from foreshape_controller.store.audit import TEXT_MOST, Filter
from foreshape_controller.store.schema import audit
from store_support import T0, open_store

pytestmark = [pytest.mark.functional, pytest.mark.engines]


@pytest.fixture
def store(tmp_path):
    made = open_store(tmp_path / "audit.db")
    yield made
    made.close()


def entry(number: int = 0, stage: Stage = Stage.ENDED, **more) -> Entry:
    words = {"method": "PUT", "route": "/v1/mode", "path": "/v1/mode", "user": "alice", "project": "p1", "status": 200}
    return Entry(**{"at": T0 + number, "request": f"req-{number}", "stage": stage, **words, **more})


def fill(store, count=5):
    for i in range(count):
        store.audit.add(entry(i))


def test_rows_are_numbered_without_gaps_and_the_chain_holds(store):
    assert [store.audit.add(entry(i)) for i in range(3)] == [1, 2, 3]
    found = store.audit.verify()
    assert (found.rows, found.first, found.last, found.broken) == (3, 1, 3, None)
    assert len(found.head) == 64


def test_a_request_is_told_by_its_end_and_one_without_an_end_by_its_beginning(store):
    store.audit.add(entry(1, Stage.BEGUN, request="a", status=0))
    store.audit.add(entry(2, request="a"))
    store.audit.add(entry(3, Stage.BEGUN, request="b", status=0))
    assert [(k.entry.request, k.entry.stage) for k in store.audit.list(Filter())] == [("b", Stage.BEGUN), ("a", Stage.ENDED)]


@pytest.mark.parametrize("how", ["change", "delete", "truncate"])
def test_the_database_itself_refuses_to_change_or_forget(store, how):
    fill(store)
    statements = {"change": update(audit).values(user="mallory"), "delete": delete(audit).where(audit.c.id == 5), "truncate": delete(audit)}
    with pytest.raises(exc.DBAPIError, match="audit is"), store.db.engine.begin() as conn:
        conn.execute(statements[how])
    assert store.audit.verify().broken is None
    assert store.audit.verify().rows == 5


def test_a_row_that_is_put_in_behind_its_back_breaks_the_chain(store):
    fill(store, 2)
    forged = {f: getattr(entry(9), f) for f in Entry.__struct_fields__}
    with store.db.engine.begin() as conn:
        conn.execute(insert(audit), {**forged, "stage": "ended", "id": 3, "hash": "0" * 64})
    assert store.audit.verify().broken == 3


def test_whoever_switches_the_triggers_off_is_found_out(store):
    fill(store)
    with store.db.engine.begin() as conn:
        if conn.dialect.name == "sqlite":
            conn.execute(text("DROP TRIGGER audit_stays"))
            conn.execute(text("DROP TRIGGER audit_is_kept"))
        else:
            conn.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        conn.execute(update(audit).where(audit.c.id == 2).values(user="mallory"))
    assert (store.audit.verify().broken, store.audit.verify().why) == (2, "it is not what was written")
    with store.db.engine.begin() as conn:
        conn.execute(delete(audit).where(audit.c.id == 2))
    assert (store.audit.verify().broken, store.audit.verify().why) == (3, "row 2 is missing")


def test_what_is_older_than_its_time_goes_and_the_chain_goes_on(store):
    fill(store, 10)
    assert store.audit.tidy(T0 + 4) == 4
    assert store.audit.tidy(T0 + 4) == 0
    store.audit.add(entry(11))
    found = store.audit.verify()
    assert (found.rows, found.first, found.last, found.broken) == (7, 5, 11, None)


def test_all_of_it_may_be_too_old(store):
    fill(store, 3)
    assert store.audit.tidy(T0 + 100) == 3
    assert store.audit.add(entry(200)) == 4
    assert store.audit.verify().broken is None


def test_after_a_restart_the_chain_goes_on(tmp_path):
    for i in range(3):
        store = open_store(tmp_path / "audit.db")
        store.audit.add(entry(i))
        found = store.audit.verify()
        store.close()
    assert (found.rows, found.broken) == (3, None)


def test_it_is_asked_by_project_cause_route_status_and_time(store):
    store.audit.add(entry(1, project="p1", cause="c1"))
    store.audit.add(entry(2, project="p2", status=403, stage=Stage.REFUSED))
    store.audit.add(entry(3, project="p1", route="/v1/stop", scope="cloud"))

    def found(**f):
        return [k.id for k in store.audit.list(Filter(**f))]

    assert found(project="p1") == [3, 1]
    assert found(cause="c1") == [1]
    assert found(status=4) == found(status=403) == [2]
    assert found(route="/v1/stop") == found(scope="cloud") == [3]
    assert found(since=T0 + 2) == [3, 2]
    assert found(until=T0 + 2) == [1]
    assert found(before=3, limit=1) == [2]
    assert found(project="") == []


def test_long_words_are_cut(store):
    store.audit.add(entry(path="/" + "x" * 5000))
    assert len(store.audit.list(Filter())[0].entry.path) == TEXT_MOST
    assert store.audit.verify().broken is None


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=50)
ENTRIES = st.builds(Entry, at=st.floats(0, 4e9), request=TEXTS, stage=st.sampled_from(Stage), method=TEXTS, route=TEXTS, path=TEXTS)


@settings(max_examples=200)
@given(st.lists(ENTRIES, min_size=1), st.data())
def test_no_change_of_any_row_keeps_the_hashes(rows, data):
    def head(told):
        before = ""
        for number, row in enumerate(told, 1):
            before = chained(before, number, row)
        return before

    at = data.draw(st.integers(0, len(rows) - 1))
    forged = msgspec.structs.replace(rows[at], user=rows[at].user + "x")
    assert head([*rows[:at], forged, *rows[at + 1 :]]) != head(rows)
    assert head(rows[:at] + rows[at + 1 :]) != head(rows)
