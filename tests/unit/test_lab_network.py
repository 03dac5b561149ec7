"""Which network a bed gets."""

import pytest
from foreshape_lab.network import pick_subnet, routed_subnets

pytestmark = pytest.mark.unit

TABLE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
fs1\t003D12C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
fs2\t000913C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_a_network_that_a_killed_bed_left_behind_is_not_given_again(tmp_path):
    """Its packets would go to the switch that was left, and nobody would answer."""
    (tmp_path / "route").write_text(TABLE)
    taken = routed_subnets(tmp_path / "route")
    assert taken == {61, 256 + 9}
    usual = pick_subnet("a-bed", set())
    assert pick_subnet("a-bed", taken | {usual}) not in taken | {usual}
