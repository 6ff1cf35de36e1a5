"""The day that a chat template writes as today's: one for the whole run, also where it is continued on another day."""

import dataclasses
from datetime import date
from typing import Any

import numpy as np

from easydel import processes
from easydel.data.template_date import asks_for_day, read_day
from easydel.errors import ConfigError
from easydel.trainers.config import DPOConfig
from easydel.trainers.options.fields import read_yaml


def with_chat_template_date(config: DPOConfig, tokenizer: Any) -> DPOConfig:
    """Returns the settings with the day that the chat template writes as today's, if it asks for one.

    It is the one that was asked for, that of the run to be continued, or today, on the first of several processes.

    Raises:
        ConfigError: a day that no template asks for, or the settings of the run to be continued cannot be read.
    """
    asked, asks = config.chat_template_date, asks_for_day(tokenizer)
    if asked is not None and not asks:
        raise ConfigError(
            f"chat_template_date = {asked!r} has no effect: the tokenizer has no chat template that asks for the date "
            "(strftime_now). Leave it out; a date_string goes into the chat_template_kwargs of the rows."
        )
    if asked is not None or not asks:
        return config
    file = config.run_folder / "config.yaml"
    of_run = read_yaml(file).get("chat_template_date") if config.resume == "auto" and file.exists() else None
    day = date.today() if of_run is None else read_day(str(of_run))
    day = date.fromordinal(int(processes.from_first({"day": np.array([day.toordinal()])})["day"][0]))
    return dataclasses.replace(config, chat_template_date=day.isoformat())
