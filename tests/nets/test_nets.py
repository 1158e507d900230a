import pytest
import torch

from edgegrow.errors import InputError
from edgegrow.nets import NETS, load_net
from edgegrow.nets.layers import same_padding

SHAPES = {
    "mlp": [(1, 28, 28), (12,), (3, 40)],
    "conv1d": [(1, 40), (3, 25)],
    "dscnn": [(1, 28, 28), (1, 49, 10), (3, 7, 5)],
    "mobilenet": [(1, 28, 28), (3, 33, 33)],
    "resnet8": [(3, 32, 32), (1, 9, 9)],
}


@pytest.mark.parametrize(("name", "shape"), [(n, s) for n in NETS for s in SHAPES[n]])
def test_every_net_takes_every_size(name, shape):
    module = load_net(name).build(shape, 7).eval()
    assert module(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", NETS)
def test_widths_are_an_argument(name):
    net = load_net(name)
    doubled = net.build(SHAPES[name][0], 10, [2 * width for width in net.widths])
    assert sum(p.numel() for p in doubled.parameters()) > 1.8 * sum(
        p.numel() for p in net.build(SHAPES[name][0], 10).parameters()
    )


@pytest.mark.parametrize("size", range(1, 40))
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2), (1, 2), (4, 3)])
def test_same_padding_gives_tensorflows_output_size_with_the_odd_zero_last(size, kernel, stride):
    before, after = same_padding(size, kernel, stride)
    assert after - before in (0, 1)
    # A kernel shorter than its stride needs no padding at all; the last positions may then be left out.
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50", "net resnet50: unknown: choose mlp, conv1d"),
        ("no_such_module:f", "cannot import it: ModuleNotFoundError"),
        ("math:no_such_function", "cannot import it: AttributeError"),
        ("math:pi", "not a function"),
    ],
)
def test_unknown_networks_are_named_in_one_line(name, message):
    with pytest.raises(InputError, match=message) as error:
        load_net(name)
    assert "\n" not in str(error.value)


def test_a_net_refuses_data_of_another_kind():
    with pytest.raises(InputError, match=r"dscnn: it takes \(c, h, w\) images, the data has shape \(64,\)"):
        load_net("dscnn").build((64,), 10)


def test_a_users_function_that_fails_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def net(shape, classes):\n    raise ValueError('two\\nlines')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="net mine:net: building it failed: ValueError: two lines"):
        load_net("mine:net").build((3,), 2)
