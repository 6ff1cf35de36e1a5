"""Whether a run may be continued as it is given now: what decides its numbers is written down and compared.

Settings are in `config.yaml`, the rest, which is called facts here, in `fingerprints.json`. Each is compared as soon as
it is known: settings before anything is read or loaded, weights before the rows, rows before the first step.
"""

import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

import easydel
from easydel.errors import ConfigError
from easydel.processes import by_first
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import read_yaml
from easydel.trainers.record.files import read_json, write_json
from easydel.trainers.record.same_settings import (
    FINGERPRINTS,
    OTHERWISE,
    given_settings,
    is_continued,
    require_not_past,
    require_same_settings,
)

_LOAD = "Load the model as the run did (from_pretrained, or flags of these names)"
_MODEL = "Give it the model (and reference_model, if there was one) it started with, not the one it trained"
_DATA = "Give it the same data and tokenizer"
_LOSS = "Give it the loss function it started with"
_OWN = "Give the trainer the function it started with"
_JAX = "Set it in jax.config, or by the variable of that name, as it was"

_CODE = re.compile(r" code( of |$)")
_PLURAL = re.compile(r"(adapters|weights|pairs|arguments|values)( of |$)")


class Fact(NamedTuple):
    """Something that decides the numbers of a run, and is no setting of it."""

    help: str
    remedy: str


FACTS: Mapping[str, Fact] = {
    "dtype": Fact("dtype of the computation", _LOAD),
    "param_dtype": Fact("dtypes of the weights as they were loaded", _LOAD),
    "precision": Fact("precision of matrix products, with `jax_default_matmul_precision`", _LOAD),
    "attn_mechanism": Fact("the mechanism of attention, where the one of the run can be had here", _LOAD),
    "quantization": Fact("quantization of the weights", _LOAD),
    "adapters": Fact("adapters of a model that came with them: rank, alpha, dropout, variant, modules", _MODEL),
    "model": Fact("what `config.json` says of the computation: rotary embedding, norms, windows, experts, ...", _MODEL),
    "reference_model": Fact("the same of the reference, by the same names", _MODEL),
    "frozen weights": Fact("all weights that are not trained, bit for bit", _MODEL),
    "reference weights": Fact("all weights of the reference that do not move, bit for bit", _MODEL),
    "training pairs": Fact("tokens, masks, and numbers of the training pairs, of a stream the first", _DATA),
    "eval pairs": Fact("the same of each eval set, as far as it is evaluated; with `best_metric` only", _DATA),
    "loss code": Fact("the code of a loss function of your own, and of what it calls; under one Python version", _LOSS),
    "loss arguments": Fact("arguments bound to it by `functools.partial`, and its defaults", _LOSS),
    "loss values": Fact("what it closes over, the globals it names, the state of its object", _LOSS),
    "own optimizer": Fact(
        "the optimizer that is given in Python: whether there is one; its code, arguments and values as of a loss", _OWN
    ),
    "own schedule": Fact("the learning rate that is given in Python: the same", _OWN),
    "compute_metrics": Fact(
        "the metrics that are computed by a function of yours: the same; with `best_metric` only", _OWN
    ),
    "jax_enable_x64": Fact("setting of jax", _JAX),
    "jax_default_prng_impl": Fact("setting of jax", _JAX),
    "jax_threefry_partitionable": Fact("setting of jax", _JAX),
    "numbers version": Fact(
        "raised when easydel-dpo comes to compute other numbers", "Continue with the version of easydel-dpo it had"
    ),
}
"""What is compared besides settings, by how its name begins."""


