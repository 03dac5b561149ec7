"""The policy: who may do what by default, and what an operator's own file makes of it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshape_controller.api.policy import RULES, Policy
from foreshape_controller.errors import ConfigError
from foreshape_controller.model.caller import OPERATOR, Caller

pytestmark = pytest.mark.unit

BUILT_IN = Policy()
ROLES = st.frozensets(st.sampled_from(("reader", "member", "admin", "service", "")))
PROJECTS = st.sampled_from(("p1", "p2", ""))
CALLERS = st.builds(Caller, user=st.just("u"), project=PROJECTS, roles=ROLES, system=st.booleans())


def caller(project: str, *roles: str, system: bool = False) -> Caller:
    return Caller(user="u", project=project, roles=frozenset(roles), system=system)


def test_the_local_admin_may_everything():
    assert all(BUILT_IN.may(rule, OPERATOR) for rule in RULES)


@given(who=CALLERS, project=PROJECTS)
def test_nobody_but_an_admin_changes_what_is_another_projects(who, project):
    if "admin" in who.roles or (project and project == who.project):
        return
    writes = [r for r, (check, _) in RULES.items() if check.endswith("foreshape:member") or r == "operator:write"]
    assert len(writes) > 5
    assert not any(BUILT_IN.may(rule, who, project) for rule in writes)


@given(who=CALLERS, project=PROJECTS)
def test_nobody_reads_what_is_another_projects_but_those_who_read_everything(who, project):
    if BUILT_IN.may("system_reader", who) or (project and project == who.project):
        return
    assert [r for r in RULES if BUILT_IN.may(r, who, project)] == ["session:show"]


@given(who=CALLERS)
def test_more_roles_never_let_less(who):
    more = Caller(user="u", project=who.project, roles=who.roles | {"admin"}, system=who.system)
    assert all(BUILT_IN.may(r, more) for r in RULES if BUILT_IN.may(r, who))


def test_a_member_of_the_system_is_a_member_of_no_project():
    assert not BUILT_IN.may("events:create", caller("", "member", system=True))
    assert not BUILT_IN.may("events:create", caller("", "member"))


def test_a_rule_that_nobody_wrote_lets_nobody():
    assert not BUILT_IN.may("requests:nonesuch", caller("p1", "admin"))


def test_an_operators_file_says_who_may_and_the_rest_stays(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text('"foreshape:events:create": "role:planner and project_id:%(project_id)s"\n')
    policy = Policy(str(file))
    assert policy.may("events:create", caller("p1", "planner"))
    assert not policy.may("events:create", caller("p1", "member"))
    assert policy.may("events:delete", caller("p1", "member"))


def test_a_file_that_changes_is_read_again_and_one_with_a_mistake_changes_nothing(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text('"foreshape:servers:list": "!"\n')
    policy, who = Policy(str(file)), caller("p1", "reader")
    assert not policy.may("servers:list", who)
    file.write_text('"foreshape:servers:list": "role:reader"\n')
    os.utime(file, ns=(1, 1))
    assert policy.may("servers:list", who)
    file.write_text('"foreshape:servers:list": "role:reader orr"\n')
    os.utime(file, ns=(2, 2))
    assert policy.may("servers:list", who)
    file.unlink()
    assert policy.may("servers:list", who)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"foreshape:servers:lst": "role:reader"', "there is no rule 'foreshape:servers:lst'"),
        ('"foreshape:servers:list": "role:reader or ("', "cannot be read"),
        ("{a: [", "flow node"),
        ("[1, 2]", "every line"),
        ('"foreshape:servers:list": 5', "every line"),
        ("\x00", "leave the option empty"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_at_the_start(tmp_path, text, said):
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="policy_file") as e:
        Policy(str(file))
    assert said in str(e.value)


def test_a_file_that_is_not_there_is_refused_at_the_start(tmp_path):
    with pytest.raises(ConfigError, match="leave the option empty"):
        Policy(str(tmp_path / "nowhere.yaml"))


def test_a_rule_may_say_nobody(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text('"foreshape:operator:write": "!"\n')
    assert not Policy(str(file)).may("operator:write", caller("p1", "admin"))
