import importlib
import subprocess
import sys

import pytest

import easydel as ed

pytestmark = pytest.mark.quick

HEAVY = ("jax", "transformers", "datasets", "optax", "orbax", "numpy")


def modules_after(code: str) -> set[str]:
    """Returns the top-level modules that a fresh Python has imported after `code`."""
    report = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "code",
    [
        "import easydel",
        "import easydel as ed; ed.DPOConfig(beta=0.2)",
        "from easydel.trainers import DPOConfig; DPOConfig(beta=0.2)",
        "import easydel.scripts.finetune.dpo",
        "from easydel.scripts.finetune.dpo import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from easydel.scripts.finetune.dpo import main\ntry: main(['--help', 'all'])\nexcept SystemExit: pass",
        "from easydel.scripts.finetune.dpo import main; assert main(['--help', 'nonsense']) == 2",
        "from easydel.scripts.finetune.dpo import main; assert main(['--bta', '1']) == 2",
    ],
)
def test_configuration_and_help_import_nothing_heavy(code):
    assert not modules_after(code) & set(HEAVY)


def test_every_public_name_can_be_imported():
    for name in ed.__all__:
        assert getattr(ed, name) is not None
    assert set(ed.__all__) <= set(dir(ed))


def test_the_trainers_package_has_the_same_names():
    trainers = importlib.import_module("easydel.trainers")
    assert trainers.DPOConfig is ed.DPOConfig
    assert trainers.DPOTrainer is ed.DPOTrainer


@pytest.mark.parametrize("module", ["easydel", "easydel.trainers"])
def test_an_unknown_name_is_an_attribute_error(module):
    with pytest.raises(AttributeError, match="has no attribute 'DPOTrianer'"):
        importlib.import_module(module).DPOTrianer  # noqa: B018
