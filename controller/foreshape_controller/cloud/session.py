"""The one place that knows openstacksdk and keystoneauth: clouds.yaml in, senders out.

Imported only where a cloud is configured: the libraries cost half a second and some tens of MiB.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from keystoneauth1 import adapter, discover
from keystoneauth1 import exceptions as kept
from keystoneauth1.identity import v3
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session
from openstack import config
from openstack.exceptions import ConfigException

from foreshape_controller.cloud.call import Json, Reply, Service, Ways
from foreshape_controller.cloud.glance import Glance
from foreshape_controller.cloud.keystone import Keystone, Me
from foreshape_controller.cloud.neutron import Neutron
from foreshape_controller.cloud.nova import Nova
from foreshape_controller.cloud.placement import Placement
from foreshape_controller.cloud.tokens import SECOND_FACTOR
from foreshape_controller.errors import ConfigError, Permanent, Temporary
from foreshape_controller.model.login import Login

_TYPES = {"Nova": "compute", "Placement": "placement", "Keystone": "identity", "Glance": "image", "Neutron": "network"}
"""Names in sentences -> types in Keystone's catalogue."""
LOGIN_S = 10.0
"""The same of a password, which Keystone takes its time to check."""
SUBJECT_S = 5.0
"""A person waits for Keystone's word on his token so long at most."""
_VERSIONS = {"identity": "3", "image": "2", "network": "2"}
"""Where the catalogue may name an endpoint of several versions; the others negotiate."""


@dataclass(frozen=True)
class Access:
    """Which cloud, and how long it is waited for. Secrets stay in clouds.yaml."""

    cloud: str = ""
    """Its name in clouds.yaml. Empty: the ``OS_*`` environment alone."""
    region: str = ""
    timeout_s: float = 30.0
    """For one request; a live migration asked for synchronously takes Nova's RPC time-out at worst, 60 s: then it is unknown."""
    aborts_cleanly: bool | None = None
    """The operator's word whether Nova survives an aborted live migration; None: judged by its version."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """More of clouds.yaml's own keys, such as ``auth``; for tests."""


@dataclass(frozen=True)
class Cloud:
    """The services, behind one set of credentials and one pace. Glance and Neutron are asked only for pools."""

    nova: Nova
    placement: Placement
    keystone: Keystone
    glance: Glance
    neutron: Neutron
    subject: Callable[[str], Reply] | None = None
    """Asks Keystone about somebody else's token."""
    issue: Callable[[Login], Reply] | None = None
    """Asks Keystone for a token by somebody's password: the reply's text is the token, or why there is none."""


def connect(access: Access, ways: Ways) -> Cloud:
    """Nothing is asked yet: what is wrong with the cloud shows at the first request. Raises ConfigError."""
    logging.getLogger("keystoneauth").setLevel(logging.ERROR)  # it warns at each try; we say once what came of all
    region = _region(access)
    doors = {name: Service(name, _Door(region, name, access.timeout_s), ways) for name in _TYPES}
    return Cloud(
        nova=Nova(doors["Nova"], aborts_cleanly=access.aborts_cleanly),
        placement=Placement(doors["Placement"]),
        keystone=Keystone(doors["Keystone"], lambda: _me(region)),
        glance=Glance(doors["Glance"]),
        neutron=Neutron(doors["Neutron"]),
        subject=_Door(region, "Keystone", min(access.timeout_s, SUBJECT_S)).subject,
        issue=partial(_issue, region, min(access.timeout_s, LOGIN_S)),
    )


def _region(access: Access) -> config.cloud_region.CloudRegion:
    asked: dict[str, Any] = {"cloud": access.cloud, "region_name": access.region, "api_timeout": access.timeout_s}
    try:
        region = config.get_cloud_region(app_name="foreshape", **{k: v for k, v in asked.items() if v}, **access.options)
        region.get_session()
    except (ConfigException, kept.ClientException, OSError) as e:
        raise ConfigError(f"cloud {access.cloud or 'of the OS_* environment'} cannot be used: {e}; see clouds.yaml") from e
    return region


