"""When the head of a run takes one pass, and what it then keeps."""

import pytest

import easydel as ed
from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import make_loader
from easydel.models.causal_lm import CausalLM
from easydel.sharding import make_mesh
from easydel.trainers.head_plan import HeadPlan, plan_head, plan_trained_head
from easydel.trainers.objective import make_objective
from oracles.tiny import tiny_config, tiny_pairs

LOADER = make_loader(tiny_pairs(8), BatchLayout(4))
LONGEST = int(LOADER.measured[:, 1].max())


def model(devices: int = 1, **settings: object) -> CausalLM:
    return CausalLM.from_config(tiny_config(**settings), mesh=make_mesh((1, devices, 1, 1, 1)))


def head(model: CausalLM, loader: object = LOADER, **settings: object) -> HeadPlan:
    return plan_trained_head(make_objective(ed.DPOConfig(**settings)), model.decoder, loader)


def test_a_loss_of_single_pairs_takes_one_pass_and_its_reference_the_same_chunks():
    found = head(model())
    assert found == HeadPlan(256, LONGEST)
    assert plan_head(model().decoder.mesh) == HeadPlan(256)


@pytest.mark.parametrize(
    "settings",
    [{"loss_type": "kto_pair"}, {"loss_type": ["sigmoid", "aot"]}, {"use_weighting": True}, {"ld_alpha": 0.5}],
)
def test_a_loss_that_looks_further_than_one_pair_computes_logits_again(settings):
    assert head(model(), **settings).longest is None


def test_several_devices_a_stream_and_pairs_too_long_to_keep_compute_logits_again():
    assert head(model(devices=2)).longest is None
    assert head(model(), loader=None).longest is None
    long = [pair._replace(chosen=[1] * 1200, rejected=[1] * 900) for pair in LOADER.pairs]
    assert head(model(), loader=make_loader(long, BatchLayout(4))).longest is None


def test_what_is_alive_is_a_pair_s_chunks_and_two():
    assert HeadPlan(256).alive == 3 * 256
    assert HeadPlan(256, longest=1000).alive == 7 * 256  # 1000 slots can lie in five chunks
