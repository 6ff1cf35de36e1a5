"""Texts and names use the words of the field; docs/glossary.md has those that are this program's own."""

import ast
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Rule(NamedTuple):
    """Words that are not used, what is written in their place, a text with them, and one that is fine."""

    pattern: str
    instead: str
    wrong: str
    right: str


_NOUN = r"JSON|option|metric|folder|file|number|text|dataset|model|object|list|dict|string|path|directory|integer"
RULES = (
    Rule(
        rf"(?<![tT]here\s)\b(is|are|was|were) no (finite |valid )?({_NOUN})s?\b",
        "is not a ...",
        "config.json is no JSON.",
        "There is no file, and TRL has no option for it.",
    ),
    Rule(
        r"(?<![tT]here\s)\bis none\b(?!,? (of|other|one))",
        "is not one, is invalid",
        "'x' is none.",
        "'x' is none of a, b, c; all where there is none; it is none, one or several.",
    ),
    Rule(
        r"(^|[:;,(|] ?)none ((is|are) (no|not|none|the|that|those|all|as|each|twice)|keeps|takes|saves|never|leaves"
        r"|does|traces|holds|trains)\b",
        "(default: ...), or `none: ...`",
        "steps; none is no limit",
        "no reference is looked at, none is loaded",
    ),
    Rule(r"\bwhole numbers?\b", "integer", "must be a whole number", "the whole batch, a number"),
    Rule(r"\btruth values?\b", "boolean", "is no truth value", "the value is true"),
    Rule(r"\bso many\b(?! that)", "N, or a number of", "every so many steps", "so many that it does not fit"),
    Rule(r"\bthat there (is|are) not\b", "unknown", "a name that there is not", "there is not enough memory"),
    Rule(r"(?i)\bheld[- ]out\b", "eval", "on held-out rows", "data/held_out.py"),
    Rule(r"\blikelier\b", "more likely; logp accuracy", "chosen likelier", "which is more likely"),
    Rule(r"\bfillers?\b", "padding", "a filler pair", "padding"),
    Rule(
        r"\b(rows|sequences|pairs)\b[^.]{0,30}\btaken apart\b|\bunshared\b",
        "unpacked sequences",
        "rows are taken apart",
        "a template taken apart",
    ),
    Rule(r"\bway out\b", "hint, what to do", "and the way out", "on the way outside"),
    Rule(r"\bcomplain", "warn", "it complains", "it warns"),
    Rule(r"\b(let|lets|letting) go\b", "freed", "its weights are let go", "let it go on"),
    Rule(
        r"\b(policy|model) as it start(s|ed)\b",
        "initial policy",
        "the policy as it starts",
        "what is shown of a run as it starts",
    ),
    Rule(
        r"\b(head|loss|chunks?)\b[^.]{0,40}\bin one pass\b",
        "fused",
        "the head in one pass",
        "the file is read in one pass",
    ),
    Rule(r"\bpacked (in|into|by|to) `?(nf4|int8)", "quantized", "a base packed into nf4", "packed into rows"),
    Rule(
        r"\d ?(K|M|B|million|billion)[- ]weights?\b|\bbillion weights\b",
        "parameters",
        "a Llama of 40 M weights",
        "2 bytes a weight",
    ),
    Rule(r"\b(chosen|rejected) answers?\b", "completion", "the chosen answer", "answers to the sample prompts"),
    Rule(
        r"(?i)\b(un|re|de)?(token|quant|initial|normal|optim|minim|maxim|penal|serial|summar|regular|recogn|organ|general|util)"
        r"is(e|es|ed|er|ers|ing|ation|ations|able)\b",
        "American spelling: -ize",
        "tokenised",
        "tokenized; precise, promise",
    ),
    Rule(
        r"(?i)\b(colour|neighbour|behaviour|favour|honour|licence\b|centre\b|grey\b|labell(ed|ing)|modell(ed|ing)|"
        r"analys(e|ed|ing)\b|artefact)",
        "American spelling",
        "an analysed colour",
        "analyses of colors; a license",
    ),
)


def compiled(rule: Rule) -> re.Pattern[str]:
    """The pattern of a rule, whose blanks may be ends of lines."""
    return re.compile(rule.pattern.replace(" ?", r"\s?").replace(" ", r"\s+"), re.MULTILINE)


PATTERNS = [(compiled(rule), rule.instead) for rule in RULES]

# Names that are gone: of modules, classes, functions and arguments.
GONE = (
    *("form_of", "form_of_state", "form_of_batch", "form_on_mesh"),
    *("PairPull", "by_logit", "way_out", "_way_out", "single_pass", "head_one_pass"),
)

PACKAGE = sorted((ROOT / "src" / "easydel").rglob("*.py"))
FACTS = ROOT / "scripts" / "quickstart" / "facts.py"  # what the pairs of the quick start are made of, as they are
PROGRAMS = [
    path
    for folder in ("scripts", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != FACTS and not path.relative_to(ROOT / folder).parts[0].startswith(".")
]
TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the texts of a module, docstrings too, with the lines they begin in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the comments of a module with their lines."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def found_in(path: Path, *texts: Iterable[tuple[int, str]]) -> list[str]:
    """Returns a line for each word that is not used: where it is, what it says, and what is said instead."""
    return [
        f"{path.relative_to(ROOT)}:{first + text.count(chr(10), 0, match.start())}: "
        f"{' '.join(match[0].split())!r}: write {instead}"
        for each in texts
        for first, text in each
        for pattern, instead in PATTERNS
        for match in pattern.finditer(text)
    ]


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Yields every name that a module defines or uses, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for attribute in ("name", "id", "attr", "arg"):
            if isinstance(name := getattr(node, attribute, None), str):
                yield getattr(node, "lineno", 0), name


def fail_with(found: list[str]) -> None:
    if found:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.wrong)
def test_a_rule_finds_what_it_is_for_and_nothing_else(rule):
    assert compiled(rule).search(rule.wrong)
    assert not compiled(rule).search(rule.right)


@pytest.mark.parametrize("path", PACKAGE + PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_texts_of_a_module_use_the_words_of_the_field(path):
    fail_with(found_in(path, strings(path), comments(path)))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_field(path):
    fail_with(found_in(path, [(1, path.read_text(encoding="utf-8"))]))


def test_a_word_is_reported_with_its_place_and_what_to_write(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    module = tmp_path / "module.py"
    module.write_text('"""Fine,\n\nand every so\nmany steps."""\n\nX = "fine"  # is no file\n')
    assert found_in(module, strings(module), comments(module)) == [
        "module.py:3: 'so many': write N, or a number of",
        "module.py:6: 'is no file': write is not a ...",
    ]


def test_no_name_is_left_that_was_renamed():
    fail_with(
        [
            f"{path.relative_to(ROOT)}:{number}: the name {name!r} is gone"
            for path in PACKAGE + PROGRAMS + TESTS
            for number, name in names(path)
            if name in GONE
        ]
    )
