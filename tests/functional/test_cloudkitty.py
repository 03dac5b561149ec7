"""The shipped metrics.yml is valid by CloudKitty's own schema, and its own collector reads the amounts that were metered."""

import random

import pytest
import yaml

from cloudkitty_support import METRICS, check, install
from foreshape_controller.model.metering import GAUGES, PREFIX
from pricing_support import DAY

pytestmark = [pytest.mark.functional, pytest.mark.timeout(900)]

HOURS = 48


@pytest.fixture(scope="module", autouse=True)
def installed():
    install()


def test_cloudkittys_own_schema_takes_the_shipped_file():
    code, answer, said = check(METRICS, {}, DAY, 0)
    assert code == 0, said
    names = {name.split("@#")[0] for name in answer["names"]}
    assert names == {PREFIX + gauge for gauge in GAUGES if gauge != "missed_claims"}


def test_that_schema_refuses_what_is_wrong(tmp_path):
    """So that the test above can fail."""
    broken = yaml.safe_load(METRICS.read_text())
    next(iter(broken["metrics"].values()))["extra_args"]["aggregation_method"] = "mean"
    (tmp_path / "metrics.yml").write_text(yaml.safe_dump(broken))
    code, _, said = check(tmp_path / "metrics.yml", {}, DAY, 0)
    assert code != 0
    assert "aggregation_method" in said


def test_what_cloudkitty_collects_is_what_was_metered_less_an_hour_at_the_edges():
    """Each hour's amount is shown from 11 minutes after its end until the next is; Prometheus scrapes every minute."""
    rng = random.Random(7)
    gauge = f"{PREFIX}entitlement_cores"
    metered = {("p1", "standard"): [rng.uniform(0, 40) for _ in range(HOURS)], ("p2", "economy"): [8.0] * HOURS}
    late = 11 * 60
    series = [
        [project, tier, [[DAY + late + t, amounts[t // 3600]] for t in range(0, HOURS * 3600, 60)]]
        for (project, tier), amounts in metered.items()
    ]
    code, answer, said = check(METRICS, {gauge: series}, DAY, HOURS + 1)
    assert code == 0, said
    for (project, tier), amounts in metered.items():
        collected = float(answer["collected"][gauge][project][tier])
        assert abs(collected - sum(amounts)) <= max(amounts)
