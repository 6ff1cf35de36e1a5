"""Where the reference comes from, how it follows the policy, and that asking it beforehand changes nothing."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import easydel as ed
from easydel.data.batch_layout import BatchLayout
from easydel.data.loader import Loader, make_loader
from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.trainers import reference_precompute
from easydel.trainers.batch_placement import on_mesh
from easydel.trainers.record.files import read_metrics
from easydel.trainers.reference import Reference, make_reference, mix
from easydel.trainers.reference_precompute import Precompute
from oracles.tiny import micro_batches, tiny_config, tiny_model, tiny_pairs

ONE_LAYER = tiny_config(num_hidden_layers=1)
CHUNK = 16


def weights(seed: int) -> dict:
    random = np.random.default_rng(seed)
    return {
        "wide": jnp.asarray(random.standard_normal(50), jnp.float32),
        "narrow": jnp.asarray(random.standard_normal(50), jnp.bfloat16),
    }


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.9, 1.0])
def test_a_mix_is_the_weighted_mean_in_the_dtypes_of_the_reference(alpha):
    policy, reference = jax.tree.map(lambda x: x.astype(jnp.float32), weights(0)), weights(1)
    mixed = mix(policy, reference, alpha=alpha)
    for name, dtype in (("wide", jnp.float32), ("narrow", jnp.bfloat16)):
        assert mixed[name].dtype == dtype
        p, r = (np.asarray(tree[name], np.float64) for tree in (policy, reference))
        expected = jnp.asarray(alpha * p + (1 - alpha) * r, jnp.float32).astype(dtype)
        np.testing.assert_allclose(np.asarray(mixed[name], np.float64), np.asarray(expected, np.float64), rtol=1e-2)
        if dtype == jnp.float32:
            np.testing.assert_allclose(mixed[name], expected, rtol=1e-5, atol=1e-7)
    if alpha in (0.0, 1.0):
        np.testing.assert_array_equal(mixed["wide"], (policy if alpha else reference)["wide"])


def test_the_reference_moves_every_so_many_steps_and_leaves_the_weights_it_was_given():
    start = weights(0)
    before = jax.tree.map(np.array, start)
    reference = Reference(None, start, chunk=8, sync_steps=3, mixup_alpha=0.5)
    expected = np.array(start["wide"])
    for step in range(1, 8):
        policy = weights(step)
        reference.after_step(step, policy)
        if step in (3, 6):
            expected = 0.5 * np.asarray(policy["wide"]) + 0.5 * expected
        np.testing.assert_allclose(reference.params["wide"], expected, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, start, before)


def test_a_reference_that_is_not_synced_stays():
    start = weights(0)
    reference = Reference(None, start, chunk=8)
    for step in range(1, 5):
        reference.after_step(step, weights(step))
    assert reference.params is start


def test_without_a_reference_its_log_probabilities_are_zero():
    batch = micro_batches(tiny_pairs(6), 2, filler=1)
    reference = Reference(None, None, chunk=8)
    found = reference.logprobs("pairs", batch, batch)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, np.zeros((2, 4, 2)))


def loader_of(count: int = 12, **options: Any) -> Loader:
    return make_loader(tiny_pairs(count), BatchLayout(4, 2), **options)


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return tiny_model(config=ONE_LAYER)


def asked(reference: Reference, model: CausalLM, loader: Loader) -> list[np.ndarray]:
    """The log-probabilities of each batch of a loader."""
    reference.prepare("pairs", loader)
    batches = [batch for _, batch in loader.batches(epochs=2)]
    return [np.asarray(reference.logprobs("pairs", batch, on_mesh(batch, model.decoder.mesh))) for batch in batches]


@pytest.mark.exact
@pytest.mark.parametrize("ld_alpha", [None, 0.0, 0.5])
def test_asked_beforehand_or_at_each_step_a_reference_says_the_same(model: CausalLM, ld_alpha: float | None):
    options = {"chunk": CHUNK, "ld_alpha": ld_alpha}
    online = Reference(model.decoder, model.params, **options)
    cached = Reference(model.decoder, model.params, **options, precompute=Precompute(None, model.decoder.mesh))
    loader = loader_of()
    before, after = (asked(reference, model, loader) for reference in (online, cached))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    # In the first epoch they meet the batches they were computed in.
    assert all(map(np.array_equal, before[: loader.steps_per_epoch], after[: loader.steps_per_epoch]))


def test_sets_of_pairs_are_kept_apart_though_their_rows_have_the_same_numbers(model: CausalLM):
    reference = Reference(model.decoder, model.params, chunk=CHUNK, precompute=Precompute(None, model.decoder.mesh))
    sets = {name: make_loader(tiny_pairs(4, seed=seed), BatchLayout(4)) for seed, name in enumerate(("one", "two"))}
    online = Reference(model.decoder, model.params, chunk=CHUNK)
    for name, loader in sets.items():
        reference.prepare(name, loader)
    for name, loader in sets.items():
        batch = next(iter(loader.batches()))[1]
        np.testing.assert_allclose(
            reference.logprobs(name, batch, batch), online.logprobs(name, batch, batch), rtol=1e-6
        )


def test_after_release_nothing_holds_the_weights():
    model = tiny_model(config=tiny_config(num_hidden_layers=1, intermediate_size=40))
    shape = model.params["layers"]["down"]["kernel"].shape

    def alive() -> int:
        gc.collect()
        return sum(x.shape == shape for x in jax.live_arrays())

    assert alive() == 1
    reference = Reference(model.decoder, model.params, chunk=CHUNK, precompute=Precompute(None, model.decoder.mesh))
    first = asked(reference, model, loader_of())
    reference.release()
    assert reference.params is None
    del model
    assert alive() == 0
    on_the_same_device = tiny_model(config=ONE_LAYER)
    assert all(map(np.array_equal, first, asked(reference, on_the_same_device, loader_of())))
    with pytest.raises(ConfigError, match="whose weights were released when training began"):
        reference.prepare("pairs", loader_of(13))


def test_a_reference_that_is_asked_at_each_step_keeps_its_weights(model: CausalLM):
    reference = Reference(model.decoder, model.params, chunk=CHUNK)
    reference.release()
    assert reference.params is model.params


def test_the_policy_as_it_starts_is_rounded_as_the_trained_weights_are(model: CausalLM):
    def leaf(**settings: Any) -> jax.Array:
        other = settings.pop("reference_model", None)
        return make_reference(ed.DPOConfig(**settings), model, other, chunk=CHUNK).params["embedding"]

    assert leaf() is model.params["embedding"]
    assert leaf(param_dtype="float32") is model.params["embedding"]
    assert leaf(param_dtype="bfloat16").dtype == jnp.bfloat16
    assert leaf(param_dtype="bfloat16", reference_model=model) is model.params["embedding"]


@pytest.mark.parametrize("settings", [{"reference_free": True}, {"loss_type": "simpo"}], ids=str)
def test_where_no_loss_looks_at_a_reference_there_is_none(model: CausalLM, settings: dict):
    assert make_reference(ed.DPOConfig(**settings), model, None, chunk=CHUNK).params is None


# Whole runs


def rows(count: int, seed: int = 0) -> list[dict[str, list[int]]]:
    """Rows of one length, so that there is one shape to compile."""
    ids = np.random.default_rng(seed).integers(0, 32, (count, 12)).tolist()
    return [{"prompt_ids": row[:4], "chosen_ids": row[4:8], "rejected_ids": row[8:]} for row in ids]


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., ed.DPOTrainer]:
    def make(
        name: str,
        *,
        model: CausalLM | None = None,
        reference_model: CausalLM | None = None,
        evaluated: int = 0,
        **settings: Any,
    ) -> ed.DPOTrainer:
        settings = {
            "model_name": name,
            "save_directory": str(tmp_path),
            "cache_directory": str(tmp_path / "cache"),
            "total_batch_size": 4,
            "num_train_epochs": 2,
            "log_steps": 1,
            "learning_rate": 1e-2,
            "progress_bar_type": "none",
            "do_last_save": False,
            **settings,
        }
        return ed.DPOTrainer(
            arguments=ed.DPOConfig(**settings),
            model=model or tiny_model(config=ONE_LAYER),
            reference_model=reference_model,
            train_dataset=rows(8),
            eval_dataset=rows(evaluated, seed=1) if evaluated else None,
        )

    return make


def losses(folder: Path) -> list[float]:
    return [entry.get("loss", entry.get("eval_loss")) for entry in read_metrics(folder)]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of pairs of each batch that a reference is asked for beforehand."""
    counts: list[int] = []
    make_token_step = reference_precompute.make_token_step

    def counted(*args: Any, **options: Any) -> Callable:
        step = make_token_step(*args, **options)

        def count(params: Any, batch: Any) -> Any:
            counts.append(int((np.asarray(batch.index) >= 0).sum()))
            return step(params, batch)

        return count

    monkeypatch.setattr(reference_precompute, "make_token_step", counted)
    return counts


