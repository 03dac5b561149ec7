"""The DevStack plugin as DevStack calls it, on machines that are folders; see tests/support/devstack_support.py.

What is not DevStack's is refused there: a function that it does not have, or another number of arguments, ends the run.
"""

import configparser
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest
import yaml

from cloud_emulator import Emulator, running
from devstack_support import FIRST_NODE, PHASES, PLUGIN, REPOSITORY, SECOND_NODE, STANDINS, Node, table
from foreshape_agent.config import load as load_agent
from foreshape_controller.config import load as load_controller
from foreshape_weigher.options import OPTIONS

pytestmark = pytest.mark.functional

TOKEN = "0123456789abcdef-of-both-nodes"
CONTROLLER_ONLY = "key,n-api,placement-api"


def named(calls: list[tuple[str, ...]], name: str) -> list[tuple[str, ...]]:
    """Arguments of the calls of one function."""
    return [call[1:] for call in calls if call[0] == name]


def changed(folder: Path, old: str, new: str) -> Path:
    """A copy of the plugin with something wrong in it."""
    copy = folder / "checkout/devstack"
    shutil.copytree(REPOSITORY / "etc", copy.parent / "etc")
    copy.mkdir()
    shutil.copy(PLUGIN / "settings", copy)
    text = (PLUGIN / "plugin.sh").read_text()
    assert old in text
    (copy / "plugin.sh").write_text(text.replace(old, new))
    return copy


# -- the scripts


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [PLUGIN / "plugin.sh", PLUGIN / "settings", PLUGIN / "packages.sh", STANDINS / "devstack_standins.bash"]
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "-x", *scripts], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_function_that_devstack_does_not_have_is_refused(tmp_path: Path) -> None:
    node = Node(tmp_path, plugin=changed(tmp_path, "stop_process foreshape-agent", "screen_stop foreshape-agent"))
    done, _ = node.attempt("unstack")
    assert done.returncode != 0
    assert "UNKNOWN to DevStack and to this machine: screen_stop" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("get_or_create_role foreshape", "get_or_create_role foreshape Default", "get_or_create_role: 2 arguments, DevStack takes 1 to 1"),
        ('iniset "$conf" api tls off', 'iniset "$conf" api tls', "iniset: 3 arguments, DevStack takes 4 to 5"),
    ],
)
def test_a_wrong_number_of_arguments_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    done, _ = Node(tmp_path, plugin=changed(tmp_path, old, new)).attempt("stack install", "stack post-config")
    assert done.returncode != 0
    assert said in done.stderr


def test_an_option_that_the_program_does_not_have_is_found(tmp_path: Path) -> None:
    node = Node(tmp_path, plugin=changed(tmp_path, "api admin_token_file", "api admin_token"))
    node.run("stack post-config")
    with pytest.raises(Exception, match="admin_token"):
        load_controller(node.conf / "controller.conf")


@pytest.mark.skipif("FORESHAPE_DEVSTACK_TREE" not in os.environ, reason="FORESHAPE_DEVSTACK_TREE names no checkout of openstack/devstack")
def test_devstack_has_each_function_and_means_by_it_what_was_recorded() -> None:
    for name, (file, _, usage) in table().items():
        text = (Path(os.environ["FORESHAPE_DEVSTACK_TREE"]) / file).read_text()
        found = re.search(rf"((?:^ *#.*\n)*)^ *function {name} {{", text, re.MULTILINE)
        assert found, f"{file} has no {name}"
        assert usage in found.group(1), name


# -- one node


def test_one_node_runs_both_services_from_an_environment_of_their_own(tmp_path: Path) -> None:
    node = Node(tmp_path)
    calls = node.stack()
    bin_dir = node.data / "venv/bin"
    assert named(calls, "pip") == [("install", "-c", f"{REPOSITORY}/constraints.txt", "-e", f"{REPOSITORY}[agent,controller,openstack]")]
    assert named(calls, "run_process") == [
        (
            "foreshape-controller",
            f"{bin_dir}/foreshape-controller --config-file {node.conf}/controller.conf",
            "",
            "",
            f"OS_CLIENT_CONFIG_FILE={node.conf}/clouds.yaml",
        ),
        ("foreshape-agent", f"{bin_dir}/foreshape-agent --config-file {node.conf}/agent.conf", "libvirt"),
    ]
    assert node.running == {"foreshape-controller", "foreshape-agent"}


