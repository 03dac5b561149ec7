"""The services' configuration files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foreshape_lab.programs import with_options

from foreshape_cloudbed.environment import ETC
from foreshape_cloudbed.places import PASSWORD, PORTS, REGION, USERS, Places

KEYSTONE = """\
[DEFAULT]
use_stderr = true
[database]
connection = {database}
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = {data}/fernet
[credential]
key_repository = {data}/credential
[cache]
enabled = true
backend = dogpile.cache.memory
[identity]
password_hash_rounds = 4
"""

PLACEMENT = """\
[DEFAULT]
use_stderr = true
[api]
auth_strategy = keystone
[keystone_authtoken]
www_authenticate_uri = {keystone}
{login}
[placement_database]
connection = {database}
"""

GLANCE = """\
[DEFAULT]
use_stderr = true
enabled_backends = file:file
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = {folder}/glance/images
[database]
connection = {database}
[keystone_authtoken]
www_authenticate_uri = {keystone}
{login}
[paste_deploy]
flavor = keystone
config_file = {paste}/glance/glance-api-paste.ini
"""

NOVA = """\
[DEFAULT]
use_stderr = true
transport_url = {transport}
state_path = {folder}/nova
my_ip = {address}
heal_instance_info_cache_interval = -1
update_resources_interval = 20
sync_power_state_interval = 60
report_interval = 3
service_down_time = 12
running_deleted_instance_action = log
resize_confirm_window = 0
graceful_shutdown_timeout = 3
manager_shutdown_timeout = 2
[api]
max_limit = 1000
[api_database]
connection = {api_database}
[database]
connection = {database}
[keystone_authtoken]
www_authenticate_uri = {keystone}
{login}
[placement]
{login}
[service_user]
send_service_user_token = true
{login}
[neutron]
{login}
[glance]
api_servers = {glance}
{login}
[oslo_concurrency]
lock_path = {folder}/nova/lock
[scheduler]
workers = 1
discover_hosts_in_cells_interval = -1
[conductor]
workers = 1
[quota]
instances = -1
cores = -1
ram = -1
[vnc]
enabled = false
[wsgi]
api_paste_config = {paste}/nova/api-paste.ini
[filter_scheduler]
available_filters = nova.scheduler.filters.all_filters
enabled_filters = {filters}
"""
FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "AggregateInstanceExtraSpecsFilter",
    "NUMATopologyFilter",
)
"""Nova's own defaults, and the one that minds aggregates' extra specs."""

LOGIN = """\
auth_type = password
auth_url = {keystone}
username = {user}
password = {password}
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = {region}"""

RABBIT = """\
listeners.tcp.1 = {address}:{port}
loopback_users = none
log.file.level = warning
vm_memory_high_watermark.relative = 0.3
disk_free_limit.absolute = 50MB
"""


def login(places: Places, user: str) -> str:
    return LOGIN.format(keystone=places.endpoint("keystone"), user=user, password=PASSWORD, region=REGION)


def files(places: Places, paste: Path, nova: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Name → text. ``paste``: the folder of the environment's own etc; ``nova``: options set or replaced, by section."""
    usual = {"folder": places.folder, "data": places.data, "address": places.address, "paste": paste, "keystone": places.root("keystone")}
    texts = {
        "keystone.conf": KEYSTONE.format(database=places.database("keystone"), **usual),
        "placement.conf": PLACEMENT.format(database=places.database("placement"), login=login(places, "placement"), **usual),
        "glance-api.conf": GLANCE.format(database=places.database("glance"), login=login(places, "glance"), **usual),
        "nova.conf": NOVA.format(
            database=places.database("nova"),
            api_database=places.database("nova_api"),
            transport=places.transport,
            glance=places.root("glance"),
            login=login(places, "nova"),
            filters=",".join(FILTERS),
            **usual,
        ),
        "clouds.yaml": clouds_yaml(places),
        "rabbitmq.conf": RABBIT.format(address=places.address, port=PORTS["rabbit"]),
        "rabbitmq_plugins": "[].\n",
    }
    return texts | {"nova.conf": with_options(texts["nova.conf"], nova)}


def write(places: Places, nova: Mapping[str, Mapping[str, object]]) -> None:
    """All of them, into the bed's folder."""
    places.etc.mkdir(parents=True, exist_ok=True)
    for name, text in files(places, ETC, nova).items():
        (places.etc / name).write_text(text)


def access(places: Places, user: str) -> dict[str, Any]:
    """What clouds.yaml says of one user."""
    auth = {
        "auth_url": places.endpoint("keystone"),
        "username": user,
        "password": PASSWORD,
        "project_name": USERS[user],
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    return {"auth": auth, "region_name": REGION, "identity_api_version": "3"}


def clouds_yaml(places: Places) -> str:
    lines = ["clouds:"]
    for user in USERS:
        lines.append(f"  {user}:")
        for key, value in access(places, user).items():
            inner = ", ".join(f"{k}: '{v}'" for k, v in value.items()) if isinstance(value, dict) else ""
            lines.append(f"    {key}: {{{inner}}}" if inner else f"    {key}: '{value}'")
    return "\n".join(lines) + "\n"
