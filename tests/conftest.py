"""What all tests share."""

import pytest
import torch

from edgegrow.data import load_dataset
from edgegrow.training import deterministic


@pytest.fixture(autouse=True)
def _repeatable():
    deterministic(threads=1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits")
