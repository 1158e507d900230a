from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgegrow.data import checks
from edgegrow.data.splits import assemble


def made(x: Any, y: Any, **options: Any) -> Any:
    return assemble("d", x, y, origin="", where="data d", **options)


X = np.linspace(-3, 3, 30 * 2 * 4).reshape(30, 2, 4)
Y = np.arange(30) % 3


def with_value(value: float, dtype: str = "float64") -> np.ndarray:
    x = X.astype(dtype)
    x[7, 1, 2] = value
    return x


def label(index: int, value: Any, dtype: str = "int64") -> np.ndarray:
    y = Y.astype(dtype)
    y[index] = value
    return y


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (with_value(np.nan), ["x[7, 1, 2] is nan", "sample 7"]),
        (with_value(-np.inf, "float32"), ["x[7, 1, 2] is -inf"]),
        (with_value(1e300), ["x[7, 1, 2] is 1e+300"]),
        (X.astype(object), ["x is an array of Python objects"]),
        ([np.zeros((2, 4)), np.zeros((2, 5))], ["x is not an array", "one shape"]),
        (X.astype(complex), ["x has type complex128", "float32 or uint8"]),
        (X.astype(str), ["x has type <U"]),
        (X.astype("datetime64[s]"), ["x has type datetime64[s]"]),
        (X[:, 0, 0], ["x has shape (30,)", "(n, features)"]),
        (X[..., None, None], ["x has shape (30, 2, 4, 1, 1)"]),
        (X[:0], ["x has shape (0, 2, 4)"]),
        (X[:, :, :0], ["x has shape (30, 2, 0)"]),
        (X[:29], ["29 samples but 30 labels"]),
        (None, ["x is an array of Python objects"]),
    ],
)
def test_wrong_inputs(x: Any, words: list[str], fails: Callable[..., str]) -> None:
    fails(lambda: made(x, Y), "data d: ", *words)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (Y.astype(np.float64), ["y has type float64", "integers"]),
        (Y.astype(str), ["y has type <U"]),
        (Y > 0, ["y has type bool"]),
        (Y.astype(object), ["y is an array of Python objects"]),
        (Y[:, None], ["y has shape (30, 1)"]),
        (np.array(3), ["y has shape ()"]),
        (Y[:29], ["30 samples but 29 labels"]),
        (label(4, -1), ["y[4] is -1"]),
        (label(4, 30), ["y[4] is 30", "without gaps"]),
        (label(4, 2**63 + 1, "uint64"), [f"y[4] is {2**63 + 1}"]),
        (label(4, 4), ["class 3 ('3') has no samples", "renumber"]),
        (Y + 1, ["class 0 ('0') has no samples"]),
        (np.zeros(30, int), ["only one class, '0'"]),
        (np.array([0, 0, 0] * 9 + [0, 1, 1]), ["class 1 ('1') has 2 samples", "at least 3"]),
    ],
)
def test_wrong_labels(y: Any, words: list[str], fails: Callable[..., str]) -> None:
    fails(lambda: made(X, y), "data d: ", *words)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], ["y[2] is 2", "2 class_names", "0..1"]),
        (["a", "b", "c", "d"], ["class 3 ('d') has no samples"]),
        (["a", "b", "a"], ["class_names[2] repeats 'a'"]),
        (["a", " ", "c"], ["class_names[1] is ' '"]),
        (["a", "b\nc", "d"], ["class_names[1] is 'b\\nc'"]),
        (["a", "\udcff", "d"], ["class_names[1] is '\\udcff'"]),
        ([1, 2, 3], ["class_names has type int64"]),
        ([b"a", b"b", b"c"], ["class_names has type |S1"]),
        ([["a", "b", "c"]], ["shape (1, 3)"]),
        (["a", None, "c"], ["class_names is an array of Python objects"]),
        ([], ["class_names has type float64"]),
    ],
)
def test_wrong_names(names: Any, words: list[str], fails: Callable[..., str]) -> None:
    fails(lambda: made(X, Y, class_names=names), "data d: ", *words)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ((X[:5, :1], Y[:5]), ["x_test has samples of shape (1, 4), x of (2, 4)"]),
        ((X[:5].astype(np.uint8), Y[:5]), ["x is float64, x_test is uint8", "one type"]),
        ((X[:5], Y[:4]), ["5 samples but 4 labels in y_test"]),
        ((X[:5], Y[:5] + 1), ["y_test[2] is 3", "0..2"]),
        ((X[:5], Y[:5] - 1), ["y_test[0] is -1"]),
        ((with_value(np.nan), Y), ["x_test[7, 1, 2] is nan"]),
        ((X[:0], Y[:0]), ["x_test has shape (0, 2, 4)"]),
    ],
)
def test_wrong_test_split(test: Any, words: list[str], fails: Callable[..., str]) -> None:
    fails(lambda: made(X, Y, test=test), "data d: ", *words)


def test_a_given_test_split_is_kept_and_two_samples_a_class_suffice() -> None:
    data = made(X[:6], Y[:6], test=(X[6:8], Y[6:8]))
    np.testing.assert_array_equal(data.test.x, X[6:8].astype(np.float32))
    np.testing.assert_array_equal(data.test.y, [0, 1])
    assert (len(data.train), len(data.validation)) == (3, 3)


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int8", "int16", "uint16", "bool"])
def test_numbers_other_than_uint8_are_left_as_they_are(dtype: str) -> None:
    x = np.arange(60).reshape(30, 2).astype(dtype)
    data = made(x, Y)
    assert data.train.x.dtype == np.float32
    assert data.train.y.dtype == np.int64
    assert data.train.x.flags.c_contiguous
    everything = np.concatenate([data.train.x, data.validation.x, data.test.x])
    np.testing.assert_array_equal(np.sort(everything, axis=None), np.sort(x.astype(np.float32), axis=None))


def test_uint8_is_scaled() -> None:
    x = np.full((30, 2), 255, np.uint8)
    x[:, 1] = 51
    np.testing.assert_array_equal(made(x, Y).train.x[0], np.float32([1, 0.2]))


def test_torch_tensors_will_do() -> None:
    assert made(torch.tensor(X), torch.tensor(Y)).input_shape == (2, 4)


def test_a_tensor_that_is_not_an_array(fails: Callable[..., str]) -> None:
    fails(lambda: made(torch.tensor(X, requires_grad=True), Y), "x is not an array (RuntimeError")


def test_size_limit(fails: Callable[..., str]) -> None:
    checks.check_size(checks.MAX_VALUES, "data d")
    fails(lambda: checks.check_size(checks.MAX_VALUES + 1, "data d"), "data d: 1,073,741,825 values", "limit")


def test_reasons_are_one_line() -> None:
    assert checks.reason(ValueError("a\n  b\r\nc")) == "ValueError: a b c"
    assert checks.reason(KeyError()) == "KeyError"
    assert len(checks.reason(ValueError("x" * 1000))) < 250
