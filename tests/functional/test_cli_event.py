"""``foreshape event …`` against the controller's real API."""

import csv
import io
import json
import logging

import pytest
import structlog
import yaml

from cli_support import Operator
from event_support import HOUR, HOURLY_SALE, START, ics, measured, vevent
from foreshape_controller.main import build
from foreshape_demo.serve import Serving
from store_support import settings

pytestmark = pytest.mark.functional

CREATE = ("event", "create", "Black Friday", "--scope", "project:p1", "--start", "2026-01-09T09:00", "--duration", "90min", "--cpu", "3")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = tmp_path_factory.mktemp("served")
    program = build(settings(folder), clock=lambda: START)
    with Serving(program, 0) as api:
        yield program, ["--url", api.url, "--token-file", str(folder / "admin-token")]
    program.store.close()


@pytest.fixture
def program(served):
    for event in served[0].store.events.all():
        served[0].store.events.remove(event.id)
    return served[0]


@pytest.fixture
def ask(served, program, capsys):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # each test begins with a plain log
    return Operator(capsys, tuple(served[1]))


@pytest.fixture
def calendar(tmp_path):
    def write(*events, name="holidays.ics"):
        path = tmp_path / name
        path.write_bytes(ics(*events))
        return str(path)

    return write


@pytest.mark.parametrize("form", ["json", "yaml", "csv", "table"])
def test_events_are_listed_and_shown_in_every_form(ask, form):
    assert ask(*CREATE)[0] == 0
    for words in (("event", "list"), ("event", "show", "Black Friday")):
        code, out, _ = ask(*words, "-f", form)
        assert code == 0
        if form == "json":
            assert json.loads(out)
        elif form == "yaml":
            assert yaml.safe_load(out)
        elif form == "csv":
            header, row = csv.reader(io.StringIO(out))
            assert dict(zip(header, row, strict=True))["name"] == "Black Friday"
        else:
            assert "2026-01-09 09:00 UTC, 90 min" in out
            assert "cpu ×3" in out
            assert "not seen yet" in out


def test_the_list_says_what_was_learned_from_how_many_occurrences(ask, program):
    made = json.loads(ask(*CREATE, "--recurrence", "FREQ=DAILY", "-f", "json")[1])
    program.store.events.learn([measured(made["id"], 2.0, START + n * 86400) for n in range(3)])
    _code, out, _ = ask("event", "list", "--max-width", "200")
    row = [cell.strip() for cell in out.splitlines()[3].strip("|").split("|")]
    assert row[-3:] == ["cpu ×3", "cpu ×2.06", "3"], "(3^0.25 * 2^3)^(1/3.25) = 2.06"


def test_every_word_of_an_event_is_sent(ask):
    words = ("--time-zone", "Europe/Amsterdam", "--recurrence", "FREQ=WEEKLY;BYDAY=FR", "--except", "2026-01-16T09:00")
    code, out, _ = ask(*CREATE, *words, "--memory", "1.5", "--lead", "30min", "--tail", "1h", "--note", "as every year", "-f", "json")
    assert code == 0
    shown = json.loads(out)
    assert shown["next_start"] == START + 4 * 86400 + 8 * HOUR, "09:00 in Amsterdam"
    assert shown["declared"] == {"cpu": 3.0, "memory": 1.5}
    assert (shown["lead_s"], shown["tail_s"], shown["note"]) == (1800.0, 3600.0, "as every year")
    assert shown["recurrence"] == "FREQ=WEEKLY;BYDAY=FR"


def test_an_end_may_stand_for_a_duration(ask):
    words = ("event", "create", "Fair", "--scope", "cloud", "--start", "2026-01-09T09:00", "--end", "2026-01-10T09:00", "--disk", "2")
    assert json.loads(ask(*words, "-f", "json")[1])["next_end"] == START + 5 * 86400 + 9 * HOUR


