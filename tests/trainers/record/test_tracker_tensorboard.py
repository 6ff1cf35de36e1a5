"""The real tensorboardX writing real files; see `make trackers`."""

from pathlib import Path

import pytest

from oracles.tracked import METRICS, tensorboard_files, track

pytestmark = [
    pytest.mark.trackers,
    pytest.mark.usefixtures("nobody"),
    # What the packages leave behind when they are done is not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def test_tensorboard_holds_every_metric_by_step_the_settings_and_the_answers(tmp_path: Path):
    track("tensorboard", tmp_path / "run")
    numbers, texts = tensorboard_files(tmp_path / "run")
    assert numbers == [
        (at, name, value) for at, metrics in zip((1, 2, 2), METRICS, strict=True) for name, value in metrics.items()
    ]
    assert texts["settings/text_summary"].splitlines()[2:] == ["| beta | 0.1 |"]
    assert texts["samples/text_summary"].splitlines()[2:] == ["| Hi \\| there? | Hello!<br>Bye. |"]
