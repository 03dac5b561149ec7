"""The net on real files: it learns, stops, goes on, and refuses what is damaged."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from foreshape_controller.errors import ModelError
from foreshape_controller.forecast.net import Net, TrainSettings, train
from foreshape_controller.forecast.net.sampler import Sampler, split
from foreshape_controller.forecast.net.windows import bank
from foreshape_controller.forecast.quantiles import quantiles
from foreshape_controller.model.forecast import HEADS, LEVELS
from foreshape_controller.model.history import BINS_PER_DAY, History

pytestmark = pytest.mark.functional

START = 1_699_999_800
DAYS = 6
TINY = TrainSettings(steps=40, width=32, blocks=1, batch=64, dropout=0.0, forget=0.0, rate=5e-3)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fleet(resource="cpu", n=16, days=DAYS, seed=0, step_s=300):
    """Servers with an hourly job of their own hour's minute, size and noise; some bins missing."""
    rng = np.random.default_rng(seed)
    bins = days * BINS_PER_DAY
    size, minute = rng.gamma(2.0, 0.5, (n, 1)), rng.integers(0, 12, (n, 1))
    busy = (np.arange(bins)[None, :] + minute) % 12 < 2
    mean = (size * (0.2 + busy) * rng.lognormal(0, 0.1, (n, bins))).astype(np.float32)
    mean[rng.random(mean.shape) < 0.05] = np.nan
    nothing = np.zeros_like(mean)
    sold = np.full(n, np.nan if resource in ("disk", "net") else 4.0, np.float32)
    names = tuple(f"server-{i}" for i in range(n))
    return History(resource, names, START, mean, mean, nothing, nothing, sold, np.full(n, float(START)), step_s)


def quiet(_):
    return None


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    out = tmp_path_factory.mktemp("taught")
    report = train({"cpu": fleet(), "disk": fleet("disk")}, out, replace(TINY, steps=120, young_share=0.5), quiet)
    return out, report


def test_training_writes_both_nets_and_nothing_else(taught):
    out, report = taught
    assert sorted(p.name for p in out.iterdir()) == ["net.npz", "young.npz"]
    assert report.series == 32
    assert report.groups == 16  # 8 made up for each resource: half as many as servers
    assert set(report.validation) == {"grown", "young"}
    assert not report.resumed


def test_what_it_says_is_ordered_positive_and_complete(taught):
    h = fleet(n=20, seed=3)
    f = Net.load(taught[0]).predict(h, h.until)
    for name, shape in zip(HEADS, ((20, 6, 13), (20, 48, 13), (20, 13), (20, 13)), strict=True):
        fan = getattr(f, name)
        assert fan.shape == shape
        assert fan.dtype == np.float32
        assert np.isfinite(fan).all()
        assert (fan >= 0).all()
        assert (np.diff(fan, axis=-1) >= 0).all()
    assert set(f.source) == {"net"}


def test_on_servers_it_never_saw_it_beats_the_window_quantiles(taught):
    h = fleet(n=40, seed=9)
    cut = h.bins - BINS_PER_DAY
    f = Net.load(taught[0]).predict(h, START + cut * 300)
    truth = h.mean[:, cut : cut + 6]
    window = quantiles(h.mean[:, cut - 24 : cut], LEVELS)[:, None, :]
    # an hourly job: the two hours' quantiles know its size but not its minute
    assert pinball(f.steps, truth) < 0.8 * pinball(window, truth)


def pinball(fan, truth):
    error = truth[..., None] - fan
    levels = np.asarray(LEVELS)
    return np.nanmean(np.maximum(levels * error, (levels - 1) * error))


def test_a_young_server_is_told_by_the_young_net_and_an_empty_one_by_nobody(taught):
    h = fleet(n=3)
    mean = h.mean.copy()
    mean[1, :-20] = np.nan
    mean[2] = np.nan
    f = Net.load(taught[0]).predict(replace(h, mean=mean, max=mean), h.until)
    assert f.source == ("net", "net-young", "")
    assert np.isfinite(f.steps[:2]).all()
    assert np.isnan(f.steps[2]).all()
    assert "too little data" in f.reason[2]


def test_a_server_fifteen_minutes_old_is_not_believed_to_know_itself(taught):
    h = fleet(n=40, seed=5)
    cut = h.bins - BINS_PER_DAY
    mean = h.mean.copy()
    mean[:, : cut - 3] = np.nan
    f = Net.load(taught[0]).predict(replace(h, mean=mean, max=mean), START + cut * 300)
    truth = h.mean[:, cut : cut + 6]
    own = quantiles(mean[:, cut - 3 : cut], LEVELS)[:, None, :]
    covered, naive = (np.mean(((truth >= fan[..., 0]) & (truth <= fan[..., -1]))[np.isfinite(truth)]) for fan in (f.steps, own))
    # three bins' own extremes cover about one half of what comes; a net of 60 steps is on its way to 98 %
    assert naive < 0.6
    assert covered > naive + 0.2


def test_any_length_and_any_grid_is_read(taught):
    net = Net.load(taught[0])
    for bins in (2, 12, 300, 577, DAYS * BINS_PER_DAY):
        h = fleet(n=2, step_s=1)
        mean = h.mean[:, -bins:]
        short = replace(h, mean=mean, max=mean, coverage=mean, censored=np.zeros_like(mean))
        assert np.isfinite(net.predict(short, short.until).peak24h).all(), bins


def test_counts_of_servers_are_nothing_it_was_taught(taught):
    h = replace(fleet(n=2), resource="servers", series=("host:a", "project:b"))
    f = Net.load(taught[0]).predict(h, h.until)
    assert f.source == ("", "")
    assert np.isnan(f.half_hours).all()