class SameRun:
    """What decides the numbers of a run as it becomes known, compared with the run to be continued, if there is one.

    Of several processes the first reads, compares and writes; all must call each method.

    Attributes:
        settings: those of the run to be continued; empty where there is none, or in other processes.
        libraries: the versions it was last continued with, as `settings`.

    Raises:
        ConfigError: other settings than the run's.
    """

    def __init__(self, config: DPOConfig) -> None:
        self._config, self._facts, self._deciding = config, dict[str, str](), dict[str, str]()
        self.settings: Mapping[str, Any] = {}
        self.libraries: Mapping[str, str] = {}
        self._then: Mapping[str, str] = {}
        by_first(self._read)

    def add(
        self,
        facts: Mapping[str, str],
        *,
        decides: bool = True,
        can_be: Callable[[str, str], bool] = lambda name, value: True,
    ) -> None:
        """Takes more facts, and compares them.

        Args:
            facts: what decides the numbers, by the names of `FACTS`.
            decides: whether they do so in this run; else they are written down only.
            can_be: whether a fact, by its name, could be here what it was.

        Raises:
            ConfigError: one differs from that of the run to be continued, which is named with both values.
        """
        self._facts |= facts
        if decides:
            self._deciding |= facts
            by_first(lambda: self._require({name: now for name, now in facts.items() if self._can_be(name, can_be)}))

    def _can_be(self, name: str, can_be: Callable[[str, str], bool]) -> bool:
        return name not in self._then or can_be(name, self._then[name])

    def require_not_past(self, total_steps: int) -> None:
        """Raises ConfigError where the newest checkpoint is of a later step than the last of the run."""
        by_first(lambda: require_not_past(self._config, total_steps))

    def write(self, *, continues: bool) -> None:
        """Writes all facts to the run folder, after comparing them again if that is continued.

        Raises:
            ConfigError: as `add`; a run may have been made there since.
        """
        if continues:
            by_first(self._read_facts)
            self.add(self._deciding)
        then = self._then if continues else {}
        write_json(
            self._config.run_folder / FINGERPRINTS,
            {
                "written_by": _libraries(),
                "options": given_settings(self._config),
                "facts": {**then, **self._facts},
            },
            hint="Without it a resumed run is compared by its settings alone.",
        )

    def _read(self) -> None:
        folder = self._config.run_folder
        if not is_continued(self._config):
            return
        require_same_settings(self._config, folder)
        self.settings = read_yaml(folder / "config.yaml")
        self._read_facts()

    def _read_facts(self) -> None:
        found = read_json(self._config.run_folder / FINGERPRINTS)
        self._then, self.libraries = found.get("facts", {}), found.get("written_by", {})

    def _require(self, facts: Mapping[str, str]) -> None:
        same_python = self.libraries.get("python") == _libraries()["python"]
        differing = {
            name: (self._then[name], now)
            for name, now in facts.items()
            if self._then.get(name, now) != now and (same_python or not _CODE.search(name))
        }
        # The reference is the policy's own beginning where none is given: it differs with it.
        told = {name: pair for name, pair in differing.items() if differing.get(_of_policy(name)) != pair}
        if differing:
            raise ConfigError(self.refusal(self._config.run_folder, told))

    @staticmethod
    def refusal(folder: Path, differing: Mapping[str, tuple[str, str]]) -> str:
        """Returns the message for facts that differ, by name, with what each was and is."""
        said = "; ".join(_differs(name, then, now) for name, (then, now) in differing.items())
        remedies = dict.fromkeys(_kind(name).remedy for name in differing)
        return f"resume = 'auto' cannot continue the run in {folder}: {said}. {'. '.join(remedies)}; {OTHERWISE}"

    def other_libraries(self) -> str:
        """Returns what it means that a run goes on with other versions than it had, "" where it does not."""
        now, known = _libraries(), self.libraries
        other = [name for name in now if known.get(name, now[name]) != now[name]]
        if not other:
            return ""
        said = ", ".join(f"{name} {known[name]} (now {now[name]})" for name in other)
        code = " The code of a loss function of your own could not be compared." if "python" in other else ""
        return f"The run was trained with {said} so far: what it computes may differ by rounding.{code}"


def _differs(name: str, then: str, now: str) -> str:
    was, now_is = ("were", "are") if _PLURAL.search(name) else ("was", "is")
    return f"{name} {was} {then}, {now_is} {now} now"


def _libraries() -> dict[str, str]:
    python = ".".join(platform.python_version_tuple()[:2])
    return {"easydel": easydel.__version__, "jax": jax.__version__, "python": python}


def _kind(name: str) -> Fact:
    return next(fact for kind, fact in FACTS.items() if name == kind or name.startswith((f"{kind} ", f"{kind}.")))


def _of_policy(name: str) -> str:
    return name.removeprefix("reference_model ") if name.startswith("reference_model ") else ""
