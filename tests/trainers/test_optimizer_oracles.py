"""Five updates of every optimizer against torch and transformers, tensor by tensor of the file."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from easydel.models.config import ModelConfig
from easydel.models.rows import axis_sizes, tensors, weight_rows
from easydel.trainers.config import DPOConfig
from easydel.trainers.optimizer import is_decayed, make_optimizer
from easydel.trainers.trainable import Partition, make_partition
from easydel.weights.load import export_tensors
from easydel.weights.table import Row, Sizes, Tensor, nest, unnest
from oracles.cases import CASES as CONFIGURATIONS
from oracles.tiny import tiny_config, tiny_model

pytestmark = pytest.mark.oracle
RATE, UPDATES = 0.01, 5
OPTIMIZERS = ("adamw", "adafactor", "lion", "rmsprop", "muon")
SIZES = (1.0, 1e-3, 1e-6, 1e-9)
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "head_dim": 4}
CASES: dict[str, dict[str, Any]] = {
    "33 layers with biases": {"num_hidden_layers": 33, "attention_bias": True, "mlp_bias": True},
    "norms of queries": {"model_type": "qwen3", "head_dim": 6},
    "norms of all heads": {"model_type": "olmo2"},
    "fused": {"model_type": "phi3", "num_hidden_layers": 3},
    "experts": {"model_type": "qwen3_moe", **EXPERTS},
    "adapters": {"num_hidden_layers": 3},
    "adapters of fused": {"model_type": "phi3"},
}


class Case(NamedTuple):
    """Weights to train, and how to write them as the tensors of a file."""

    params: dict[str, Any]
    rows: list[Row]
    sizes: Sizes
    known: dict[str, Tensor]

    def files(self, tree: Any, *, each_part: bool = False) -> dict[str, np.ndarray]:
        """Returns the tensors of the file; with `each_part` those that lie side by side in one apart."""
        tree = jax.tree.map(jnp.asarray, tree)
        rows = [row for row in self.rows if row.path in unnest(tree)]
        if not each_part:
            return dict(export_tensors(rows, tree, self.sizes, None))
        return {
            f"{name}#{'.'.join(row.path)}": tensor
            for row in rows
            for name, tensor in export_tensors([row._replace(part=None)], tree, self.sizes, None)
        }


@functools.cache
def case(name: str) -> Case:
    config = tiny_config(**CASES[name])
    model = tiny_model(config=config)
    partition = Partition({})
    if name.startswith("adapters"):
        model = model.apply_lora(3, use_dora=True)
        partition = make_partition(DPOConfig(), model)
    params = jax.tree.map(lambda x: 0.1 * normal(x.shape, seed=x.size), partition.trained_part(model.params))
    return Case(params, model.rows, model.sizes, partition.trained_entries(tensors(model.rows)))


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def gradients(params: Any, size: float) -> list[Any]:
    """Returns a gradient for each update; every third weight of an array has one a hundred times as large."""

    leaves, structure = jax.tree.flatten(params)

    def of(update: int, place: int, x: np.ndarray) -> np.ndarray:
        strength = np.where(np.arange(x.size).reshape(x.shape) % 3 == update % 3, 1.0, 0.01)
        return (size * normal(x.shape, seed=1000 * update + place) * strength).astype(np.float32)

    return [
        jax.tree.unflatten(structure, [of(update, place, leaf) for place, leaf in enumerate(leaves)])
        for update in range(1, UPDATES + 1)
    ]


def ours(name: str, case: Case, given: list[Any], **options: Any) -> Any:
    optimizer = make_optimizer(name, lambda step: RATE, tensors=case.known, **options)

    @jax.jit
    def step(params: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params, state = case.params, optimizer.init(case.params)
    for gradient in given:
        params, state = step(params, state, gradient)
    return jax.tree.map(np.asarray, params)


class _Lion:
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, params: list[Any], lr: float, weight_decay: float) -> None:
        self.params, self.rate, self.decay = params, lr, weight_decay
        self.momenta = [0.0 * p.detach() for p in params]

    def step(self) -> None:
        for place, p in enumerate(self.params):
            m, g = self.momenta[place], p.grad
            p.data -= self.rate * ((0.9 * m + 0.1 * g).sign() + self.decay * p.data)
            self.momenta[place] = 0.99 * m + 0.01 * g


class _DecoupledRMSprop:
    """torch's RMSprop without its decay, which is added to the gradient; ours is AdamW's."""

    def __init__(self, params: list[Any], lr: float, weight_decay: float) -> None:
        import torch

        self.params, self.keeps = params, 1 - lr * weight_decay
        self.inner = torch.optim.RMSprop(params, lr=lr)

    def step(self) -> None:
        for p in self.params:
            p.data *= self.keeps
        self.inner.step()


def made_by(name: str, params: list[Any], decay: float) -> Any:
    import torch
    import transformers

    if name == "adafactor":
        options = {"scale_parameter": False, "relative_step": False}  # as Trainer has it
        return transformers.Adafactor(params, lr=RATE, weight_decay=decay, **options)
    if name == "muon":
        return torch.optim.Muon(params, lr=RATE, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    makers = {"adamw": torch.optim.AdamW, "lion": _Lion, "rmsprop": _DecoupledRMSprop}
    return makers[name](params, lr=RATE, weight_decay=decay)


def theirs(
    name: str, start: dict[str, np.ndarray], given: list[dict[str, np.ndarray]], matrices: set[str], *, decay: float
) -> Any:
    """Returns the tensors after the updates; of Muon those in `matrices` and AdamW's the rest."""
    torch = pytest.importorskip("torch")
    params = {key: torch.nn.Parameter(torch.tensor(tensor)) for key, tensor in start.items()}
    kinds: dict[tuple[str, float], list[Any]] = {}
    for key, p in params.items():
        kind = name if name != "muon" or key in matrices else "adamw"
        kinds.setdefault((kind, 0.0 if "norm" in key or "bias" in key else decay), []).append(p)
    optimizers = [made_by(kind, group, own) for (kind, own), group in kinds.items()]
    for gradient in given:
        for key, p in params.items():
            p.grad = torch.tensor(gradient[key])
        for optimizer in optimizers:
            optimizer.step()
    return {key: p.detach().numpy() for key, p in params.items()}


