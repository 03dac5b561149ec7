"""Tokens and passwords of a real Keystone at the controller's API: who sees what, a revoked token, a Keystone that is killed; and the
OpenStack client with `openstack shape …`.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openstack
import pytest
from foreshape_cloudbed import Cloud
from litestar.testing import TestClient

from foreshape_controller.cloud.call import Ways
from foreshape_controller.cloud.session import Access, connect
from foreshape_controller.config import CloudSettings, IdentitySettings
from foreshape_controller.main import build
from foreshape_controller.model.cloud_word import CloudWord
from foreshape_wire.codec import encode
from openstackclient_support import Here, openstack_client
from store_support import card, report, sample, settings

pytestmark = pytest.mark.integration

CACHE_S = 3.0


def link(cloud: Cloud, user: str, **more: Any) -> Any:
    access = cloud.access(user)
    return openstack.connect(**{**access, "auth": {**access["auth"], **more}})


@pytest.fixture
def client(cloud: Cloud, tmp_path) -> Iterator[TestClient[Any]]:
    """A server of demo's project and one of nobody's."""
    base = settings(tmp_path)
    told = replace(base, cloud=CloudSettings(enabled=True), identity=IdentitySettings(token_cache_s=CACHE_S))
    program = build(told, door=connect(Access(timeout_s=30.0, options=cloud.access("foreshape")), Ways()))
    demo = link(cloud, "demo").current_project_id
    cards = [card("vm-1", name="mine", project=demo), card("vm-2", name="theirs", project="other")]
    program.intake.accept("hv1", encode(report(1, time.time(), [sample("vm-1"), sample("vm-2")], cards=cards)), time.time())
    words = [CloudWord(server=s, project=p, name=n) for s, p, n in (("vm-1", demo, "mine"), ("vm-2", "other", "theirs"))]
    program.store.cloud_servers.save(words)
    with TestClient(program.app) as c:
        c.admin = {"Authorization": f"Bearer {program.admin_token}"}  # type: ignore[attr-defined]
        yield c
    program.store.close()


def seen(client: Any, token: str) -> tuple[int, set[str]]:
    reply = client.get("/v1/servers", headers={"X-Auth-Token": token})
    return reply.status_code, {s["name"] for s in reply.json()} if reply.status_code == 200 else set()


@pytest.fixture(scope="module")
def here(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    with openstack_client(cloud, tmp_path_factory.mktemp("controller")) as here:
        yield here


def test_a_tenant_sees_his_servers_and_an_operator_all(here: Here) -> None:
    assert here.names("demo") == {"of-demo"}
    assert here.names("admin") == {"of-demo", "of-admin"}


def test_another_s_server_is_not_there(here: Here) -> None:
    assert "no server" in here.openstack("demo", "server", "show", "of-admin", fails=True)
    assert json.loads(here.openstack("demo", "server", "show", "of-demo", "-f", "json"))["id"] == here.servers["demo"]


def test_operators_commands_are_refused_to_a_tenant_in_words(here: Here) -> None:
    assert "not permitted" in here.openstack("demo", "mode", "set", "act", "--reason", "mine", fails=True)
    assert "hv1" in here.openstack("admin", "host", "list")


def test_a_tenant_opts_out_and_in_again(here: Here) -> None:
    here.openstack("demo", "optout", "of-demo", "--reason", "a launch")
    assert json.loads(here.openstack("demo", "server", "show", "of-demo", "-f", "json"))["mode"] == "observe"
    here.openstack("demo", "optin", "of-demo", "--reason", "over")
    assert json.loads(here.openstack("demo", "server", "show", "of-demo", "-f", "json"))["mode"] == "advise"


def test_first_event_and_first_request_are_one_command_each(here: Here) -> None:
    made = here.openstack(
        "demo",
        "event",
        "create",
        "launch",
        "--scope",
        "server:of-demo",
        "--start",
        "2030-01-01T00:00",
        "--duration",
        "2h",
        "--cpu",
        "2",
        "-f",
        "json",
    )
    assert json.loads(made)["name"] == "launch"
    asked = json.loads(here.openstack("demo", "request", "create", "--vcpus", "1", "--ram", "512", "--for", "2h", "-f", "json"))
    assert asked["said"]
    assert asked["id"] in here.openstack("demo", "request", "list")


def test_a_member_sees_his_own_project_and_an_admin_everything(cloud, client):
    assert seen(client, link(cloud, "demo").auth_token) == (200, {"mine"})
    assert seen(client, link(cloud, "admin").auth_token) == (200, {"mine", "theirs"})
    who = client.get("/v1/session", headers={"X-Auth-Token": link(cloud, "demo").auth_token}).json()
    assert (who["name"], who["project_name"], who["everywhere"]) == ("demo", "demo", False)
    assert "member" in who["roles"]


def test_a_token_for_the_system_reads_and_one_for_a_domain_is_refused(cloud, client):
    admin = link(cloud, "admin")
    admin.session.put(f"{admin.config.get_auth_args()['auth_url']}/system/users/{admin.current_user_id}/roles/{_role(admin, 'reader')}")
    system = _login(cloud, {"system": {"all": True}})
    assert seen(client, system) == (200, {"mine", "theirs"})
    admin.identity.assign_domain_role_to_user("default", admin.current_user_id, _role(admin, "admin"))
    assert seen(client, _login(cloud, {"domain": {"id": "default"}}))[0] == 403
    assert seen(client, _login(cloud, None))[0] == 403, "a token that is for nothing"


def test_an_application_credential_works_and_one_with_access_rules_does_not(cloud, client):
    demo = link(cloud, "demo")
    plain = demo.identity.create_application_credential(demo.current_user_id, name="plain")
    assert seen(client, _by_credential(cloud, plain)) == (200, {"mine"})
    rules = [{"path": "/v2.1/servers", "method": "GET", "service": "compute"}]
    ruled = demo.identity.create_application_credential(demo.current_user_id, name="ruled", access_rules=rules)
    assert seen(client, _by_credential(cloud, ruled))[0] in (401, 403)


def test_a_revoked_token_is_refused_within_the_cache_time(cloud, client):
    demo = link(cloud, "demo")
    token = demo.auth_token
    assert seen(client, token) == (200, {"mine"})
    url = demo.config.get_auth_args()["auth_url"]
    admin = link(cloud, "admin")
    assert admin.session.delete(f"{url}/auth/tokens", headers={"X-Subject-Token": token}).status_code == 204
    revoked = time.monotonic()
    while seen(client, token)[0] == 200:
        assert time.monotonic() - revoked < CACHE_S + 2
        time.sleep(0.1)
    assert seen(client, token)[0] == 401


def test_a_killed_keystone_lets_known_tokens_live_for_the_cache_time_and_the_operators_for_ever(cloud, client):
    known, unknown = link(cloud, "demo").auth_token, link(cloud, "demo").auth_token
    assert seen(client, known)[0] == 200
    asked = time.monotonic()
    with cloud.without("keystone"):
        if time.monotonic() - asked < CACHE_S - 1:
            assert seen(client, known)[0] == 200
        reply = client.get("/v1/servers", headers={"X-Auth-Token": unknown})
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
        while seen(client, known)[0] == 200:
            assert time.monotonic() - asked < CACHE_S + 5
            time.sleep(0.1)
        assert seen(client, known)[0] == 503
        assert client.get("/v1/servers", headers=client.admin).status_code == 200
    deadline = time.monotonic() + 60
    while seen(client, known)[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_password_logs_in_for_a_project_or_the_system_and_nobody_else_gets_in(cloud, client):
    def log_in(whose, **more):
        auth = cloud.access(whose)["auth"]
        client.cookies.clear()
        return client.post("/v1/session", json={"user": auth["username"], "password": auth["password"], **more})

    demo = log_in("demo", project="demo")
    assert demo.status_code == 201, demo.text
    assert (demo.json()["project_name"], demo.json()["everywhere"]) == ("demo", False)
    assert {s["name"] for s in client.get("/v1/servers").json()} == {"mine"}
    assert client.get("/v1/hosts").status_code == 403
    assert client.delete("/v1/session", headers={"X-Foreshape-CSRF": demo.json()["csrf"]}).status_code == 204
    admin = link(cloud, "admin")
    admin.session.put(f"{admin.config.get_auth_args()['auth_url']}/system/users/{admin.current_user_id}/roles/{_role(admin, 'reader')}")
    system = log_in("admin", system=True)
    assert (system.status_code, system.json()["project"], system.json()["everywhere"]) == (201, "", True)
    assert {s["name"] for s in client.get("/v1/servers").json()} == {"mine", "theirs"}
    for wrong in ({"password": "wrong"}, {"project": "nowhere"}, {"user_domain": "nowhere"}, {"user": "nobody"}):
        assert log_in("demo", **{"project": "demo", **wrong}).status_code == 401, wrong
    unscoped = log_in("demo")
    assert (unscoped.status_code, "default project" in unscoped.json()["detail"]) == (403, True)


def test_who_needs_a_second_factor_in_keystone_is_told_to_bring_a_token(cloud, client):
    admin, demo = link(cloud, "admin"), link(cloud, "demo")
    url = f"{admin.config.get_auth_args()['auth_url']}/users/{demo.current_user_id}"
    rules = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "application_credential"]]}
    admin.session.patch(url, json={"user": {"options": rules}})
    try:
        auth = cloud.access("demo")["auth"]
        reply = client.post("/v1/session", json={"user": auth["username"], "password": auth["password"], "project": "demo"})
        assert (reply.status_code, "second factor" in reply.json()["detail"]) == (403, True), reply.text
    finally:
        admin.session.patch(url, json={"user": {"options": {"multi_factor_auth_enabled": None, "multi_factor_auth_rules": None}}})


def _role(admin: Any, name: str) -> str:
    return str(admin.identity.find_role(name).id)


def _login(cloud: Cloud, scope: dict[str, Any] | None) -> str:
    """A token of admin's for something else than his project."""
    auth = cloud.access("admin")["auth"]
    user = {"name": auth["username"], "domain": {"id": "default"}, "password": auth["password"]}
    return _post(cloud, {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope or "unscoped"})


def _by_credential(cloud: Cloud, made: Any) -> str:
    return _post(
        cloud, {"identity": {"methods": ["application_credential"], "application_credential": {"id": made.id, "secret": made.secret}}}
    )


def _post(cloud: Cloud, auth: dict[str, Any]) -> str:
    admin = link(cloud, "admin")
    reply = admin.session.post(f"{admin.config.get_auth_args()['auth_url']}/auth/tokens", json={"auth": auth}, authenticated=False)
    return str(reply.headers["X-Subject-Token"])
