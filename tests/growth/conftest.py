"""Fixtures of the growth tests."""

import pytest
import torch


@pytest.fixture
def double():
    """Double precision throughout, so that an equation can be told from its neighbours."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
