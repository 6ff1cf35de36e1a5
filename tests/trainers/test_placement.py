"""The table of what lies on each device."""

import jax.numpy as jnp

import easydel as ed
from easydel.sharding import make_mesh, sharding_for
from easydel.trainers.placement import bytes_on_each, placement
from oracles.runs import config, id_rows
from oracles.tiny import tiny_config, tiny_model

MESH = make_mesh((1, 2, 1, 1, 4))


def test_what_is_split_counts_by_its_part_and_what_is_not_as_a_whole():
    split = jnp.zeros((16, 3), device=sharding_for(("embed", "layers"), (16, 3), MESH))
    whole = jnp.zeros(5, jnp.int8, device=sharding_for(("residual",), (5,), MESH))
    assert bytes_on_each({"a": split, "b": whole}) == 16 * 3 * 4 // 8 + 5
    lines = placement(MESH, {"weights": split, "reference": split, "moments": whole}, {"rows": 8000}).splitlines()
    assert lines[0] == "8 cpu devices, on each of them"
    assert lines[1].split() == ["dp", "fsdp", "ep", "tp", "sp", "weights", "moments", "rows"]
    assert lines[2].split() == ["1", "2", "1", "1", "4", "24", "B", "5", "B", "1.0", "kB"]


def test_a_run_on_several_devices_begins_with_the_table(tmp_path, capsys):
    model = tiny_model(dims=(1, 1, 1, 1, 2), config=tiny_config(num_hidden_layers=1, vocab_size=64))
    options = {"progress_bar_type": "tqdm", "max_training_steps": 1, "do_last_save": False}
    ed.DPOTrainer(config(tmp_path, **options), model, train_dataset=id_rows(4)).train()
    out = capsys.readouterr().out.splitlines()
    at = out.index("2 cpu devices, on each of them")
    assert out[at + 1].split()[5:] == ["weights", "reference", "optimizer", "activations", "logits"]
    sizes = out[at + 2].split()[5:]
    assert sizes[:2] == sizes[2:4]  # the reference is as large as the policy
    assert float(sizes[4]) / float(sizes[0]) > 1.9  # two moments for each weight
