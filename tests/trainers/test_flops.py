"""The arithmetic of a step, and the peaks it is compared with."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from easydel.data.pack import pack, stack
from easydel.data.pair import Pair
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from easydel.trainers.flops import matmul_flops, peak_flops, peak_memory, step_flops
from oracles.cases import CASES
from oracles.tiny import tiny_config

CONFIG = tiny_config()


def test_a_step_is_six_flop_per_matrix_weight_and_token_and_two_more_for_the_reference():
    model = CausalLM.from_config(CONFIG, mesh=make_mesh((1, 1, 1, 1, 1)))
    blocks = sum(leaf.size for path, leaf in jax.tree.leaves_with_path(model.params) if "kernel" in str(path))
    head = model.params["head"].size
    batch = stack([pack([Pair([1, 2], [3, 4, 5], [6]), Pair([7], [8], [9])])])
    # Tokens in rows, prompts once: 6 + 3. Completion tokens: 4 + 2.
    expected = 6 * (blocks * 9 + head * 6)
    assert step_flops(CONFIG, batch, with_reference=False) == pytest.approx(expected)
    assert step_flops(CONFIG, batch, with_reference=True) == pytest.approx(expected * 8 / 6)


@pytest.mark.parametrize("name", ["lfm2", "qwen3-5"])
def test_matrices_that_some_layers_alone_have_are_counted_in_those(name):
    config = ModelConfig.from_hf(CASES[name])
    model = CausalLM.from_config(config, mesh=make_mesh((1, 1, 1, 1, 1)))
    blocks = sum(leaf.size for path, leaf in jax.tree.leaves_with_path(model.params) if "kernel" in str(path))
    assert matmul_flops(config, 1.0, 0.0, with_reference=False) == 6 * blocks


def test_the_peak_is_that_of_all_devices_and_unknown_for_a_cpu():
    h200 = SimpleNamespace(device_kind="NVIDIA H200")
    assert peak_flops([h200, h200]) == pytest.approx(2 * 989e12)
    assert peak_flops(jax.devices()) is None


@pytest.mark.parametrize(
    ("kind", "peak"), [("TPU v5", 459e12), ("TPU v5p", 459e12), ("TPU v5 lite", 197e12), ("TPU v5e", 197e12)]
)
def test_the_two_tpus_of_the_fifth_generation_are_told_apart_under_both_of_their_names(kind, peak):
    assert peak_flops([SimpleNamespace(device_kind=kind)]) == peak


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="compares with what Linux tells of a process")
def test_memory_is_what_the_fullest_device_or_the_process_has_used():
    devices = [SimpleNamespace(memory_stats=lambda used=used: {"peak_bytes_in_use": used}) for used in (3, 7)]
    assert peak_memory(devices) == 7
    silent = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 9})
    for others in (jax.devices(), [silent, *devices]):
        known = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert known is not None
        assert peak_memory(others) == pytest.approx(1024 * int(known[1]), rel=0.02)


def test_the_trainer_needs_nothing_that_windows_does_not_have():
    code = "import sys; sys.modules['resource'] = None; import easydel.trainers.dpo"
    subprocess.run([sys.executable, "-c", code], check=True)
