"""Windows and quantiles over many series, against numpy's own, one series at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from foreshape_controller.forecast.quantiles import last_value, quantiles, rolling_mean, window_max

pytestmark = pytest.mark.unit

values = st.one_of(st.just(np.nan), st.floats(0, 100, width=32))
grids = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=values)


@given(grids)
def test_quantiles_are_numpys_with_gaps_left_out(grid):
    found = quantiles(grid, [0.0, 0.3, 0.5, 1.0])
    for got, line in zip(found, grid, strict=True):
        known = line[np.isfinite(line)]
        expected = np.quantile(known, [0.0, 0.3, 0.5, 1.0]) if len(known) else [np.nan] * 4
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@given(grids, st.integers(1, 12))
def test_window_max_is_the_largest_of_each_window(grid, width):
    found = window_max(grid, width)
    assert found.shape == (len(grid), max(0, grid.shape[1] - width + 1))
    for t in range(found.shape[1]):
        np.testing.assert_array_equal(found[:, t], np.fmax.reduce(grid[:, t : t + width], axis=1))


@given(grids, st.integers(1, 12))
def test_rolling_mean_leaves_gaps_out(grid, width):
    found = rolling_mean(grid, width)
    for t in range(found.shape[1]):
        window = grid[:, t : t + width]
        known = np.isfinite(window)
        mean = np.where(known, window, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
        np.testing.assert_allclose(found[:, t], mean, rtol=1e-3, atol=1e-3)


def test_the_last_value_is_not_older_than_asked():
    grid = np.array([[1, 2, np.nan, np.nan], [1, np.nan, np.nan, 4], [3, np.nan, np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(last_value(grid, 3), np.array([2, 4, np.nan], np.float32))
