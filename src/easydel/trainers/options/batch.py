"""Options of batches, their order and the length of the run."""

import dataclasses

from easydel.errors import ConfigError
from easydel.trainers.options.fields import free_option, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How many pairs an update takes, and how many updates there are."""

    total_batch_size: int = option(16, "pairs per optimizer update", group="batch", common=True, at_least=1)
    gradient_accumulation_steps: int = option(
        1, "micro-batches of an update: less memory, the same result", common=True, at_least=1
    )
    check_memory: bool = free_option(
        True, "refuse to train where there is less memory than estimated; false warns and goes on"
    )
    eval_batch_size: int | None = free_option(
        None, "pairs per eval batch (default: total_batch_size / gradient_accumulation_steps)", at_least=1
    )
    num_train_epochs: int | float = free_option(
        1, "passes over the training data, of which the last may be partial, as in 0.5", common=True, above=0
    )
    max_training_steps: int | None = free_option(
        None, "stop after N steps (default: no limit)", common=True, at_least=1
    )
    shuffle_train_dataset: bool = option(True, "shuffle each epoch; false keeps the order of the data")
    shuffle_buffer_size: int | None = option(
        None, "pairs of a stream that are shuffled together (default: 1024)", at_least=1
    )


def check_batch(config: BatchOptions) -> None:
    """Raises ConfigError for a batch that does not divide into its micro-batches."""
    if config.total_batch_size % config.gradient_accumulation_steps:
        raise ConfigError(
            f"total_batch_size = {config.total_batch_size} must be divisible by "
            f"gradient_accumulation_steps = {config.gradient_accumulation_steps}."
        )