@pytest.mark.exact
@pytest.mark.slow  # compiles training twice
def test_training_is_the_same_with_log_probabilities_from_before(trainer, tmp_path: Path):
    for name, settings in {"online": {}, "cached": {"precompute_ref_log_probs": True}}.items():
        trainer(name, evaluated=4, **settings).train()
    online, cached = losses(tmp_path / "online"), losses(tmp_path / "cached")
    assert len(online) == 2 * 2 + 2  # and two evaluations
    np.testing.assert_allclose(cached[:2], np.log(2), atol=1e-6)
    np.testing.assert_allclose(cached, online, atol=1e-5)


@pytest.mark.exact
def test_the_first_loss_is_ln_2_in_bfloat16_too(trainer, tmp_path: Path):
    model = tiny_model(config=ONE_LAYER, dtype="bfloat16")
    trainer("run", model=model, precompute_ref_log_probs=True, max_training_steps=1).train()
    np.testing.assert_allclose(losses(tmp_path / "run"), np.log(2), atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.5},
        {"loss_type": "ipo"},
        {"loss_type": ["aot", "sft"], "use_weighting": True},
        {"ld_alpha": 0.5},
        {"precompute_ref_batch_size": 3},
        {"param_dtype": "float32"},
    ],
    ids=str,
)
def test_another_loss_beta_or_weight_of_tokens_computes_nothing_again(
    model: CausalLM, computed: list[int], tmp_path: Path, settings: dict
):
    def prepared(**settings: Any) -> Reference:
        config = ed.DPOConfig(precompute_ref_log_probs=True, cache_directory=str(tmp_path), **settings)
        reference = make_reference(config, model, None, chunk=CHUNK)
        reference.prepare("pairs", loader_of(12))
        return reference

    prepared()
    assert sum(computed) == 12
    reference = prepared(**settings)
    assert sum(computed) == 12
    batch = next(iter(loader_of(12).batches()))[1]
    online = Reference(model.decoder, model.params, chunk=CHUNK, ld_alpha=settings.get("ld_alpha"))
    expected = online.logprobs("pairs", batch, batch)
    np.testing.assert_allclose(reference.logprobs("pairs", batch, batch), expected, rtol=1e-6)