def test_nothing_is_done_before_its_phase(tmp_path: Path) -> None:
    """DevStack's order: packages, programs, configuration and accounts, services, checks."""
    node = Node(tmp_path)
    done = {phase: {call[0] for call in node.stack(phase)} for phase in PHASES}
    quiet = {"define_plugin", "enable_service", "echo_summary"}
    assert done["pre-install"] <= quiet
    assert done["install"] - quiet == {"pip"}
    accounts = {name for name in table() if name.startswith("get_or_")}
    assert done["post-config"] - quiet == {"iniset"} | accounts
    assert done["extra"] - quiet == {"run_process", "wait_for_service", "foreshape", "foreshape-agent", "stdin"}
    assert done["test-config"] - quiet == {"foreshape"}


def test_the_controller_waits_for_nothing_and_the_agent_for_the_controller(tmp_path: Path) -> None:
    order = [
        call[0] + " " + call[1] for call in Node(tmp_path).stack() if call[0] in {"run_process", "wait_for_service", "foreshape-agent"}
    ]
    assert [words.split("/")[0] for words in order] == [
        "run_process foreshape-controller",
        "wait_for_service 1",
        "foreshape-agent --config-file",
        "run_process foreshape-agent",
    ]


def test_keystone_gets_a_user_with_one_role_in_the_service_project_and_an_endpoint(tmp_path: Path) -> None:
    calls = Node(tmp_path).stack()
    url = "http://192.0.2.11:8470"
    assert [call for call in calls if call[0].startswith("get_or_")] == [
        ("get_or_create_role", "foreshape"),
        ("get_or_create_user", "foreshape", "it's secret", "Default"),
        ("get_or_add_user_project_role", "foreshape", "foreshape", "service", "Default", "Default"),
        ("get_or_create_service", "foreshape", "foreshape", "Foreshape: sizes of VMs by forecast"),
        ("get_or_create_endpoint", "foreshape", "RegionOne", url, url, url),
    ]


def test_the_controller_accepts_its_configuration(tmp_path: Path) -> None:
    node = Node(tmp_path, local={"FORESHAPE_MODE": "observe"})
    node.stack()
    settings = load_controller(node.conf / "controller.conf")
    state = node.data / "controller"
    assert settings.store.url == f"sqlite:///{state}/controller.db"
    assert (settings.api.bind, settings.api.port, settings.api.tls, settings.api.insecure) == ("0.0.0.0", 8470, "off", True)
    assert settings.api.admin_token_file == f"{state}/admin-token"
    assert settings.learn.models_dir == f"{state}/models"
    assert settings.plan.default_mode == "observe"
    assert (settings.plan.tiers_file, settings.plan.segments_file) == (f"{node.conf}/tiers.yaml", f"{node.conf}/segments.yaml")
    assert all((node.conf / name).is_file() for name in ("tiers.yaml", "segments.yaml"))
    assert (settings.cloud.enabled, settings.cloud.name, settings.cloud.region) == (True, "foreshape", "RegionOne")


def test_the_agent_accepts_its_configuration(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.stack()
    settings = load_agent(node.conf / "agent.conf")
    assert (settings.host_name, settings.controller_url, settings.insecure) == ("node1", "http://192.0.2.11:8470", True)
    assert settings.state_dir == f"{node.data}/agent"
    assert settings.on_stop == "restore"


def test_secrets_can_be_read_by_the_services_user_only(tmp_path: Path) -> None:
    node = Node(tmp_path, local={"FORESHAPE_ADMIN_TOKEN": TOKEN})
    node.stack()
    modes = {p.name: p.stat().st_mode & 0o777 for p in (node.conf / "clouds.yaml", node.data / "controller", node.data / "agent")}
    assert modes == {"clouds.yaml": 0o600, "controller": 0o700, "agent": 0o700}
    token = node.data / "controller/admin-token"
    assert (token.read_text(), token.stat().st_mode & 0o777) == (f"{TOKEN}\n", 0o600)


def test_no_secret_is_written_to_devstacks_log(tmp_path: Path) -> None:
    """stack.sh runs with xtrace: what a plugin expands is logged unless it takes care."""
    done, _ = Node(tmp_path, local={"FORESHAPE_ADMIN_TOKEN": TOKEN}).attempt(*(f"stack {phase}" for phase in PHASES))
    log = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "FORESHAPE_ADMIN_TOKEN=" not in line)
    assert "plugin.sh stack extra" in log, "xtrace is not on"
    assert TOKEN not in log
    assert "it's secret" not in log
    assert "join-token-of-the-controller" not in log


