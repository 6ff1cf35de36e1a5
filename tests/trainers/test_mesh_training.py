"""Five updates on eight CPU devices are those on one, however rows and weights are split."""

from typing import NamedTuple

import jax
import numpy as np
import pytest
from jaxtyping import PyTree

import easydel as ed
from easydel.data.pack import Batch, Shape, pack, stack
from easydel.models.config import ModelConfig
from easydel.models.rows import tensors
from easydel.sharding import row_shards
from easydel.trainers.batch_placement import on_mesh
from easydel.trainers.config import DPOConfig
from easydel.trainers.objective import make_objective
from easydel.trainers.optimizer import make_optimizer
from easydel.trainers.reference import Reference
from easydel.trainers.step_functions import Forward, make_train_step
from easydel.trainers.train_state import TrainState, initial_state, trained_copy
from oracles.runs import config, logged
from oracles.tiny import ONE_DEVICE, tiny_config, tiny_model, tiny_pairs

UPDATES, BETA = 5, 0.5
MESHES = [(8, 1, 1, 1, 1), (1, 8, 1, 1, 1), (2, 2, 1, 2, 1), (1, 2, 1, 1, 4)]
SPARSE = tiny_config(
    model_type="mixtral", num_hidden_layers=1, num_local_experts=4, router_aux_loss_coef=0.5, sliding_window=4
)


class Run(NamedTuple):
    """What five updates left, and the loss of each."""

    losses: list[float]
    state: TrainState
    weights: PyTree  # of the end, on the host


def train(dims: tuple[int, ...], config: ModelConfig | None = None) -> Run:
    model = tiny_model(dims=dims, config=config)
    mesh = model.decoder.mesh
    # The large epsilon: otherwise the first updates hang on the signs of gradients that are nearly 0.
    optimizer = make_optimizer("adamw", lambda step: 0.01, tensors=tensors(model.rows), epsilon=1e-3)
    state = initial_state(trained_copy(model.params, None), optimizer, 0, mesh)
    objective = make_objective(DPOConfig(loss_type="aot", beta=BETA), model.config.experts)
    forward = Forward(model.decoder, chunk=16, routing=objective.balance is not None)
    step = make_train_step(forward, objective, optimizer, state, dropout=False)
    reference = Reference(model.decoder, model.params, chunk=16)
    batch = on_mesh(eight_pairs(row_shards(mesh)), mesh)
    losses = []
    for _ in range(UPDATES):
        state, sums = step(state, batch, reference.logprobs("pairs", batch, batch))
        losses.append(float(sums["loss"]) / float(sums["pairs"]))
    return Run(losses, state, jax.tree.map(np.asarray, state.params))


def eight_pairs(shards: int) -> Batch:
    """The same pairs for every mesh, and one filler, as the last batch of an epoch has."""
    shape = Shape(rows=8, length=24, slots=128 if shards == 1 else 64)
    return stack([pack(tiny_pairs(8), shape=shape, shards=shards, pad_pairs_to=9)])


@pytest.fixture(scope="module")
def alone() -> Run:
    return train(ONE_DEVICE)


@pytest.mark.parametrize("dims", MESHES, ids=str)
def test_training_on_a_mesh_is_training_on_one_device(alone, dims):
    assert alone.losses[0] == pytest.approx(np.log(2), abs=1e-6)
    assert alone.losses[-1] < 0.6
    check_run(train(dims), alone, dims)


def test_training_experts_on_a_mesh_is_training_them_on_one_device():
    dims = (1, 2, 2, 2, 1)
    run, alone = train(dims, SPARSE), train(ONE_DEVICE, SPARSE)
    assert alone.losses[-1] < alone.losses[0] - 0.1
    check_run(run, alone, dims)
    kernel = run.state.params["layers"]["experts"]["gate"]["kernel"]
    assert kernel.addressable_shards[0].data.size * 8 == kernel.size


def check_run(run: Run, alone: Run, dims: tuple[int, ...]) -> None:
    """The same losses and weights, and nothing whole on each device that should be split."""
    np.testing.assert_allclose(run.losses, alone.losses, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), run.weights, alone.weights)
    check_split(run.state, dims)


def check_split(state: TrainState, dims: tuple[int, ...]) -> None:
    """Each moment lies where its weight lies, and weights are split over fsdp x tp x sp."""
    moments = [tree for tree in jax.tree.leaves(state.opt_state, is_leaf=is_params) if is_params(tree)]
    assert len(moments) == 2
    for moment in moments:
        jax.tree.map(assert_same_place, moment, state.params)
    kernel = state.params["layers"]["query"]["kernel"]
    assert kernel.addressable_shards[0].data.size * dims[1] * dims[3] * dims[4] == kernel.size


def is_params(tree) -> bool:
    return isinstance(tree, dict) and "embedding" in tree


def assert_same_place(moment: jax.Array, weight: jax.Array) -> None:
    assert moment.sharding.is_equivalent_to(weight.sharding, weight.ndim)


def test_a_checkpoint_of_one_mesh_is_continued_on_another(tmp_path):
    rows = [
        {"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in tiny_pairs(32)
    ]
    options = {"total_batch_size": 8, "learning_rate": 1e-3, "save_steps": 2, "do_last_save": False}

    def losses(name: str, *meshes: tuple[int, ...]) -> list[float]:
        for at, mesh in enumerate(meshes):
            arguments = config(tmp_path / name, resume="auto", max_training_steps=2 + 2 * at, **options)
            ed.DPOTrainer(arguments, tiny_model(dims=mesh), train_dataset=rows).train()
        return logged(tmp_path / name, "loss")

    np.testing.assert_allclose(
        losses("moved", (2, 2, 1, 2, 1), (1, 2, 1, 1, 4), ONE_DEVICE), losses("stayed", *[ONE_DEVICE] * 3), atol=1e-5
    )
