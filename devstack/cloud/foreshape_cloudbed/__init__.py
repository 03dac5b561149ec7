"""A real OpenStack on one machine: Keystone, Placement, Glance and Nova, with computes that have no hypervisor, or with real ones.

with Cloud("mine", computes=20) as cloud:
    session = openstack.connect(**cloud.access("admin"))
    cloud.migration_takes(0.5)
    cloud.kill("placement")
    cloud.start("placement")
"""

from foreshape_cloudbed.cloud import Cloud
from foreshape_cloudbed.real import RealCloud

__all__ = ["Cloud", "RealCloud"]