def test_clouds_yaml_survives_any_password(tmp_path: Path) -> None:
    node = Node(tmp_path, local={"SERVICE_PASSWORD": 'a\'b: "c" $d #e\\'})
    node.stack("install", "post-config")
    cloud = yaml.safe_load((node.conf / "clouds.yaml").read_text())["clouds"]["foreshape"]
    assert cloud == {
        "region_name": "RegionOne",
        "auth": {
            "auth_url": "http://192.0.2.11/identity",
            "username": "foreshape",
            "password": 'a\'b: "c" $d #e\\',
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
    }


def test_the_operators_command_knows_where_and_with_which_token(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.stack()
    node.data.joinpath("venv/bin/foreshape").unlink()
    node.data.joinpath("venv/bin/foreshape").write_text('#!/bin/sh\nenv | grep ^FORESHAPE_ | sort; echo "$@"\n')
    node.data.joinpath("venv/bin/foreshape").chmod(0o755)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("FORESHAPE_")}
    said = subprocess.run([node.command, "host", "list"], capture_output=True, text=True, check=True, timeout=10, env=clean).stdout
    assert said.splitlines() == [
        "FORESHAPE_CA_FILE=",
        f"FORESHAPE_TOKEN_FILE={node.data}/controller/admin-token",
        "FORESHAPE_URL=http://192.0.2.11:8470",
        "host list",
    ]


# -- TLS


def test_behind_devstacks_tls_proxy_the_controller_listens_on_loopback_and_everybody_checks_the_certificate(tmp_path: Path) -> None:
    node = Node(tmp_path, FIRST_NODE + ",tls-proxy")
    bundle = tmp_path / "opt/data/ca-bundle.pem"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("certificates\n")
    calls = node.stack()
    assert named(calls, "start_tls_proxy") == [("foreshape", "*", "8470", "127.0.0.1", "18470")]
    api = load_controller(node.conf / "controller.conf").api
    assert (api.bind, api.port, api.tls, api.insecure) == ("127.0.0.1", 18470, "off", False)
    agent = load_agent(node.conf / "agent.conf")
    assert (agent.controller_url, agent.ca_file, agent.insecure) == ("https://192.0.2.11:8470", str(bundle), False)
    assert yaml.safe_load((node.conf / "clouds.yaml").read_text())["clouds"]["foreshape"]["cacert"] == str(bundle)
    assert f"FORESHAPE_CA_FILE:-{bundle}" in node.command.read_text()
    assert named(calls, "get_or_create_endpoint")[0][2] == "https://192.0.2.11:8470"


# -- which services, which nodes


@pytest.mark.parametrize(
    ("services", "local", "running"),
    [
        (FIRST_NODE, {}, {"foreshape-controller", "foreshape-agent"}),
        (CONTROLLER_ONLY, {}, {"foreshape-controller"}),
        (SECOND_NODE, {"FORESHAPE_ADMIN_TOKEN": TOKEN}, {"foreshape-agent"}),
        (FIRST_NODE, {"DISABLED_SERVICES": "foreshape-agent"}, {"foreshape-controller"}),
        (FIRST_NODE, {"DISABLED_SERVICES": "foreshape-controller", "FORESHAPE_ADMIN_TOKEN": TOKEN}, {"foreshape-agent"}),
        (FIRST_NODE, {"DISABLED_SERVICES": "foreshape-agent,foreshape-controller"}, set()),
        (FIRST_NODE, {"VIRT_DRIVER": "fake"}, {"foreshape-controller"}),
        ("horizon,c-vol", {}, set()),
    ],
)
def test_each_service_comes_with_what_it_works_beside(tmp_path: Path, services: str, local: dict[str, str], running: set[str]) -> None:
    node = Node(tmp_path, services, local)
    calls = node.stack()
    assert node.running == running
    present = {p.name for p in node.conf.glob("*")}
    assert ("agent.conf" in present) == ("foreshape-agent" in running)
    assert ("controller.conf" in present) == ("clouds.yaml" in present) == node.command.exists() == ("foreshape-controller" in running)
    assert bool(named(calls, "get_or_create_user")) == ("foreshape-controller" in running)
    assert bool(named(calls, "pip")) == bool(running)


def test_a_second_node_asks_the_first_ones_controller_for_its_join_token(tmp_path: Path) -> None:
    node = Node(tmp_path, SECOND_NODE, {"FORESHAPE_ADMIN_TOKEN": TOKEN})
    calls = node.stack()
    door = ("--url", "http://192.0.2.11:8470", "--token-file", f"<{TOKEN}>")
    assert named(calls, "foreshape") == [
        (*door, "agent", "enroll", "node1", "-f", "value", "-c", "join_token"),
        (*door, "host", "show", "node1", "-f", "value", "-c", "fresh"),
    ]
    assert named(calls, "stdin") == [("join-token-of-the-controller",)]
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "calls" and TOKEN in p.read_text(errors="replace")]
    assert kept == [], "the operators' token stays on the first node"


