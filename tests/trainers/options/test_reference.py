"""Options of a reference that is not there, moves, or is computed beforehand."""

import pytest

from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ref_model_mixup_alpha": 1.5}, "must be at least 0 and at most 1"),
        ({"ref_model_mixup_alpha": 0.5}, "ref_model_mixup_alpha = 0.5 needs sync_ref_model = True"),
        ({"ref_model_sync_steps": 8}, "ref_model_sync_steps = 8 needs sync_ref_model = True"),
        (
            {"reference_free": True, "sync_ref_model": True},
            "sync_ref_model = True needs a reference, but reference_free = True trains without",
        ),
        (
            {"loss_type": "simpo", "sync_ref_model": True},
            "sync_ref_model = True needs a reference, but loss_type 'simpo' trains without",
        ),
        ({"loss_type": "simpo", "reference_free": True}, "reference_free = True has no effect: loss_type 'simpo'"),
        (
            {"precompute_ref_log_probs": True, "reference_free": True},
            "precompute_ref_log_probs = True needs a reference, but reference_free = True",
        ),
        (
            {"precompute_ref_log_probs": True, "loss_type": ["orpo", "sft"]},
            r"precompute_ref_log_probs = True needs a reference, but loss_type \['orpo', 'sft'\] trains without",
        ),
        ({"precompute_ref_log_probs": True, "sync_ref_model": True}, "needs a reference that stays the same"),
        ({"precompute_ref_batch_size": 8}, "precompute_ref_batch_size = 8 needs precompute_ref_log_probs = True"),
    ],
)
def test_options_of_a_reference_that_contradict_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(**options)


def test_a_reference_is_needed_where_a_loss_looks_at_one_and_there_is_one():
    assert DPOConfig(loss_type=["sft", "sigmoid"], sync_ref_model=True).needs_reference
    assert DPOConfig(precompute_ref_log_probs=True, precompute_ref_batch_size=8).needs_reference
    assert not DPOConfig(reference_free=True).needs_reference
    assert not DPOConfig(loss_type="orpo").needs_reference
