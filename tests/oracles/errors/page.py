"""The page of errors: its headings, the messages below each, and where these come from."""

import os
import re
import tempfile
from pathlib import Path

from oracles.cases import CASES as MODELS
from oracles.errors import Cases, Place, message, models, rows, runs, settings
from oracles.folders import write_model
from oracles.tokenizers import tiny_tokenizer

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
CASES: Cases = {**settings.CASES, **rows.CASES, **models.CASES, **runs.CASES}
_ENTRY = re.compile(
    r"^### (?P<heading>.+)\n(?P<words>(?:(?!^#).*\n)*?)```text\n(?P<messages>(?:.*\n)*?)```$", re.MULTILINE
)


def place_in(folder: Path) -> Place:
    """Returns where to provoke errors, below an empty folder."""
    model = write_model(folder / "model", MODELS["llama-gqa"])
    tiny_tokenizer().save_pretrained(model)
    return Place(folder / "scratch", model)


def entries() -> dict[str, list[str]]:
    """Returns the messages of the page by heading."""
    text = PAGE.read_text(encoding="utf-8")
    return {found["heading"]: found["messages"].splitlines() for found in _ENTRY.finditer(text)}


def shown(said: str) -> str:
    """Returns a message as the page has it: lists of all that there is are cut short."""
    return said if len(said) <= 400 else said[:400].rsplit(" ", 1)[0] + " ..."


def messages(heading: str, place: Place) -> list[str]:
    """Returns what the cases of a heading raise, one after another."""
    said = []
    for number, case in enumerate(CASES[heading]):
        folder = place.folder / str(number)
        folder.mkdir(parents=True)
        here = os.getcwd()
        os.chdir(folder)
        try:
            said.append(message(case, place._replace(folder=folder)))
        except AssertionError as error:
            raise AssertionError(f"{heading}, case {number}: {error}") from error
        finally:
            os.chdir(here)
    return said


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for heading in CASES:
        with tempfile.TemporaryDirectory() as folder:
            said = "".join(f"{shown(each)}\n" for each in messages(heading, place_in(Path(folder))))
        start = f"### {heading}\n"
        before, found, after = text.partition(start)
        assert found, f"the page has no heading {heading!r}"
        words, _, rest = after.partition("```text\n")
        text = f"{before}{start}{words}```text\n{said}```{rest.partition('```')[2]}"
    PAGE.write_text(text, encoding="utf-8")