def test_a_second_node_checks_the_first_ones_certificate(tmp_path: Path) -> None:
    node = Node(tmp_path, SECOND_NODE + ",tls-proxy", {"FORESHAPE_ADMIN_TOKEN": TOKEN})
    asked = named(node.stack(), "foreshape")
    assert all(call[:6:2] == ("--url", "--token-file", "--ca-file") for call in asked)
    assert {(call[1], call[5]) for call in asked} == {("https://192.0.2.11:8470", f"{tmp_path}/opt/data/ca-bundle.pem")}


def test_a_second_node_may_get_a_join_token_by_hand_and_uses_it_once(tmp_path: Path) -> None:
    node = Node(tmp_path, SECOND_NODE, {"FORESHAPE_JOIN_TOKEN": "from-the-first-node"})
    first = node.stack()
    assert named(first, "stdin") == [("from-the-first-node",)]
    assert named(first, "foreshape") == []
    node.unstack()
    again = node.stack()
    assert named(again, "stdin") == []
    assert node.running == {"foreshape-agent"}


def test_a_second_node_without_any_token_says_what_to_set(tmp_path: Path) -> None:
    done, _ = Node(tmp_path, SECOND_NODE).attempt("stack install", "stack post-config", "stack extra")
    assert done.returncode != 0
    assert "set FORESHAPE_ADMIN_TOKEN in local.conf of both nodes" in done.stderr
    assert "'foreshape agent enroll node1' prints on the first" in done.stderr


# -- the guide


def guide() -> str:
    return (PLUGIN / "README.md").read_text()


def examples() -> list[dict[str, str]]:
    """The guide's local.conf files, their own references resolved."""
    found = []
    for block in re.findall(r"    \[\[local\|localrc\]\]\n((?:    .+\n)+)", guide()):
        values: dict[str, str] = {}
        for name, value in re.findall(r"^ +(\w+)=(.*)$", block, re.MULTILINE):
            values[name] = Template(value).substitute(values)
        assert "enable_plugin foreshape https://" in block
        found.append(values)
    return found


def test_the_guides_local_conf_for_one_node_works(tmp_path: Path) -> None:
    node = Node(tmp_path, local=examples()[0])
    node.stack()
    assert node.running == {"foreshape-controller", "foreshape-agent"}


def test_the_guides_local_conf_for_the_second_node_works(tmp_path: Path) -> None:
    node = Node(tmp_path, local=examples()[1])
    asked = named(node.stack(), "foreshape")
    assert node.running == {"foreshape-agent"}
    assert asked[0][:2] == ("--url", "http://192.168.42.11:8470")


