"""A model as users call it, and saving it."""

import json

import jax
import numpy as np
import pytest

from oracles.cases import CASES, TOKENS
from oracles.folders import write_model
from oracles.loaded import load

ONE = (1, 1, 1, 1, 1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_does_not_change_the_logits_of_real_tokens(folder, side):
    model = load(folder)
    short = TOKENS[:, :9]
    width = ((0, 0), (5, 0) if side == "left" else (0, 5))
    real = np.pad(np.ones_like(short), width)
    padded = model(np.pad(short, width, constant_values=3), real).logits[0][np.flatnonzero(real[0])]
    np.testing.assert_allclose(padded, model(short).logits[0], atol=1e-5)


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_generation_settings_travel_and_are_obeyed(tmp_path):
    folder = write_model(tmp_path / "in", CASES["llama-gqa"])
    free = load(folder).generate(TOKENS[:, :4], max_new_tokens=4)[0, 4:]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [int(free[0])]}))
    load(folder).save_pretrained(tmp_path / "out")
    assert load(tmp_path / "out").generate(TOKENS[:, :4], max_new_tokens=4)[0, 4:].tolist() == [free[0]]


def test_saving_again_replaces_old_weights_and_keeps_other_files(tmp_path):
    model = load(write_model(tmp_path / "in", CASES["llama-gqa"]))
    out = tmp_path / "out"
    model.save_pretrained(out, max_shard_size=5000)
    (out / "tokenizer.json").write_text("{}")
    (out / "notes").mkdir()
    model.save_pretrained(out)
    assert entries(out) == ["config.json", "model.safetensors", "notes", "tokenizer.json"]
    assert entries(tmp_path) == ["in", "out"]


def test_what_is_saved_also_appears_together_with_the_model_or_not_at_all(tmp_path):
    model = load(write_model(tmp_path / "in", CASES["llama-gqa"]))

    def also(folder):
        assert folder != tmp_path / "out"
        (folder / "tokenizer.json").write_text("{}")

    def fail(folder):
        (folder / "tokenizer.json").write_text("half")
        raise ValueError("not a tokenizer")

    with pytest.raises(ValueError, match="not a tokenizer"):
        model.save_pretrained(tmp_path / "out", also=fail)
    assert entries(tmp_path) == ["in"]
    model.save_pretrained(tmp_path / "out", also=also)
    assert entries(tmp_path / "out") == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_real_model_tells_its_story(shared, tmp_path):
    model = load(shared / "models" / "stories260k")
    model.save_pretrained(tmp_path / "out")
    again = load(tmp_path / "out")
    ids = np.array([[1, 403, 407, 261, 378]])
    np.testing.assert_array_equal(model(ids).logits, again(ids).logits)
    # A trained model finds its own greedy continuation far likelier than chance.
    story = model.generate(ids, max_new_tokens=40)
    chances = jax.nn.log_softmax(model(story).logits[0, :-1])
    assert float(np.mean(np.take_along_axis(np.asarray(chances), story[0, 1:, None], 1)[4:])) > -1.0
