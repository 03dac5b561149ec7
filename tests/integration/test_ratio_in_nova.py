"""What Nova's own code makes of a ratio that we wrote: kept where nova.conf leaves it open, overwritten where it does not."""

import os
import subprocess
from pathlib import Path

import pytest
from foreshape_cloudbed import environment
from foreshape_lab import Missing

pytestmark = pytest.mark.integration

CODE = """
import sys, uuid
import nova.conf
from nova.compute import provider_tree
from nova.virt import driver, fake
nova.conf.CONF([], project="nova", default_config_files=[sys.argv[1]])
ours = dict(total=16, reserved=0, min_unit=1, max_unit=16, step_size=1, allocation_ratio=5.25)
tree = provider_tree.ProviderTree()
tree.new_root("node", str(uuid.uuid4()), generation=7)
tree.update_inventory("node", {"VCPU": ours, "MEMORY_MB": dict(ours, allocation_ratio=1.02)})
hypervisor = fake.FakeDriver(None)
hypervisor.init_host("node")
hypervisor.update_provider_tree(tree, "node")
told = tree.data("node").inventory
print(*(told[c]["allocation_ratio"] for c in ("VCPU", "MEMORY_MB")), told["DISK_GB"]["allocation_ratio"])
"""


@pytest.mark.parametrize(
    ("conf", "kept"),
    [
        ("", "5.25 1.02 1.0"),
        ("initial_cpu_allocation_ratio = 4.0\ninitial_ram_allocation_ratio = 1.5\ninitial_disk_allocation_ratio = 2.0", "5.25 1.02 2.0"),
        ("cpu_allocation_ratio = 16.0", "16.0 1.02 1.0"),
        ("ram_allocation_ratio = 1.5", "5.25 1.5 1.0"),
    ],
    ids=["nothing said", "initial ones", "cpu", "ram"],
)
def test_nova_compute_keeps_a_ratio_exactly_where_its_configuration_does_not_name_one(conf, kept, tmp_path: Path):
    try:
        environment.install()
    except Missing as e:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(e))
    file = tmp_path / "nova.conf"
    file.write_text(f"[DEFAULT]\n{conf}\n")
    done = subprocess.run([environment.PYTHON, "-c", CODE, file], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == kept.split()