def test_the_guide_names_every_setting_and_no_other() -> None:
    settings = re.findall(r"^(FORESHAPE_\w+)=(?:\$\{\1:-|\$\(trueorfalse)", (PLUGIN / "settings").read_text(), re.MULTILINE)
    table = guide().split("## What may be set")[1].split("\n## ")[0]
    assert set(re.findall(r"FORESHAPE_\w+", table)) == set(settings) | {"FORESHAPE_CONTROLLER_CONF", "FORESHAPE_AGENT_CONF"}


def test_the_guides_options_in_local_conf_exist(tmp_path: Path) -> None:
    """DevStack merges them after post-config."""
    node = Node(tmp_path)
    node.stack("install", "post-config")
    merged = re.findall(r"\[\[post-config\|\$FORESHAPE_(\w+)_CONF\]\]\n((?:    .+\n)+)", guide())
    assert len(merged) == 2
    for program, text in merged:
        file = node.conf / f"{program.lower()}.conf"
        plain = re.sub(r"^    ", "", text, flags=re.MULTILINE)
        file.write_text(plain if program == "CONTROLLER" else f"{plain}[controller]\ncontroller_url = http://127.0.0.1\n")
    assert load_controller(node.conf / "controller.conf").plan.interval_s == 30
    assert load_agent(node.conf / "agent.conf").interval_s == 5


# -- rights


def test_rights_are_given_where_an_api_runs_beside_what_is_there(tmp_path: Path) -> None:
    node = Node(tmp_path)
    theirs = tmp_path / "etc/nova/policy.d/theirs.yaml"
    theirs.parent.mkdir()
    theirs.write_text("{}\n")
    node.stack("install", "post-config")
    given = {str(p.relative_to(tmp_path / "etc")) for p in (tmp_path / "etc").glob("*/policy.d/foreshape-*.yaml")}
    assert given == {
        "keystone/policy.d/foreshape-read.yaml",
        "nova/policy.d/foreshape-act.yaml",
        "nova/policy.d/foreshape-read.yaml",
        "placement/policy.d/foreshape-act.yaml",
        "placement/policy.d/foreshape-read.yaml",
    }
    for path in given:
        service, kind = path.split("/")[0], path.split("-")[-1]
        assert (tmp_path / "etc" / path).read_text() == (REPOSITORY / "etc/policy.d" / f"{service}-{kind}").read_text()
    node.clean()
    assert [p.name for p in (tmp_path / "etc").rglob("*.yaml")] == ["theirs.yaml"]


def test_who_may_only_advise_gets_no_right_to_act_and_loses_one_given_before(tmp_path: Path) -> None:
    Node(tmp_path).stack("install", "post-config")
    Node(tmp_path, local={"FORESHAPE_MAY_ACT": "no"}).stack("install", "post-config")
    assert {p.name for p in (tmp_path / "etc").glob("*/policy.d/*")} == {"foreshape-read.yaml"}


def test_a_second_node_without_an_api_gets_no_policies(tmp_path: Path) -> None:
    Node(tmp_path, SECOND_NODE, {"FORESHAPE_ADMIN_TOKEN": TOKEN}).stack()
    assert list((tmp_path / "etc").glob("*/policy.d")) == []


# -- the weigher in Nova's scheduler


def test_novas_scheduler_weighs_headroom_where_it_is_wanted(tmp_path: Path) -> None:
    node = Node(tmp_path, FIRST_NODE + ",n-sch", {"FORESHAPE_WEIGHER": "True"})
    calls = node.stack("install", "post-config")
    assert named(calls, "pip_install") == [("-e", str(REPOSITORY))]
    nova = configparser.ConfigParser()
    nova.read(tmp_path / "etc/nova/nova.conf")
    module, name = nova["filter_scheduler"]["weight_classes"].split(",")[1].rsplit(".", 1)
    assert f"class {name}" in (REPOSITORY / "controller" / module.replace(".", "/")).with_suffix(".py").read_text()
    assert {f"headroom_{key}" for key in ("url", "token_file")} == set(nova["foreshape"]) <= {option.name for option in OPTIONS}
    assert nova["foreshape"]["headroom_url"] == "http://192.0.2.11:8470/v1/headroom"
    assert nova["foreshape"]["headroom_token_file"] == load_controller(node.conf / "controller.conf").sell.headroom_token_file


