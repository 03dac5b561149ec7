"""The weigher's options in nova.conf, for the weigher itself and for oslo-config-generator."""

from oslo_config import cfg

GROUP = cfg.OptGroup("foreshape", title="Foreshape", help="Weighing hosts by the headroom that Foreshape forecasts.")

OPTIONS = [
    cfg.StrOpt(
        "headroom_url",
        default="",
        help="Where the controller tells it: https://CONTROLLER:PORT/v1/headroom, or file:///path of a copy. Empty: nothing is weighed.",
    ),
    cfg.StrOpt("headroom_token_file", default="", help="File with the token of the controller's [sell] headroom_token_file."),
    cfg.StrOpt("headroom_ca_file", default="", help="Certificate that the controller's is trusted by. Empty: the system's."),
    cfg.FloatOpt("headroom_time_limit", default=0.5, min=0.01, max=10, help="Most seconds that a boot waits for it."),
    cfg.FloatOpt("headroom_keep", default=30, min=1, max=3600, help="Seconds after which it is read again."),
    cfg.FloatOpt("headroom_stale", default=900, min=10, max=86400, help="Older than so many seconds it is not weighed."),
    cfg.FloatOpt(
        "headroom_weight_multiplier",
        default=10.0,
        help="""Weight of the share of a host, 0..1, that is expected to stay free.

Nova's other weighers stretch what they find over 0..1; this one does not, so that a small difference stays a small one. With 10, a tenth
of a host counts as much as all of another weigher. Negative: fill up. The key of the same name in an aggregate's metadata wins there.
""",
    ),
]


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo-config-generator."""
    return [(GROUP, OPTIONS)]