def clipped(given: list[Any], largest: float) -> list[Any]:
    """Returns the gradients after torch has clipped them."""
    torch = pytest.importorskip("torch")

    def of(gradient: Any) -> Any:
        leaves, structure = jax.tree.flatten(gradient)
        params = [torch.nn.Parameter(torch.zeros(leaf.shape)) for leaf in leaves]
        for p, leaf in zip(params, leaves, strict=True):
            p.grad = torch.tensor(leaf)
        torch.nn.utils.clip_grad_norm_(params, largest)
        return jax.tree.unflatten(structure, [p.grad.numpy() for p in params])

    return [of(gradient) for gradient in given]


def matrices_of(case: Case, *, each_part: bool) -> set[str]:
    between = {path: x for path, x in unnest(case.params).items() if unnest(case.known)[path].between_activations}
    return set(case.files(nest(between), each_part=each_part))


def check(name: str, case: Case, *, size: float, decay: float, clip: float | None) -> None:
    given = gradients(case.params, size)
    found = ours(name, case, given, weight_decay=decay, clip_grad=clip)
    apart = name == "muon"  # which takes each matrix of a fused tensor by itself
    files = functools.partial(case.files, each_part=apart)
    given = given if clip is None else clipped(given, clip)
    matrices = matrices_of(case, each_part=apart)
    expected = theirs(name, files(case.params), [files(gradient) for gradient in given], matrices, decay=decay)
    start, mine = files(case.params), files(found)
    assert set(mine) == set(expected)
    # The iteration of Muon makes the smallest singular values, and their rounding, 485 times as large.
    near = 1e-3 if name == "muon" else 2e-5
    wrong = {}
    for key, tensor in expected.items():
        moved, wanted = mine[key] - start[key], tensor - start[key]
        # The weights themselves are rounded at each update.
        off = np.abs(moved - wanted) > 2e-4 * np.abs(wanted) + max(near * np.abs(wanted).max(), 1e-6)
        wrong |= {f"{key} {place}": (moved[place], wanted[place]) for place in zip(*np.nonzero(off), strict=True)}
    # The sign of a number that is 0 but for rounding may be either.
    assert len(wrong) <= (2 if name == "lion" else 0), wrong


@pytest.fixture
def iterates_in_float32(monkeypatch):
    """torch's Muon iterates in bfloat16, which hides what differs by less than a hundredth."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)


@pytest.mark.usefixtures("iterates_in_float32")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_updates_are_those_of_torch_and_transformers(name, size):
    check(name, case("33 layers with biases"), size=size, decay=0.1, clip=30.0 * size)


@pytest.mark.usefixtures("iterates_in_float32")
@pytest.mark.parametrize("which", list(CASES)[1:])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_tensor_is_what_the_file_has_under_one_name(name, which):
    check(name, case(which), size=1e-3, decay=0.1, clip=None)


@pytest.mark.usefixtures("iterates_in_float32")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arrays_that_are_no_stacks_are_treated_alike(name, size):
    params = {
        "matrix": normal((40, 36), 1),
        "flat": normal((3, 50), 2),
        "norm": normal((7,), 3),
        "bias": normal((1,), 4),
    }
    rows = [
        Row("matrix", ("matrix",), "out into -> into out"),
        Row("flat", ("flat",), "few many -> few many"),
        Row("norm", ("norm",), "width -> width"),
        Row("bias", ("bias",), "one -> one"),
    ]
    sizes = {"into": 40, "out": 36, "few": 3, "many": 50, "width": 7, "one": 1}
    check(name, Case(params, rows, sizes, tensors(rows)), size=size, decay=0.1, clip=None)


def test_muon_is_near_that_of_torch_which_iterates_in_bfloat16():
    pytest.importorskip("torch")
    of = case("norms of queries")
    given = gradients(of.params, 1.0)
    matrices = matrices_of(of, each_part=False)
    found = of.files(ours("muon", of, given))
    start = of.files(of.params)
    expected = theirs("muon", start, [of.files(gradient) for gradient in given], matrices, decay=0.0)
    for key in matrices:
        moved, wanted = found[key] - start[key], expected[key] - start[key]
        assert np.linalg.norm(moved - wanted) < 0.02 * np.linalg.norm(wanted), key


@pytest.mark.filterwarnings("ignore")  # of transformers, about itself
@pytest.mark.parametrize("which", ["llama-biases", "qwen3", "gemma3", "phi3", "olmo2", "mixtral"])
def test_weights_decay_that_transformers_lets_decay(which):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    source = CONFIGURATIONS[which]
    config = ModelConfig.from_hf(source)
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**source))
    their_decayed = transformers.Trainer.get_decay_parameter_names(None, theirs)
    names = {name for name, _ in theirs.named_parameters()}
    rows = weight_rows(config)
    ours = unnest(is_decayed(nest({row.path: np.zeros(1) for row in rows})))
    seen = 0
    for row in rows:
        for name in row.names(axis_sizes(config)):
            if name in names:  # not those of experts, which transformers 5 holds in one
                assert ours[row.path] == (name in their_decayed), name
                seen += 1
    assert seen > 10