@pytest.mark.parametrize(
    ("services", "local"),
    [
        (FIRST_NODE + ",n-sch", {}),
        (FIRST_NODE, {"FORESHAPE_WEIGHER": "True"}),
        (FIRST_NODE + ",n-sch", {"FORESHAPE_WEIGHER": "True", "DISABLED_SERVICES": "foreshape-controller", "FORESHAPE_ADMIN_TOKEN": TOKEN}),
    ],
)
def test_novas_scheduler_is_left_as_it_is_otherwise(tmp_path: Path, services: str, local: dict[str, str]) -> None:
    calls = Node(tmp_path, services, local).stack()
    assert named(calls, "pip_install") == []
    assert not (tmp_path / "etc/nova/nova.conf").exists()


# -- again, and away


def test_stacking_twice_leaves_the_same_files(tmp_path: Path) -> None:
    node = Node(tmp_path, local={"FORESHAPE_ADMIN_TOKEN": TOKEN})

    def content() -> dict[str, str]:
        return {name: (tmp_path / name).read_text() for name in node.files() if (tmp_path / name).is_file()}

    node.stack()
    once = content()
    node.unstack()
    node.stack()
    assert content() == once
    assert node.running == {"foreshape-controller", "foreshape-agent"}


@pytest.mark.parametrize(("recreate", "kept"), [("True", False), ("False", True)])
def test_history_is_forgotten_as_devstack_forgets_its_databases_unless_told_otherwise(tmp_path: Path, recreate: str, kept: bool) -> None:
    node = Node(tmp_path, local={"FORESHAPE_RECREATE_DB": recreate})
    node.stack()
    files = [node.data / "controller" / name for name in ("controller.db", "controller.db-wal", "controller.db-shm")]
    for file in files:
        file.write_text("history")
    node.unstack()
    node.stack()
    assert [file.exists() for file in files] == [kept] * 3


