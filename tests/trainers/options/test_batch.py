"""Batches and their parts."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig


def test_a_batch_divides_into_its_micro_batches():
    assert DPOConfig(total_batch_size=6, gradient_accumulation_steps=3).gradient_accumulation_steps == 3
    with pytest.raises(ConfigError, match="total_batch_size = 16 must be divisible by gradient_accumulation_steps = 3"):
        DPOConfig(total_batch_size=16, gradient_accumulation_steps=3)


def test_a_run_is_longer_than_nothing():
    with pytest.raises(ConfigError, match="num_train_epochs = 0 must be above 0"):
        DPOConfig(num_train_epochs=0)