def test_an_event_without_a_factor_says_that_it_waits(ask):
    code, out, _ = ask(*CREATE[:-2])
    assert code == 0
    assert "changes nothing until an occurrence was seen" in out


def test_a_deleted_event_is_gone(ask):
    ask(*CREATE)
    code, out, _ = ask("event", "delete", "Black Friday")
    assert code == 0
    assert "deleted" in out
    assert ask("event", "list", "-f", "json")[1].strip() == "[]"
    code, _, err = ask("event", "delete", "Black Friday")
    assert code == 1
    assert err.startswith("foreshape: there is no event 'Black Friday'")


def test_a_calendar_is_imported_and_imported_again(ask, calendar):
    file = calendar(vevent("a", *HOURLY_SALE, "RRULE:FREQ=WEEKLY", summary="Mass"), vevent("b", *HOURLY_SALE, summary="Fair"))
    code, out, _ = ask("event", "import", file, "--scope", "cloud", "--cpu", "2.0", "-f", "json")
    assert code == 0
    assert json.loads(out) == {"source": "holidays", "added": 2, "updated": 0, "unchanged": 0, "removed": 0}
    again = calendar(vevent("a", *HOURLY_SALE, "RRULE:FREQ=DAILY", summary="Mass"))
    code, out, _ = ask("event", "import", again, "--scope", "cloud", "--cpu", "2.0", "--keep", "-f", "json")
    assert json.loads(out) == {"source": "holidays", "added": 0, "updated": 1, "unchanged": 0, "removed": 0}
    code, out, _ = ask("event", "import", again, "--scope", "cloud", "--cpu", "2.0")
    assert "| Removed   | 1        |" in out
    assert {e["declared"]["cpu"] for e in json.loads(ask("event", "list", "-f", "json")[1])} == {2.0}


def test_a_calendar_s_name_can_be_given(ask, calendar):
    ask("event", "import", calendar(vevent("a", *HOURLY_SALE)), "--scope", "cloud", "--name-calendar", "shop")
    assert json.loads(ask("event", "show", "Sale", "-f", "json")[1])["source"] == "shop"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("event", "create", "x", "--scope", "cloud", "--start", "2026-01-09T09:00"), 2, "--end --duration"),
        ((*CREATE, "--end", "2026-01-10T09:00"), 2, "not allowed with"),
        ((*CREATE, "--lead", "soon"), 2, "write it as 90min"),
        ((*CREATE, "--cpu", "much"), 2, "--cpu"),
        ((*CREATE, "--cpu", "-1"), 2, "--cpu: '-1': write a number from 0"),
        ((*CREATE, "--cpu", "nan"), 2, "'nan': write a number from 0"),
        ((*CREATE, "--time-zone", "Mars"), 1, "'Mars' is not a known time zone"),
        ((*CREATE, "--recurrence", "FREQ=SECONDLY"), 1, "SECONDLY"),
        (("event", "import", "/nowhere/x.ics"), 2, "cannot read /nowhere/x.ics: no such file"),
        (("event", "import", "/"), 2, "cannot read /"),
        (("event", "show", "nobody"), 1, "there is no event 'nobody'"),
    ],
    ids=lambda v: " ".join(v[-2:]) if isinstance(v, tuple) else "",
)
def test_what_makes_no_sense_is_a_sentence_and_an_exit_code(ask, words, code, said):
    found, _, err = ask(*words)
    assert found == code
    assert said in err
    assert "Traceback" not in err


def test_a_broken_calendar_names_its_component(ask, calendar):
    code, _, err = ask("event", "import", calendar(vevent("bad", "DTSTART:garbage")), "--scope", "cloud")
    assert code == 1
    assert "'bad'" in err
    assert "DTSTART" in err


def test_a_huge_file_is_not_even_sent(ask, tmp_path):
    huge = tmp_path / "huge.ics"
    huge.write_bytes(b"x" * (5 * 1024 * 1024))
    code, _, err = ask("event", "import", str(huge), "--scope", "cloud")
    assert code == 2
    assert "in parts" in err
