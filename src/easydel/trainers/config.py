"""`DPOConfig`: every option of a run. No jax here or in `options`, so that `--help` answers at once."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from easydel.errors import ConfigError
from easydel.trainers.options.batch import BatchOptions, check_batch
from easydel.trainers.options.data import DataOptions, check_data
from easydel.trainers.options.evaluation import EvaluationOptions
from easydel.trainers.options.fields import read_yaml
from easydel.trainers.options.losses import Loss, LossOptions, check_losses
from easydel.trainers.options.model import ModelOptions, check_model_options
from easydel.trainers.options.optimizers import OptimizerOptions
from easydel.trainers.options.reference import ReferenceOptions, check_reference
from easydel.trainers.options.run import RunOptions, check_name
from easydel.trainers.options.schedules import ScheduleOptions, check_schedule, read_schedule
from easydel.trainers.options.trackers import LoggingOptions, check_trackers
from easydel.trainers.options.values import check_fields, reject_unknown


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPOConfig(  # fields come in the order of `--help`, that of the last base first
    EvaluationOptions,
    ModelOptions,
    ScheduleOptions,
    OptimizerOptions,
    BatchOptions,
    DataOptions,
    ReferenceOptions,
    LossOptions,
    LoggingOptions,
    RunOptions,
):
    """Every option of a DPO run, checked when it is made. A string may spell a number, a boolean or `none`.

    Raises:
        ConfigError: an unknown option, a value out of range, or two options that cannot work together.
    """

    def __new__(cls, **values: object) -> Self:
        # The constructor that dataclass writes would raise a TypeError that does not name the nearest option.
        reject_unknown(values, cls)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in read_schedule(self).items():
            object.__setattr__(self, name, value)
        check_name(self)
        check_trackers(self)
        check_losses(self)
        check_reference(self)
        check_data(self)
        check_batch(self)
        check_schedule(self)
        check_model_options(self)

    @property
    def run_folder(self) -> Path:
        """The folder everything of this run is written to."""
        return Path(self.save_directory) / self.model_name

    @property
    def needs_reference(self) -> bool:
        """Whether any loss looks at the reference; a function of your own is assumed to."""
        return not self.reference_free and any(traits.needs_reference for traits in self.traits)

    @property
    def row_numbers(self) -> frozenset[str]:
        """The numbers of a row that a loss may look at, besides its weight: `easydel.data.pair.RowNumbers`."""
        return frozenset(name for traits in self.traits for name in traits.numbers)

    def to_dict(self) -> dict[str, Any]:
        """Returns the options as plain values; a loss function of your own is given as `module:name`."""
        values = dataclasses.asdict(self)
        loss = self.loss_type
        values["loss_type"] = [_plain_name(each) for each in loss] if isinstance(loss, list) else _plain_name(loss)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the configuration with these options, the inverse of `to_dict`.

        Raises:
            ConfigError: as the constructor.
        """
        return cls(**values)

    def to_yaml(self, path: str | Path) -> None:
        """Writes the options to a YAML file, one `name: value` line each."""
        import yaml

        Path(path).write_text(yaml.safe_dump(self.to_dict(), sort_keys=False), encoding="utf-8")

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Returns the configuration in a YAML file; what it does not name keeps its default.

        Raises:
            ConfigError: as the constructor, with the name of the file.
        """
        values = read_yaml(path)
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


MAY_CHANGE_ON_RESUME = frozenset(
    field.name for field in dataclasses.fields(DPOConfig) if field.metadata["may_change_on_resume"]
)
"""Options that change what a run shows or keeps, not what it computes: they may differ when a run is resumed."""


def _plain_name(loss: Loss) -> str:
    if isinstance(loss, str):
        return loss
    # A `functools.partial`, or an instance that can be called, has no name of its own.
    return f"{loss.__module__}:{getattr(loss, '__qualname__', type(loss).__qualname__)}"
