"""The meter: what it counts, what it remembers, what it refuses."""

import math

import pytest
import torch
from align_your_steps.optimizer import DenoiserError, Meter

X = torch.arange(6.0).reshape(3, 2)
NEXT = torch.nextafter(X, X + 1)  # one unit in the last place above X


class Double:
    """A computation that counts itself."""

    def __init__(self, x: torch.Tensor):
        self.x = x
        self.count = 0

    def __call__(self) -> torch.Tensor:
        self.count += 1
        return 2 * self.x


def test_meter_counts_rows_and_calls():
    meter = Meter()
    meter(X, 1.0, Double(X))
    meter(X[:1], 1.0, Double(X[:1]))
    assert (meter.rows, meter.calls) == (4, 2)


def test_equal_call_is_answered_from_memory_and_not_counted():
    meter, double = Meter(), Double(X)
    outputs = [meter(X.clone(), 1.0, double) for _ in range(3)]
    assert double.count == 1
    assert (meter.rows, meter.calls) == (3, 1)
    assert all(torch.equal(output, 2 * X) for output in outputs)


@pytest.mark.parametrize(
    "x, sigma",
    [(X, 1.0000001), (NEXT, 1.0), (X[:2], 1.0), (X.reshape(2, 3), 1.0), (X[:, :, None], 1.0)],
)
def test_any_other_call_is_computed(x, sigma):
    meter, double = Meter(), Double(x)
    meter(X, 1.0, Double(X))
    assert torch.equal(meter(x, sigma, double), 2 * x)
    assert double.count == 1


def test_memory_is_not_changed_through_inputs_or_outputs():
    meter, x = Meter(), X.clone()
    meter(x, 1.0, lambda: x + 1).zero_()
    meter(X.clone(), 1.0, Double(X)).zero_()
    assert torch.equal(meter(X, 1.0, Double(X)), X + 1)
    x.zero_()
    assert torch.equal(meter(X, 1.0, Double(X)), X + 1)


def test_forget_makes_the_next_call_computed():
    meter, double = Meter(), Double(X)
    meter(X, 1.0, double)
    meter.forget()
    meter(X, 1.0, double)
    assert double.count == 2
    assert meter.rows == 6


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_memory_holds_no_more_than_its_bound(kept):
    meter = Meter(memory=kept * 2 * X.nbytes + X.nbytes)  # an input and an output each
    levels = [5.0, 4.0, 3.0, 2.0, 1.0]
    for sigma in levels:
        meter(X, sigma, Double(X))
    again = Double(X)
    for sigma in levels:
        meter(X, sigma, again)
    assert again.count == len(levels) - kept


def test_forget_frees_the_memory():
    meter, double = Meter(memory=2 * X.nbytes), Double(X)
    for sigma in (3.0, 2.0):
        meter.forget()
        meter(X, sigma, double)
        meter(X, sigma, double)
    assert double.count == 2


def test_meter_that_does_not_remember_always_computes():
    meter, double = Meter(remember=False), Double(X)
    meter(X, 1.0, double)
    meter(X, 1.0, double)
    assert double.count == 2
    meter.remember = True
    meter(X, 1.0, double)
    assert double.count == 3  # what was computed before was not kept


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_output_that_is_not_finite_is_refused_with_its_level(bad):
    output = X.clone()
    output[1, 1] = bad
    with pytest.raises(DenoiserError, match=r"NaN or infinite values at noise level 1\.25"):
        Meter()(X, 1.25, lambda: output)


def test_output_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(DenoiserError, match=r"shape \[3, 1\] for an input of shape \[3, 2\]"):
        Meter()(X, 1.0, lambda: X[:, :1])


def test_refused_output_is_counted_and_not_remembered():
    meter, double = Meter(), Double(X)
    with pytest.raises(DenoiserError):
        meter(X, 1.0, lambda: X * math.nan)
    assert meter.rows == 3
    assert torch.equal(meter(X, 1.0, double), 2 * X)
    assert double.count == 1


def test_call_that_may_not_be_recalled_is_neither_kept_nor_answered_from_memory():
    meter, double = Meter(), Double(X)
    meter(X, 1.0, double, recall=False)
    meter(X, 1.0, double)
    assert double.count == 2
    meter(X, 1.0, double, recall=False)
    assert double.count == 3
    meter(X, 1.0, double)
    assert double.count == 3
