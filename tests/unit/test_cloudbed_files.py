"""Where a cloud's bed keeps what, and what its services are told: no service runs here."""

from configparser import ConfigParser
from pathlib import Path

import foreshape_cloudbed.cloud
import pytest
import yaml
from foreshape_cloudbed import configs, environment
from foreshape_cloudbed.cloud import Cloud
from foreshape_cloudbed.places import PORTS, USERS, Places
from foreshape_lab import LabError

pytestmark = pytest.mark.unit

HERE = Places(Path("/beds/one"), "127.18.7.1", 7)


def parsed(name: str, nova: dict[str, dict[str, object]] | None = None) -> ConfigParser:
    conf = ConfigParser(interpolation=None, strict=True)
    conf.read_string(configs.files(HERE, Path("/venv/etc"), nova or {})[name])
    return conf


@pytest.mark.parametrize("name", ["keystone.conf", "placement.conf", "glance-api.conf", "nova.conf"])
def test_every_file_can_be_parsed_and_has_nothing_left_to_fill_in(name: str) -> None:
    assert parsed(name).sections()
    text = configs.files(HERE, Path("/venv/etc"), {})[name]
    assert "{" not in text
    assert "}" not in text


def test_every_service_has_a_database_of_its_own_behind_one_socket() -> None:
    places = [("keystone.conf", "database"), ("placement.conf", "placement_database"), ("glance-api.conf", "database")]
    urls = [parsed(file)[section]["connection"] for file, section in places]
    urls += [parsed("nova.conf")[section]["connection"] for section in ("database", "api_database")]
    assert len(set(urls)) == 5
    assert all(f"unix_socket={HERE.socket}&" in url for url in urls)


def test_an_option_of_nova_can_be_set_or_replaced() -> None:
    conf = parsed("nova.conf", {"DEFAULT": {"report_interval": 9}, "workarounds": {"new": "yes"}})
    assert conf["DEFAULT"]["report_interval"] == "9"
    assert conf["workarounds"]["new"] == "yes"
    assert conf["quota"]["cores"] == "-1"


def test_clouds_yaml_says_what_a_program_is_told() -> None:
    said = yaml.safe_load(configs.clouds_yaml(HERE))["clouds"]
    assert {user: configs.access(HERE, user) for user in USERS} == said
    assert said["foreshape"]["auth"]["auth_url"] == "http://127.18.7.1:5000/v3"


def test_addresses_differ_only_by_the_bed() -> None:
    other = Places(Path("/beds/two"), "127.18.8.1", 8)
    for service in PORTS.keys() - {"rabbit"}:
        assert HERE.endpoint(service).replace("127.18.7.1", "127.18.8.1") == other.endpoint(service)


def test_every_pin_has_a_version_and_every_wish_a_pin() -> None:
    pins = [line.strip() for line in environment.PINS.read_text().splitlines() if line and not line.startswith("#")]
    assert all("==" in pin for pin in pins)
    names = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    wanted = {line.strip().lower() for line in environment.WANTED.read_text().splitlines() if line and not line.startswith("#")}
    assert wanted | {"uv"} <= names


@pytest.mark.parametrize(("name", "computes", "apart"), [("Not ok", 1, 0), ("", 1, 0), ("x", 100, 0), ("x", 1, 2), ("x", 2, -1)])
def test_a_cloud_that_cannot_be_is_refused_before_anything_is_made(name: str, computes: int, apart: int) -> None:
    with pytest.raises(LabError):
        Cloud(name, computes, apart=apart)


def test_a_part_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreshape_cloudbed.cloud, "beds_folder", lambda: tmp_path)
    monkeypatch.setattr(foreshape_cloudbed.cloud, "claim_subnet", lambda _: 7)
    cloud = Cloud("mine", 3, apart=1)
    with pytest.raises(LabError, match=r"no part nova: parts are epmd, mariadb.*node01, computes$"):
        cloud.part("nova")