def test_the_future_of_the_origin_is_not_looked_at(taught):
    h = fleet(n=4)
    origin = START + 4 * BINS_PER_DAY * 300
    other = h.mean.copy()
    other[:, 4 * BINS_PER_DAY :] = 1000.0
    net = Net.load(taught[0])
    for name in HEADS:
        one, two = net.predict(h, origin), net.predict(replace(h, mean=other, max=other), origin)
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_maximum_above_the_mean_raises_the_peaks_only_a_net_taught_so_can_know(tmp_path):
    h = fleet()
    burst = replace(h, max=h.mean * 3)
    train({"cpu": burst}, tmp_path, replace(TINY, steps=60), quiet)
    f = Net.load(tmp_path).predict(burst, h.until)
    assert np.median(f.peak30m[:, 6]) > 1.8 * np.median(f.steps[:, :, 6].max(axis=1))


def test_the_same_seed_gives_the_same_net(tmp_path):
    for name in ("a", "b"):
        train({"cpu": fleet()}, tmp_path / name, TINY, quiet)
    assert (tmp_path / "a/net.npz").read_bytes() == (tmp_path / "b/net.npz").read_bytes()


class Interrupted(Exception):
    """The process ended here."""


def test_an_interrupted_training_goes_on_where_it_was(tmp_path):
    def interrupt(p):
        if p.phase == "grown" and p.step >= 25:
            raise Interrupted

    with pytest.raises(Interrupted):
        train({"cpu": fleet()}, tmp_path / "a", TINY, interrupt)
    assert (tmp_path / "a/checkpoint").exists()
    seen = []
    report = train({"cpu": fleet()}, tmp_path / "a", TINY, seen.append)
    assert report.resumed
    assert seen[0].step >= 15
    train({"cpu": fleet()}, tmp_path / "b", TINY, quiet)
    h = fleet(n=4, seed=8)
    one, two = (Net.load(tmp_path / name).predict(h, h.until).steps for name in ("a", "b"))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_a_damaged_checkpoint_starts_again(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"PK\x03\x04 nothing")
    assert not train({"cpu": fleet()}, tmp_path, replace(TINY, steps=4), quiet).resumed


def test_nothing_from_the_end_on_is_read(tmp_path):
    h = fleet()
    until = START + 5 * BINS_PER_DAY * 300
    other = h.mean.copy()
    other[:, 5 * BINS_PER_DAY :] = 500.0
    for name, mean in (("a", h.mean), ("b", other)):
        train({"cpu": replace(h, mean=mean, max=mean)}, tmp_path / name, replace(TINY, until=until, steps=6), quiet)
    assert (tmp_path / "a/net.npz").read_bytes() == (tmp_path / "b/net.npz").read_bytes()


@pytest.mark.parametrize("encoder", ["mlp", "tcn", "lstm"])
def test_every_encoder_trains_and_comes_back_from_its_file(tmp_path, encoder):
    train({"cpu": fleet()}, tmp_path, replace(TINY, encoder=encoder, steps=4), quiet)
    net = Net.load(tmp_path)
    assert net.grown.shape.encoder == encoder
    h = fleet(n=2)
    assert np.isfinite(net.predict(h, h.until).half_hours).all()


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "version"])
def test_a_damaged_file_is_refused_with_advice(taught, tmp_path, damage):
    for name in ("net.npz", "young.npz"):
        (tmp_path / name).write_bytes((taught[0] / name).read_bytes())
    path = tmp_path / "young.npz"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "text":
        path.write_text("weights")
    else:
        np.savez(path, shape=np.asarray('{"format": 999}'))
    with pytest.raises(ModelError, match="train again"):
        Net.load(tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "net.npz.part").symlink_to("/dev/full")
    with pytest.raises(ModelError, match="free some space"):
        train({"cpu": fleet()}, tmp_path, replace(TINY, steps=4), quiet)
    assert not (tmp_path / "net.npz").exists()
    assert not (tmp_path / "net.npz.part").is_symlink()


def test_too_little_to_learn_from_is_said(tmp_path):
    h = fleet()
    few = replace(h, mean=h.mean[:, :100], max=h.mean[:, :100], censored=h.censored[:, :100])
    with pytest.raises(ModelError, match="nothing to learn from"):
        train({"cpu": few}, tmp_path, TINY, quiet)
    with pytest.raises(ModelError, match="nothing to learn from"):
        train({}, tmp_path, TINY, quiet)


def test_an_unknown_encoder_or_device_is_said(tmp_path):
    for settings in (replace(TINY, encoder="oracle"), replace(TINY, device="abacus")):
        with pytest.raises(ModelError, match=r"encoder|device"):
            train({"cpu": fleet()}, tmp_path, settings, quiet)


def test_groups_are_sums_of_servers_and_never_validate():
    data = bank({"cpu": fleet(n=30)}, None, 1000, np.random.default_rng(0))
    assert data.group.sum() == 15
    held, taught = split(data, 0)
    assert not data.group[held].any()
    assert data.group[taught].sum() == 15
    # 5 to 30 servers of weights 0.5 to 1.5: never smaller than half of five servers' entitlements
    assert (data.entitlement[data.group] >= 0.5 * 5 * 4.0).all()


def test_a_draw_depends_on_its_generator_alone():
    data = bank({"cpu": fleet()}, None, 1000, np.random.default_rng(0))
    sampler = Sampler(data, np.arange(len(data)))
    one, two = (sampler.draw(32, True, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.told.table, two.told.table)
    # cut at two days at most: a week's known share is at most 2/7 of the bins
    assert (one.told.levels.shape[0], one.worth.min() >= 0) == (32, True)
