"""The tokenizer of an export: the files it came with, byte for byte, and in them what was changed since.

`save_pretrained` of transformers 5 writes one form of a tokenizer. What others read, `tokenizer.model` or `vocab.json`,
is not there any more, and settings such as `legacy` are lost, after which the same text has other ids. So files are
copied where that gives the tokenizer that was trained with; what is written is loaded again and compared.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.file_download import repo_folder_name

from easydel.errors import warn
from easydel.json_objects import read_object
from easydel.trainers.model_card import is_local
from easydel.weights.folder import TOKENIZER_FILES
from easydel.weights.safetensors import write_json

_CONFIG, _SPECIAL = "tokenizer_config.json", "special_tokens_map.json"
_SETTINGS = ("model_max_length", "padding_side", "truncation_side", "clean_up_tokenization_spaces")
_LICENSES = re.compile(r"(LICEN[SC]E|NOTICE|COPYING|USE_POLICY)([.-].*)?", re.IGNORECASE)
# What transformers raises for a tokenizer that is missing, damaged, or in need of a package or of code.
_ERRORS = (OSError, ValueError, TypeError, LookupError, ImportError)


def write_tokenizer(tokenizer: Any, target: Path, model: Mapping[str, Any]) -> None:
    """Writes the files of a tokenizer into a folder.

    Those that it was loaded from are copied, with what was changed since in `tokenizer_config.json` and the chat
    template; a tokenizer that has other tokens now, or whose files are not on this machine, is saved by transformers.

    Args:
        model: the config.json that will lie beside it, which transformers looks at too.
    """
    wanted = _state(tokenizer)
    for source in _folders(tokenizer):
        with TemporaryDirectory() as scratch:
            if _copied(tokenizer, wanted, source, Path(scratch), model):
                _hand_over(Path(scratch), target)
                return
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        tokenizer.save_pretrained(str(place))
        _spell_as_before(place)
        found = _loaded(place, model)
        differing = [name for name in wanted if found is None or _state(found)[name] != wanted[name]]
        if differing:
            warn(
                f"the tokenizer that transformers saved differs from the one that was trained with, once loaded: "
                f"{', '.join(differing)}. Compare their ids before the export is used."
            )
        _hand_over(place, target)


def copy_licenses(base: str, target: Path) -> None:
    """Copies the license, notice and use policy of a base model that is on this machine."""
    for source in list(_folders_of(base))[:1]:
        for file in source.iterdir():
            if file.is_file() and _LICENSES.fullmatch(file.name):
                shutil.copyfile(file, target / file.name)


def _copied(tokenizer: Any, wanted: Mapping[str, Any], source: Path, place: Path, model: Mapping[str, Any]) -> bool:
    """Returns whether the files of `source`, changed as the tokenizer was, give that tokenizer; they lie in `place`."""
    fresh = _loaded(source, None)
    if fresh is None:
        return False
    then = _state(fresh)
    if then["tokens"] != wanted["tokens"]:
        return False
    for entry in source.iterdir():
        if TOKENIZER_FILES.fullmatch(entry.name):
            copy = shutil.copytree if entry.is_dir() else shutil.copyfile
            copy(entry, place / entry.name)
    if then != wanted:
        _change(tokenizer, wanted, then, place)
    again = _loaded(place, model)
    return again is not None and _state(again) == wanted


def _change(tokenizer: Any, wanted: Mapping[str, Any], then: Mapping[str, Any], place: Path) -> None:
    """Writes what differs into the copied files."""
    config = _read(place / _CONFIG)
    for group in ("special tokens", "settings"):
        changed = {
            name: wanted[group].get(name)
            for name in {**then[group], **wanted[group]}
            if wanted[group].get(name) != then[group].get(name)
        }
        config |= changed
        if group == "special tokens" and changed and (place / _SPECIAL).is_file():
            write_json(place / _SPECIAL, _read(place / _SPECIAL) | changed)
    if wanted["chat template"] != then["chat template"]:
        for name in ("chat_template.jinja", "chat_template.json"):
            (place / name).unlink(missing_ok=True)
        shutil.rmtree(place / "additional_chat_templates", ignore_errors=True)
        config.pop("chat_template", None)
        if wanted["chat template"] is not None:
            config, _ = tokenizer.save_chat_templates(str(place), config, None, True)
    write_json(place / _CONFIG, config)


def _state(tokenizer: Any) -> dict[str, Any]:
    """Returns all about a tokenizer that changes ids, chats, or how it is used, as plain values."""
    if tokenizer.is_fast:
        tokens = json.loads(tokenizer.backend_tokenizer.to_str())
        # Those of the last call.
        tokens |= {"truncation": None, "padding": None}
    else:
        added = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
        tokens = {"vocabulary": tokenizer.get_vocab(), "added": added}
    named = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if not isinstance(token, list)}
    return {
        "tokens": tokens,
        "special tokens": named,
        "other special tokens": sorted(set(map(str, tokenizer.all_special_tokens)) - set(named.values())),
        "chat template": tokenizer.chat_template,
        "settings": {name: getattr(tokenizer, name, None) for name in _SETTINGS},
    }


def _loaded(folder: Path, model: Mapping[str, Any] | None) -> Any:
    """Returns the tokenizer of a folder here, None where it does not load without code of its own.

    Args:
        model: the config.json to put beside it for that time; None leaves the folder as it is.
    """
    from transformers import AutoTokenizer

    beside = folder / "config.json"
    if model:
        write_json(beside, {name: value for name, value in model.items() if name != "auto_map"})
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except _ERRORS:
        return None
    finally:
        if model:
            beside.unlink()


def _spell_as_before(place: Path) -> None:
    """Writes two settings as transformers 4 and 5 both read them; as 5 writes them, 4 cannot open the tokenizer."""
    config = _read(place / _CONFIG)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    write_json(place / _CONFIG, config)


def _folders(tokenizer: Any) -> Iterator[Path]:
    """Yields the folders on this machine that the tokenizer may have been loaded from."""
    yield from _folders_of(str(getattr(tokenizer, "name_or_path", None) or ""))
    vocabulary = getattr(tokenizer, "vocab_file", None)
    if isinstance(vocabulary, str) and Path(vocabulary).is_file():  # a cache in another place
        yield Path(vocabulary).parent


def _folders_of(name: str) -> Iterator[Path]:
    """Yields the folder of that name, or those of a model of the hub that are in the cache, its main branch first."""
    if name and Path(name).expanduser().is_dir():
        yield Path(name).expanduser()
    if not name or is_local(name):
        return
    snapshots = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "snapshots"
    main = try_to_load_from_cache(name, "config.json")
    first = Path(main).parent if isinstance(main, str) else None
    if snapshots.is_dir():
        yield from sorted(snapshots.iterdir(), key=lambda place: (place != first, place.name))


def _hand_over(place: Path, target: Path) -> None:
    for entry in place.iterdir():
        shutil.move(str(entry), target / entry.name)


def _read(file: Path) -> dict[str, Any]:
    return read_object(file) if file.is_file() else {}
