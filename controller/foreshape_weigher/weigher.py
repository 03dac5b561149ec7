"""``[filter_scheduler] weight_classes = nova.scheduler.weights.all_weighers, foreshape_weigher.weigher.HeadroomWeigher``."""

from collections.abc import Sequence
from typing import Any

import nova.conf
from nova.scheduler import utils, weights
from oslo_log import log

from foreshape_weigher.headroom import Headroom, Source
from foreshape_weigher.headroom import weights as _weights
from foreshape_weigher.options import GROUP, OPTIONS

_LOG = log.getLogger(__name__)
_CONF = nova.conf.CONF
_CONF.register_group(GROUP)
_CONF.register_opts(OPTIONS, group=GROUP)
_headroom = Headroom(tell=_LOG.warning)


class HeadroomWeigher(weights.BaseHostWeigher):  # type: ignore[misc]  # Nova has no types
    """More forecast headroom is better. Its bounds are fixed, so that Nova does not stretch small differences."""

    minval, maxval = 0.0, 1.0

    def weight_multiplier(self, host_state: Any) -> float:
        try:
            return float(utils.get_weight_multiplier(host_state, "headroom_weight_multiplier", _CONF.foreshape.headroom_weight_multiplier))
        except Exception as e:  # noqa: BLE001  a boot must not fail for it
            _LOG.warning("headroom is not weighed on %s: %s", getattr(host_state, "host", "?"), e)
            return 0.0

    def weigh_objects(self, weighed_obj_list: Sequence[Any], weight_properties: Any) -> list[float]:  # noqa: ARG002  Nova's signature
        """One weight for each host; all 0 where nothing can be known."""
        try:
            return _weights([each.obj.host for each in weighed_obj_list], _headroom.now(_source()))
        except Exception as e:  # noqa: BLE001  a boot must not fail for it
            _LOG.warning("headroom is not weighed: %s", e)
            return [0.0] * len(weighed_obj_list)

    def _weigh_object(self, obj: Any, weight_properties: Any) -> float:  # noqa: ARG002  Nova asks for it; all are weighed together
        return 0.0


def _source() -> Source:
    """As nova.conf says now: nova-scheduler may have read it again."""
    c = _CONF.foreshape
    return Source(c.headroom_url, c.headroom_token_file, c.headroom_ca_file, c.headroom_time_limit, c.headroom_keep, c.headroom_stale)
