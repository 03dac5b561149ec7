"""The fleet in one row: who is not measured is counted, and is not said to want nothing."""

from collections import Counter

import pytest

from decide_support import NOW, host, sample, server
from foreshape_controller.api import present
from foreshape_controller.cli.summary import Summary
from foreshape_controller.model.server import ClusterView

pytestmark = pytest.mark.unit


def said(*servers) -> tuple[int, str]:
    found = present.summary(ClusterView(at=NOW, hosts=(host(),), servers=servers), Counter(), 60.0, simulated=False)
    cell = dict(Summary.columns)["Servers"]
    return found.servers_unmeasured, cell({"servers": found.servers, "servers_unmeasured": found.servers_unmeasured})


def test_a_server_without_a_sample_is_told_beside_the_sums():
    unmeasured, words = said(server("a", last=sample("a", cpu=1.0, memory=1000.0)), server("b", last=None))
    assert unmeasured == 1
    assert words == "2, 1 of them not measured: what they want is not in the sums"


def test_where_all_are_measured_only_their_number_is_told():
    assert said(server("a", last=sample("a", cpu=1.0, memory=1000.0))) == (0, "1")
