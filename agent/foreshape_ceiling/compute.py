"""nova-compute with ceilings: ``python -m foreshape_ceiling.compute --config-file nova.conf`` in the place of ``nova-compute``.

Nova loads its driver by a name below ``nova.virt`` and has no other way to add to a domain, so this program puts one there:
``[DEFAULT] compute_driver = foreshape_ceiling.LibvirtDriver``. Only ``_get_guest_xml`` is extended: by it Nova makes every definition
(boot, hard reboot, resize, rebuild, unshelve, evacuation). A live migration takes the live definition along, as it is.
"""

import sys
from types import ModuleType
from typing import Any

from nova.cmd import compute  # before anything else of Nova: it prepares the process
from nova.virt.libvirt import driver
from oslo_log import log

from foreshape_ceiling.ceiling import Ceiling, Unfit, with_ceiling

NAME = "nova.virt.foreshape_ceiling"
_LOG = log.getLogger(__name__)


class LibvirtDriver(driver.LibvirtDriver):  # type: ignore[misc]  # Nova has no types
    """Nova's own, but for the ceilings that a flavor names."""

    def _get_guest_xml(self, context: Any, instance: Any, *args: Any, **kwargs: Any) -> str:
        xml: str = super()._get_guest_xml(context, instance, *args, **kwargs)
        try:
            return with_ceiling(xml, Ceiling.of(instance.flavor.extra_specs or {}))
        except (Unfit, ValueError) as e:
            _LOG.warning("no hot-add ceiling: %s", e, instance=instance)
        except Exception:  # noqa: BLE001
            _LOG.exception("no hot-add ceiling: a boot must not fail for it", instance=instance)
        return xml


def install() -> None:
    """Make the driver known under the name that Nova looks for."""
    module = ModuleType(NAME)
    module.LibvirtDriver = LibvirtDriver  # type: ignore[attr-defined]
    sys.modules[NAME] = module


def main() -> None:
    install()
    sys.argv[0] = "nova-compute"
    compute.main()


if __name__ == "__main__":
    main()