def test_a_run_that_was_cut_off_continues_with_what_was_computed(trainer, computed: list[int], tmp_path: Path):
    options = {"precompute_ref_log_probs": True, "save_steps": 1, "resume": "auto"}
    straight = trainer("straight", **options).train()
    trainer("cut", max_training_steps=3, **options).train()
    resumed = trainer("cut", **options).train()
    assert sum(computed) == 8
    jax.tree.map(np.testing.assert_array_equal, resumed.model.params, straight.model.params)
    other = tiny_model(config=ONE_LAYER)
    halved = CausalLM(other.decoder, jax.tree.map(lambda x: x / 2, other.params), other.origin)
    with pytest.raises(ConfigError, match="reference weights were"):
        trainer("cut", model=halved, **options).train()


def test_a_trainer_lets_go_of_a_reference_model_that_was_asked_beforehand(trainer, monkeypatch: pytest.MonkeyPatch):
    model = tiny_model(config=tiny_config(num_hidden_layers=1, intermediate_size=56))
    shape = model.params["layers"]["down"]["kernel"].shape
    run = trainer("run", reference_model=model, precompute_ref_log_probs=True, max_training_steps=1)
    del model
    alive = []
    release = run.reference.release

    def count_after() -> None:
        release()
        gc.collect()
        alive.append(sum(x.shape == shape for x in jax.live_arrays()))

    monkeypatch.setattr(run.reference, "release", count_after)
    run.train()
    assert alive == [0]


def test_fresh_rows_are_evaluated_while_the_weights_are_there_and_then_if_they_are_known(trainer, computed: list[int]):
    run = trainer("run", precompute_ref_log_probs=True, cache_directory=None, num_train_epochs=1)
    before = run.evaluate(rows(4, seed=2))
    assert before["eval_loss"] == pytest.approx(np.log(2), abs=1e-6)
    run.train()
    assert run.reference.params is None
    assert sum(computed) == 8 + 4
    assert run.evaluate(rows(4, seed=2))["eval_loss"] != before["eval_loss"]
    with pytest.raises(ConfigError, match=r"5 of the 5 pairs of 'dataset' have no precomputed"):
        run.evaluate(rows(5, seed=3))
