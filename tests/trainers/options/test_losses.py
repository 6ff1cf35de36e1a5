"""The traits of losses against each other and the options; what they say of functions is in test_objective."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import easydel
from easydel.errors import ConfigError
from easydel.losses import DIVERGENCES
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import choices_of
from easydel.trainers.options.losses import SETTINGS, TRAITS, LossOptions, users_of

ROOT = Path(__file__).parents[3]
FIELDS = LossOptions.__dataclass_fields__


def test_every_setting_of_a_loss_is_an_option():
    assert set(SETTINGS) <= set(FIELDS)
    assert choices_of(FIELDS["loss_type"], ()) == tuple(TRAITS)
    assert choices_of(FIELDS["f_divergence_type"], ()) == tuple(DIVERGENCES)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_is_refused_with_the_losses_that_do_not_have_it_and_accepted_with_those_that_do(setting):
    other = {"label_smoothing": 0.3, "f_divergence_type": "forward_kl", "bco_running_mean": True}.get(setting, 0.75)
    for loss in TRAITS:
        settings = {"loss_type": loss, setting: other}
        if loss == "exo_pair" and setting != "label_smoothing":
            settings["label_smoothing"] = 0.1
        if loss in users_of(setting):
            assert getattr(DPOConfig(**settings), setting) == other
        else:
            with pytest.raises(ConfigError, match=f"{setting} = .* has no effect with loss_type = '{loss}'"):
                DPOConfig(**settings)


def test_a_function_of_your_own_is_assumed_to_look_at_everything():
    config = DPOConfig(loss_type=["sft", lambda policy, reference, lengths: policy[:, 0]], simpo_gamma=2.0)
    assert config.needs_reference
    assert config.row_numbers == {"margin", "preference"}
    assert config.traits[-1].across_pairs
    assert not DPOConfig(loss_type=["sft", "simpo"]).needs_reference
    assert not DPOConfig(loss_type=["ipo", "sft"]).row_numbers


def test_a_function_needs_scores_only_where_it_asks_for_them():
    def scored(policy, reference, lengths, *, score_gap):
        return score_gap * policy[:, 0]

    assert "score_gap" in DPOConfig(loss_type=scored).row_numbers
    assert DPOConfig(loss_type=["rpo_sq", "ipo"]).row_numbers == {"score_gap"}


BAD = [
    ({"loss_type": "hinges"}, "Did you mean 'hinge'"),
    ({"loss_type": ["sigmoid", "stf"]}, "'stf' is not one of .* Did you mean 'sft'"),
    ({"loss_weights": [1.0, 2.0]}, r"loss_weights = \[1.0, 2.0\] must be one weight for the one loss in loss_type"),
    ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "must be one weight for each of the 2 losses"),
    ({"loss_weights": [0.0]}, "leave nothing to minimize"),
    ({"loss_weights": [-1.0]}, "must be at least 0"),
    ({"loss_type": "nca_pair", "f_divergence_type": "forward_kl"}, "no effect with loss_type = 'nca_pair'.*'sigmoid'"),
    ({"loss_type": ["sigmoid", "nca_pair"], "f_divergence_type": "forward_kl"}, "not defined for loss_type 'nca_pair'"),
    ({"loss_type": "sft", "f_divergence_type": "forward_kl"}, "has no effect with loss_type = 'sft'"),
    ({"f_divergence_type": "kl"}, "is not one of 'reverse_kl'"),
    (
        {"f_alpha_divergence_coef": 0.2},
        "f_alpha_divergence_coef = 0.2 has no effect with .* set f_divergence_type to 'alpha_divergence'",
    ),
    (
        {"loss_type": "robust", "label_smoothing": 0.5},
        "must be at least 0.0 and below 0.5|must be at least 0 and below",
    ),
    ({"loss_type": "exo_pair"}, "must be above 0 for loss_type 'exo_pair'"),
    ({"loss_type": ["sft", "exo_pair"]}, "must be above 0 for loss_type 'exo_pair'"),
    ({"ld_alpha": 1.5}, "ld_alpha = 1.5 must be at least 0 and at most 1"),
    ({"ld_alpha": -0.1}, "ld_alpha = -0.1 must be"),
    ({"simpo_gamma": 1.0}, "simpo_gamma = 1.0 has no effect with loss_type = 'sigmoid'.* use 'simpo' or 'alphapo'"),
    (
        {"loss_type": ["sigmoid", "sft"], "bco_running_mean": True},
        r"has no effect with loss_type = \['sigmoid', 'sft'\]",
    ),
    ({"loss_type": []}, "is empty: give at least one"),
    ({"loss_type": "sigmiod"}, "'sigmiod' is not one of 'sigmoid', .* Did you mean 'sigmoid'"),
    ({"loss_type": "dpo_norm"}, "loss_type = 'dpo_norm' is not available: it is called 'sigmoid_norm'"),
    ({"label_smoothing": 0.5}, "label_smoothing = 0.5 must be at least 0 and below 0.5"),
    ({"discopop_tau": 0.1}, "discopop_tau = 0.1 has no effect with loss_type = 'sigmoid'.* or use 'discopop'"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=str)
def test_settings_that_cannot_be_minimized_are_refused_with_a_hint(settings, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(**settings)


USE = """
import jax.numpy as jnp
import easydel as ed
from easydel.scripts.flags import Program, help_text
from easydel.trainers.objective import make_objective
from easydel.trainers.options.fields import groups_of
from easydel.trainers.options.losses import users_of

policy, reference = jnp.array([[-1.0, -4.0]]), jnp.array([[-2.0, -3.0]])
for gap in ({}, {"squared_gap": 0.5}):
    config = ed.DPOConfig(loss_type="squared", beta=0.2, **gap)
    print(round(float(make_objective(config).terms[0].loss(policy, reference, jnp.ones((1, 2), int))[0]), 6))
print(config.needs_reference, make_objective(config).across_pairs, users_of("squared_gap"))
for wrong in ({"squared_gap": 0.5}, {"loss_type": "squared", "squared_gap": -1}):
    try:
        ed.DPOConfig(**wrong)
    except ed.ConfigError as error:
        print(error)
text = help_text(Program("p", "", ""), groups_of(ed.DPOConfig), "loss")
print(next(line for line in text.splitlines() if "squared_gap" in line))
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_diff_that_contributing_shows_is_a_loss_with_a_setting(tmp_path):
    """It is applied to a copy of the package: a row, a field and a function are all that the loss needs."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    diff = re.findall(r"```diff\n(.*?)```", page.split("## A new loss")[1].split("\n## ")[0], re.DOTALL)[0]
    assert len(re.findall(r"^\+\+\+ ", diff, re.MULTILINE)) == 2
    shutil.copytree(Path(easydel.__file__).parent, tmp_path / "src" / "easydel")
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=diff, text=True, check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run([sys.executable, "-c", USE], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "0.36",  # b d = 0.4, (0.4 - 1)^2
        "0.01",
        "True False ['squared']",
        "squared_gap = 0.5 has no effect with loss_type = 'sigmoid': leave it out, or use 'squared'.",
        "squared_gap = -1.0 must be at least 0.",
        "  --squared_gap X                 reward margin that squared aims at (default: 1.0)",
    ]