class _Door:
    """Sends to one service. Retries nothing: ``Service`` does; keystoneauth renews an expired token once, by itself."""

    def __init__(self, region: config.cloud_region.CloudRegion, name: str, timeout_s: float) -> None:
        kind = _TYPES[name]
        self._name = name
        self._timeout = timeout_s
        self._adapter = adapter.Adapter(
            region.get_session(),
            service_type=kind,
            interface=region.get_interface(kind),
            region_name=region.get_region_name(kind),
            endpoint_override=region.get_endpoint(kind),
            version=_VERSIONS.get(kind),
            connect_retries=0,
            status_code_retries=0,
            raise_exc=False,
        )

    def __call__(self, method: str, path: str, *, microversion: str, body: Json, params: Mapping[str, str]) -> Reply:
        with _told(self._name):
            said = self._adapter.request(
                path,
                method,
                microversion=microversion or None,
                json=body,
                params=dict(params),
                timeout=self._timeout,
                headers={"Accept": "application/json"},
            )
        try:
            decoded = said.json() if said.content else None
        except ValueError:
            decoded = None
        headers, text = said.headers, said.text[:500] if decoded is None else ""
        return Reply(said.status_code, decoded, text, _seconds(headers.get("Retry-After", "")), _instant(headers.get("Date", "")))

    def subject(self, token: str) -> Reply:
        """What Keystone says of a token, asked once; its catalogue is left out. Raises Temporary, Permanent."""
        with _told(self._name):
            said = self._adapter.get("/auth/tokens?nocatalog=1", headers={"X-Subject-Token": token}, timeout=self._timeout)
        try:
            return Reply(said.status_code, said.json() if said.content else None)
        except ValueError:
            return Reply(said.status_code)

    def versions(self) -> tuple[str, str]:
        with _told(self._name):
            data = self._adapter.get_endpoint_data()
        if data is None:
            raise Permanent(_nowhere(self._name))
        least, most = data.min_microversion, data.max_microversion
        return (discover.version_to_string(least), discover.version_to_string(most)) if least and most else ("", "")


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What keystoneauth raises, in our words."""
    try:
        yield
    except kept.EndpointNotFound as e:
        raise Permanent(f"{_nowhere(name)} ({e})") from e
    except kept.Unauthorized as e:
        raise Permanent(f"Keystone refused the credentials: {e}; check user, password and project in clouds.yaml") from e
    except (kept.ConnectFailure, kept.ConnectTimeout, kept.UnknownConnectionError) as e:
        raise Temporary(f"{name} gives no answer: {e}; is it running, and reachable from here?", maybe_done=_may_have_arrived(e)) from e
    except (kept.SSLError, kept.MissingAuthMethods, kept.AuthorizationFailure) as e:
        raise Permanent(f"{name} cannot be used: {e}; check auth_url, cacert and the credentials in clouds.yaml") from e
    except (kept.DiscoveryFailure, kept.HttpError, kept.RetriableConnectionFailure) as e:
        raise Temporary(f"{name}, or Keystone on the way to it, does not answer as it should: {e}") from e
    except kept.ClientException as e:
        raise Permanent(f"{name} cannot be asked: {e}") from e


def _may_have_arrived(error: Exception) -> bool:
    """Only a connection that was never made proves that the request was not read; keystoneauth calls a slow answer by the same name."""
    words = f"{error} {error.__cause__!r} {error.__context__!r}"
    return not any(sure in words for sure in ("NewConnectionError", "Connection refused", "ConnectTimeoutError", "NameResolutionError"))


def _nowhere(name: str) -> str:
    return f"Keystone's catalogue has no endpoint of {name} ({_TYPES[name]}): create it, or check region_name and interface in clouds.yaml"


def _seconds(header: str) -> float:
    return float(header) if header.isdigit() else 0.0


def _instant(header: str) -> float:
    """Epoch seconds of an HTTP date; 0 for none, or for what is none."""
    try:
        return parsedate_to_datetime(header).timestamp() if header else 0.0
    except ValueError:
        return 0.0


def _me(region: config.cloud_region.CloudRegion) -> Me:
    session = region.get_session()
    with _told("Keystone"):
        plugin = session.auth
        if not isinstance(plugin, BaseIdentityPlugin):
            raise Permanent("clouds.yaml gives no identity: auth_type none cannot work with a real cloud")
        access = plugin.get_access(session)
    return Me(user=access.user_id or "", project=access.project_id or "", roles=frozenset(access.role_names or ()))


def _issue(region: config.cloud_region.CloudRegion, timeout_s: float, who: Login) -> Reply:
    """A token by somebody's password, from where our own are from; asked once. Raises Temporary, Permanent.

    keystoneauth leaves this request out of its log.
    """
    ours = region.get_session()
    if not isinstance(ours.auth, BaseIdentityPlugin) or not ours.auth.auth_url:
        raise Permanent("clouds.yaml gives no auth_url")
    for_project = bool(who.project) and not who.system
    asking = v3.Password(
        ours.auth.auth_url,
        username=who.user,
        password=who.password,
        user_domain_name=who.user_domain,
        system_scope="all" if who.system else None,
        project_name=who.project if for_project else None,
        project_domain_name=(who.project_domain or who.user_domain) if for_project else None,
        include_catalog=False,
    )
    with _told("Keystone"):
        try:
            found = asking.get_auth_ref(Session(verify=ours.verify, cert=ours.cert, timeout=timeout_s))
            return Reply(201, text=found.auth_token or "")
        except kept.MissingAuthMethods:
            return Reply(401, text=SECOND_FACTOR)
        except kept.HttpError as e:
            return Reply(e.http_status, text=str(e.message or "")[:500])
        except (KeyError, TypeError, ValueError) as e:
            raise Temporary("Keystone's answer makes no sense") from e
