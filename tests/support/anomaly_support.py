"""Series with known anomalies, made or published."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from foreshape_controller.model.history import BINS_PER_DAY, STEP_S, History

START = 1_767_571_200
"""Monday 5 January 2026, 00:00 UTC."""


def history(mean: Any, resource: str = "cpu", entitlement: float = 4.0, names: Sequence[str] | None = None) -> History:
    """One row per series; a gap is NaN."""
    y = np.atleast_2d(np.asarray(mean, np.float32))
    ones = np.ones_like(y)
    return History(
        resource=resource,
        series=tuple(names or (f"vm{i}" for i in range(len(y)))),
        start=START,
        mean=y,
        max=y.copy(),
        coverage=np.where(np.isnan(y), 0, ones).astype(np.float32),
        censored=0 * ones,
        entitlement=np.full(len(y), entitlement, np.float32),
        first_seen=np.full(len(y), float(START)),
    )


def fleet(series: int = 20, days: int = 7, seed: int = 1, *, gaps: float = 0.05) -> Any:
    """[series, days · 288] cores of clean servers: a level, a daily profile, correlated multiplicative noise, gaps."""
    rng = np.random.default_rng(seed)
    bins = days * BINS_PER_DAY
    level = rng.lognormal(-0.5, 0.5, (series, 1))
    daily = 1 + rng.uniform(0, 0.5, (series, 1)) * np.cos(2 * np.pi * (np.arange(bins) / BINS_PER_DAY - rng.random((series, 1))))
    noise = np.zeros((series, bins))
    shocks = rng.normal(0, 0.06, (series, bins))
    for t in range(1, bins):
        noise[:, t] = 0.8 * noise[:, t - 1] + shocks[:, t]
    y = level * daily * np.exp(noise)
    y[rng.random(y.shape) < gaps] = np.nan
    return y.astype(np.float32)


def nab_file() -> Path | None:
    """The NAB AWS series, where the shared data is: $FORESHAPE_SHARED, or ``shared`` beside the checkout."""
    roots = [Path(os.environ["FORESHAPE_SHARED"])] if "FORESHAPE_SHARED" in os.environ else []
    roots.append(Path(__file__).parents[3] / "shared")
    return next((f for r in roots if (f := r / "data" / "nab_aws.parquet").exists()), None)


def nab(file: Path) -> Iterator[tuple[str, History]]:
    """Each series on the 5-minute grid; of two values in one bin the later counts."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - only where the file is

    table = pq.read_table(file)
    names = np.asarray(table["series"].to_pylist())
    times = table["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64)
    values = table["value"].to_numpy()
    for name in sorted(set(names)):
        mine = names == name
        bins = times[mine] // STEP_S
        y = np.full(int(bins.max() - bins.min()) + 1, np.nan, np.float32)
        y[bins - bins.min()] = values[mine]
        h = history(y, "net", np.nan, [name])
        yield name, History(**{**vars(h), "start": int(bins.min()) * STEP_S})


def _span(begin: str, end: str) -> tuple[int, int]:
    first, last = (datetime.strptime(t, "%Y-%m-%d %H:%M").replace(tzinfo=UTC) for t in (begin, end))
    return int(first.timestamp()), int(last.timestamp())


def windows() -> dict[str, list[tuple[int, int]]]:
    """When NAB's people say that something was odd (numenta/NAB, labels/combined_windows.json, MIT): epoch seconds."""
    return {name: [_span(*w.split("/")) for w in spans] for name, spans in _WINDOWS.items()}


_WINDOWS = {
    "cpu_utilization_asg_misconfiguration": ["2014-07-10 12:29/2014-07-15 17:19"],
    "ec2_cpu_utilization_24ae8d": ["2014-02-26 13:45/2014-02-27 06:25", "2014-02-27 08:55/2014-02-28 01:35"],
    "ec2_cpu_utilization_53ea38": ["2014-02-19 10:50/2014-02-20 03:30", "2014-02-23 11:45/2014-02-24 04:25"],
    "ec2_cpu_utilization_5f5533": ["2014-02-18 16:02/2014-02-19 08:42", "2014-02-24 10:17/2014-02-25 02:57"],
    "ec2_cpu_utilization_77c1ca": ["2014-04-08 17:30/2014-04-10 03:00"],
    "ec2_cpu_utilization_825cc2": ["2014-04-14 22:59/2014-04-16 08:29"],
    "ec2_cpu_utilization_ac20cd": ["2014-04-14 07:49/2014-04-15 17:34"],
    "ec2_cpu_utilization_c6585a": ["2014-04-14 10:34/2014-04-15 20:04"],
    "ec2_cpu_utilization_fe7f93": ["2014-02-16 21:52/2014-02-17 14:32", "2014-02-21 15:42/2014-02-22 08:22"],
    "ec2_disk_write_bytes_1ef3de": ["2014-03-10 01:29/2014-03-11 16:49"],
    "ec2_disk_write_bytes_c0d644": [
        "2014-04-08 19:55/2014-04-09 07:05",
        "2014-04-10 09:00/2014-04-10 20:10",
        "2014-04-12 18:25/2014-04-13 05:35",
    ],
    "ec2_network_in_257a54": ["2014-04-14 23:59/2014-04-16 09:29"],
    "ec2_network_in_5abac7": ["2014-03-10 09:06/2014-03-11 04:46", "2014-03-12 11:11/2014-03-13 06:51"],
    "ec2_request_latency_system_failure": [
        "2014-03-14 03:31/2014-03-14 14:41",
        "2014-03-18 17:06/2014-03-19 04:16",
        "2014-03-20 21:26/2014-03-21 03:41",
    ],
    "elb_request_count_8c0756": ["2014-04-12 09:04/2014-04-13 01:44", "2014-04-22 11:14/2014-04-23 03:54"],
    "grok_asg_anomaly": ["2014-01-20 02:05/2014-01-20 14:55", "2014-01-21 04:20/2014-01-21 17:10", "2014-01-28 18:20/2014-01-29 07:10"],
    "iio_us-east-1_i-a2eb1cd9_NetworkIn": ["2013-10-10 10:35/2013-10-10 15:45", "2013-10-10 18:05/2013-10-10 23:15"],
    "rds_cpu_utilization_cc0c53": ["2014-02-24 22:50/2014-02-25 15:35", "2014-02-26 16:30/2014-02-27 09:10"],
    "rds_cpu_utilization_e47b3b": ["2014-04-12 22:32/2014-04-13 15:12", "2014-04-18 15:07/2014-04-19 07:47"],
}


def archetypes(work: str, series: int = 20, days: int = 10, seed: int = 1, *, gaps: float = 0.1) -> History:
    """Servers of 4 cores that are of one class by construction; a tenth of the bins and one whole day are missing."""
    rng = np.random.default_rng([seed, len(work)])
    bins = days * BINS_PER_DAY
    y = np.stack([_MAKE[work](rng, bins) for _ in range(series)]).astype(np.float32)
    y[rng.random(y.shape) < gaps] = np.nan
    y[:, 3 * BINS_PER_DAY : 4 * BINS_PER_DAY] = np.nan
    return history(y)


def _idle(rng: Any, bins: int) -> Any:
    """Half a percent to two percent of what was sold."""
    return 4 * rng.uniform(0.005, 0.02) * rng.lognormal(0, 0.3, bins)


def _steady(rng: Any, bins: int) -> Any:
    """One level, noise of 3 to 15 %."""
    return rng.uniform(0.5, 3) * rng.lognormal(0, rng.uniform(0.03, 0.15), bins)


def _diurnal(rng: Any, bins: int) -> Any:
    """A daily wave of 50 to 80 % of the level, noise of 20 %, at any hour."""
    wave = np.cos(2 * np.pi * (np.arange(bins) / BINS_PER_DAY - rng.random()))
    return rng.uniform(0.5, 1.5) * (1 + rng.uniform(0.5, 0.8) * wave) * rng.lognormal(0, 0.2, bins)


def _bursty(rng: Any, bins: int) -> Any:
    """A low level, and every hour or so five to fifteen minutes of five to ten times as much."""
    y = np.full(bins, rng.uniform(0.15, 0.35))
    for begin in np.flatnonzero(rng.random(bins) < rng.uniform(0.06, 0.1)):
        y[begin : begin + rng.integers(1, 4)] *= rng.uniform(5, 10)
    return np.minimum(y, 4) * rng.lognormal(0, 0.15, bins)


def _batch(rng: Any, bins: int) -> Any:
    """Rest, and two to five jobs a day of one to three hours at ten times as much, at no hour in particular."""
    y = np.full(bins, rng.uniform(0.15, 0.35))
    jobs = rng.uniform(2, 5) / BINS_PER_DAY
    for begin in np.flatnonzero(rng.random(bins) < jobs):
        y[begin : begin + rng.integers(12, 36)] = rng.uniform(2, 3.5)
    return y * rng.lognormal(0, 0.15, bins)


_MAKE = {"idle": _idle, "steady": _steady, "diurnal": _diurnal, "bursty": _bursty, "batch": _batch}