def test_the_agent_is_enrolled_anew_when_the_controller_has_forgotten_it(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.stack()
    node.unstack()
    assert named(node.stack(), "stdin") == [("join-token-of-the-controller",)]


def test_offline_nothing_is_installed_again(tmp_path: Path) -> None:
    Node(tmp_path).stack()
    assert named(Node(tmp_path, local={"OFFLINE": "True"}).stack(), "pip") == []


def test_offline_with_nothing_installed_it_is_tried(tmp_path: Path) -> None:
    """DevStack's OFFLINE needs an earlier run online; pip's error says more than a missing program later."""
    assert len(named(Node(tmp_path, local={"OFFLINE": "True"}).stack(), "pip")) == 1


@pytest.mark.parametrize("services", [FIRST_NODE, CONTROLLER_ONLY, SECOND_NODE])
def test_unstack_stops_the_agent_first_and_keeps_every_file(tmp_path: Path, services: str) -> None:
    node = Node(tmp_path, services, {"FORESHAPE_ADMIN_TOKEN": TOKEN})
    node.stack()
    before = node.files()
    assert named(node.unstack(), "stop_process") == [("foreshape-agent",), ("foreshape-controller",)]
    assert (node.running, node.files()) == (set(), before)


@pytest.mark.parametrize(
    ("services", "phases"),
    [
        (FIRST_NODE, 0),
        (FIRST_NODE, 2),
        (FIRST_NODE, 3),
        (FIRST_NODE, 5),
        (FIRST_NODE + ",tls-proxy", 5),
        (CONTROLLER_ONLY, 5),
        (SECOND_NODE, 5),
    ],
)
def test_clean_removes_all_that_a_run_has_made_however_far_it_came(tmp_path: Path, services: str, phases: int) -> None:
    node = Node(tmp_path, services, {"FORESHAPE_ADMIN_TOKEN": TOKEN})
    before = node.files()
    node.run(*(f"stack {phase}" for phase in PHASES[:phases]), "unstack")
    node.clean()
    assert node.files() - {"opt/data", "etc/apache2"} == before


def test_clean_also_removes_what_a_service_made_that_is_no_longer_enabled(tmp_path: Path) -> None:
    before = Node(tmp_path).files()
    Node(tmp_path).stack()
    Node(tmp_path).unstack()
    node = Node(tmp_path, "c-vol")
    node.clean()
    assert node.files() - {"opt/data"} == before


# -- when something is wrong


def test_a_controller_that_does_not_start_ends_stack_sh_with_the_place_to_look(tmp_path: Path) -> None:
    (tmp_path / "controller-is-dead").touch()
    done, _ = Node(tmp_path).attempt(*(f"stack {phase}" for phase in PHASES))
    assert done.returncode != 0
    assert "journalctl -u devstack@foreshape-controller" in done.stderr


def test_a_controller_that_cannot_be_asked_ends_stack_sh_on_the_second_node(tmp_path: Path) -> None:
    (tmp_path / "controller-is-dead").touch()
    node = Node(tmp_path, SECOND_NODE, {"FORESHAPE_ADMIN_TOKEN": TOKEN})
    done, _ = node.attempt(*(f"stack {phase}" for phase in PHASES))
    assert done.returncode != 0
    assert node.running == set()


def test_an_agent_that_does_not_report_ends_stack_sh_with_the_place_to_look(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (tmp_path / "fresh").write_text("False\n")
    done, _ = node.attempt(*(f"stack {phase}" for phase in PHASES))
    assert done.returncode != 0
    assert "the agent of node1 does not report; see: journalctl -u devstack@foreshape-agent" in done.stderr


def test_an_old_python_is_named_before_anything_is_made(tmp_path: Path) -> None:
    node = Node(tmp_path)
    before = node.files()
    (tmp_path / "python-is-old").touch()
    done, _ = node.attempt("stack install")
    (tmp_path / "python-is-old").unlink()
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stderr
    assert "set FORESHAPE_PYTHON" in done.stderr
    assert node.files() == before


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.skipif(importlib.util.find_spec("libvirt") is None, reason="libvirt-python is not installed (as root: make packages)")
def test_the_real_programs_understand_all_that_the_plugin_says_to_them(tmp_path: Path) -> None:
    """Controller, agent and command of this environment, and an emulated cloud: enrolled, connected, reporting, stopped. No libvirtd."""
    cloud = Emulator()
    cloud.add_host("node1")
    with running(cloud):
        local = {
            "SERVICE_PASSWORD": "secret",
            "REGION_NAME": "R1",
            "KEYSTONE_SERVICE_URI": f"{cloud.url}/identity/v3",
            "SERVICE_HOST": "127.0.0.1",
            "SERVICE_LISTEN_ADDRESS": "127.0.0.1",
            "FORESHAPE_PORT": str(free_port()),
        }
        node = Node(tmp_path, local=local, real=True)
        try:
            node.stack("install", "post-config")
            agent = node.conf / "agent.conf"  # as DevStack merges what local.conf says
            agent.write_text(agent.read_text().replace("[agent]", "[agent]\ninterval_s = 1\npressure_interval_s = 0"))
            node.stack("extra", "test-config")
            asked = [node.command, "host", "list", "-f", "value"]
            said = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
        finally:
            logs = "".join(p.read_text() for p in (tmp_path / "units").glob("*.log"))
            node.unstack()
    assert said.startswith("node1 "), logs
    assert any(request.startswith("compute GET /os-services") for request in cloud.requests), logs
    assert cloud.logins >= 1
    assert '"event": "stopped"' in (tmp_path / "units/foreshape-controller.log").read_text()


def test_these_tests_run_every_function_of_the_plugin(tmp_path: Path) -> None:
    text = (PLUGIN / "plugin.sh").read_text()
    functions = set(re.findall(r"^function (\w+) \{", text, re.MULTILINE))
    marked = re.sub(r"^function (\w+) \{", r'function \1 {\n    echo "\1" >>"$WORLD/reached"', text, flags=re.MULTILINE)
    node = Node(tmp_path, FIRST_NODE + ",n-sch", {"FORESHAPE_WEIGHER": "True"}, changed(tmp_path, text, marked))
    node.stack()
    node.unstack()
    node.clean()
    assert set((tmp_path / "reached").read_text().split()) == functions
