"""The built-in evaluators, LangSmith-shaped: `f(outputs, reference_outputs)` gives a dict with key and score.

Answers and references that have fields are compared field by field, each field by the evaluator's own rule where
that applies to it and exactly otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import all_are
from langchain_promptopt.errors import EvaluatorError
from langchain_promptopt.evaluators._assertions import assertions
from langchain_promptopt.evaluators._read import (
    as_text,
    folded,
    is_label,
    is_only_number,
    known_opposites,
    options_of,
    parse_choice,
    parse_label,
    parse_number,
    quoted_value,
    trimmed,
)
from langchain_promptopt.evaluators._reply import (
    MISSING,
    ComparedPart,
    json_of,
    pairs_of,
    reply_text,
    same_json,
    text_references,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+"
)


def words(text: str) -> list[str]:
    """The words a score counts: case folded, punctuation left out.

    >>> words("The cat's 猫.")
    ['the', 'cat', 's', '猫']
    """
    return _WORD.findall(folded(text))


def rouge_l_f(reply: str, reference: str) -> float:
    """F1 of the longest common subsequence of words. Texts without a word score 0 unless both have none.

    >>> rouge_l_f("the cat sat", "the black cat sat")
    0.8571428571428571
    """
    from rapidfuzz.distance import LCSseq

    ours, theirs = words(reply), words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs))


def mean_rouge_l(reply: str, references: Sequence[str]) -> float:
    """The mean over all references, as GPO scores WebNLG; the maximum is another number."""
    return sum(rouge_l_f(reply, reference) for reference in references) / len(references)


def _verdict(key: str, *, right: bool, parsed: str | None, expected: object, reply: object) -> dict[str, Any]:
    """The result in LangSmith's shape. `parsed` is None when nothing could be read from the reply."""
    result: dict[str, Any] = {"key": key, "score": float(right), "metadata": {"parse_ok": parsed is not None}}
    if parsed is None:
        result["comment"] = f"could not parse an answer from {quoted_value(reply)}; expected {quoted_value(expected)}"
    elif not right:
        result["comment"] = f"expected {quoted_value(expected)}, got {quoted_value(parsed)}"
    return result


_Rule = Callable[[Any, tuple[Any, ...]], dict[str, Any]]
"""An evaluator's own rule, for a reply and its alternatives."""


def _by_field(
    key: str, outputs: Any, reference_outputs: Any, rule: _Rule, *, mean: bool = False, exact: bool = False
) -> dict[str, Any]:
    """The verdict over all fields: the worst of them, or with `mean` their mean; with `exact` JSON types count.

    Raises EvaluatorError where the rule applies to no field.
    """
    pairs = pairs_of(outputs, reference_outputs)
    if len(pairs) == 1:
        return _of_pair(key, pairs[0], rule, exact=exact)
    found: dict[str, dict[str, Any]] = {}
    refused: list[EvaluatorError] = []
    for pair in pairs:
        try:
            found[pair.name] = _of_pair(key, pair, rule, exact=exact)
        except EvaluatorError as error:  # a number rule on a field that is a text
            refused.append(error)
            found[pair.name] = _exactly(key, pair.reply, pair.references)
    if len(refused) == len(pairs):
        raise refused[0]
    scores = [result["score"] for result in found.values()]
    parsed = all(result["metadata"]["parse_ok"] for result in found.values())
    merged: dict[str, Any] = {"key": key, "score": sum(scores) / len(scores) if mean else min(scores)}
    merged["metadata"] = {"parse_ok": parsed}
    if comments := [f"{name}: {result['comment']}" for name, result in found.items() if "comment" in result]:
        merged["comment"] = "; ".join(comments)
    return merged


def _of_pair(key: str, pair: ComparedPart, rule: _Rule, *, exact: bool) -> dict[str, Any]:
    if pair.reply is MISSING:
        result = _verdict(key, right=pair.references == (None,), parsed="nothing", expected=_expected(pair), reply="")
        return result | ({} if result["score"] else {"comment": f"the answer has no field `{pair.name}`"})
    if pair.references == (None,):
        right = pair.reply in (None, "")
        return _verdict(key, right=right, parsed=as_text(pair.reply), expected="nothing", reply=pair.reply)
    if isinstance(pair.reply, dict | list) and _is_same(pair):
        return _verdict(key, right=True, parsed=as_text(pair.reply), expected=_expected(pair), reply=pair.reply)
    is_text = exact and pair.typed and isinstance(pair.reply, str)
    if is_text and all_are(pair.references, int | float):  # a number is wanted
        return _verdict(key, right=False, parsed=repr(pair.reply), expected=_expected(pair), reply=pair.reply)
    return rule(pair.reply, pair.references)


def _is_same(pair: ComparedPart) -> bool:
    """Whether a structured reply is one of the alternatives, or is all of them as a list."""
    return same_json(pair.reply, list(pair.references)) or any(same_json(pair.reply, r) for r in pair.references)


def _expected(pair: ComparedPart) -> Any:
    return pair.references[0] if len(pair.references) == 1 else list(pair.references)


def exact_match(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    """1 when the whole reply is the reference (or one of several); with several fields, when all of them are.

    Case, final punctuation, repeated white space and invisible characters are ignored. A
    reference that is a JSON number is compared as a number, an object as JSON with free key order.

    >>> exact_match({"output": "paris."}, {"answer": ["Paris", "City of Paris"]})["score"]
    1.0
    >>> exact_match({"label": "access", "urgent": True}, {"label": "access", "urgent": False})["comment"]
    "urgent: expected 'false', got 'true'"
    """

    def rule(reply: Any, references: tuple[Any, ...]) -> dict[str, Any]:
        return _exactly("exact_match", reply, references)

    return _by_field("exact_match", outputs, reference_outputs, rule, exact=True)


def _exactly(key: str, reply: Any, references: tuple[Any, ...]) -> dict[str, Any]:
    right, structured = False, True
    for reference in references:
        right = right or (reply is not MISSING and _is_exactly(reply, reference))
        structured = structured and isinstance(reference, dict | list)
    readable = json_of(reply)[1] if structured else bool(as_text(reply).strip())
    expected = references[0] if len(references) == 1 else list(references)
    parsed = as_text(reply) if readable or right else None
    return _verdict(key, right=right, parsed=parsed, expected=expected, reply=reply)


def _is_exactly(reply: Any, reference: Any) -> bool:
    if type(reply) is type(reference) is str:
        return trimmed(reply) == trimmed(reference)
    if isinstance(reference, dict | list | tuple):
        value, is_json = json_of(reply)
        return is_json and same_json(value, reference)
    if isinstance(reply, dict | list | tuple):
        return False
    text = as_text(reply)
    if isinstance(reference, int | float) and not isinstance(reference, bool):
        tail = text if is_only_number(text) else text.replace("=", ":").rpartition(":")[2].rpartition(" is ")[2]
        return is_only_number(tail) and parse_number(text) == Fraction(str(reference))
    return trimmed(text) == trimmed(as_text(reference))


def number_match(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    """1 when the number in the reply equals the reference exactly; nothing is rounded.

    The number is the first after the last cue ("####", "answer is", "answer:"), without a cue the last.

    >>> number_match("So 1,000 + 8 = 1,008.0", {"answer": "1008"})["score"]
    1.0
    """
    return _by_field("number_match", outputs, reference_outputs, _same_number)


def _same_number(reply: Any, references: tuple[Any, ...]) -> dict[str, Any]:
    numbers = list(map(_reference_number, references))
    text = reply_text(reply, "number_match")
    number = parse_number(text)
    expected = ", ".join(map(_number_text, numbers))
    parsed = None if number is None else _number_text(number)
    return _verdict("number_match", right=number in numbers, parsed=parsed, expected=expected, reply=text)


def _reference_number(value: Any) -> Fraction:
    number = None if isinstance(value, Mapping | list) else parse_number(as_text(value))
    if number is None:
        msg = f"`number_match` needs a number as reference, and this one is {value!r}"
        raise EvaluatorError(msg, mend="Use `exact_match` or `label_match` for answers that are not numbers.")
    return number


def _number_text(number: Fraction) -> str:
    """A decimal where it is exact and short, else a fraction."""
    decimal = as_text(float(number)) if abs(number) < Fraction(10**15) else str(number)
    return decimal if "e" not in decimal and Fraction(decimal) == number else str(number)


def choice_match(outputs: Any, reference_outputs: Any, inputs: Any = None) -> dict[str, Any]:
    """1 when the option letter of the reply equals the reference, "(B)" or "B".

    The letter is the first after the last cue, else the only one, else the option whose text
    the reply repeats (then the options are read from `inputs`).

    Args:
        outputs: What the chain returned: a text, or a mapping with one.
        reference_outputs: The reference: "(B)", "B", the text of the option, or a mapping with one of them.
        inputs: The inputs of the example, in which the options are listed.

    Returns:
        `key`, `score` (0 or 1), `comment` and `metadata`, as LangSmith reads them.

    Raises:
        EvaluatorError: The reference is no option letter.

    >>> choice_match("The answer is (b).", {"answer": "(B)"})["score"]
    1.0
    """
    options = options_of(inputs) if inputs is not None else {}
    return _by_field("choice_match", outputs, reference_outputs, lambda r, refs: _same_choice(r, refs, options))


def _same_choice(reply: Any, references: tuple[Any, ...], options: Mapping[str, str]) -> dict[str, Any]:
    wanted = []
    for t in text_references(references, "choice_match"):
        wanted.append(_reference_letter(t, options))
    text = reply_text(reply, "choice_match")
    letter = parse_choice(text, options)
    expected = ", ".join(f"({w})" for w in wanted)
    parsed = None if letter is None else f"({letter})"
    return _verdict("choice_match", right=letter in wanted, parsed=parsed, expected=expected, reply=text)


def _reference_letter(text: str, options: Mapping[str, str]) -> str:
    bare = text.strip().strip("()[].").strip()
    if len(bare) == 1 and bare.isalpha():
        return bare.upper()
    same = []
    for letter, option in options.items():
        if trimmed(option) == trimmed(text):
            same.append(letter)
    if len(same) != 1:
        msg = f"`choice_match` needs an option letter as reference, and this one is {quoted_value(text)}"
        raise EvaluatorError(msg, mend='Give the letter, as "(B)" or "B", or use `exact_match`.')
    return same[0]


def label_match(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    """1 when the reply is the label, or names it as a whole word after the last cue.

    Yes and no, true and false, valid and invalid are known as opposites: naming both is no answer.
    For other label sets use `make_label_match`, which knows them all; here a label that stands in a list
    of others is no answer.

    >>> label_match("The argument is invalid.", {"answer": "valid"})["score"]
    0.0
    """
    return _by_field("label_match", outputs, reference_outputs, _same_label)


def _same_label(reply: Any, references: tuple[Any, ...]) -> dict[str, Any]:
    wanted = text_references(references, "label_match")
    found: set[str] = set()
    for label in wanted:
        found.update(known_opposites(label))
    labels = sorted(found)
    return _of_labels("label_match", reply, wanted, labels, closed=len(labels) > len(wanted))


def _of_labels(
    key: str, reply: Any, wanted: Sequence[str], labels: Iterable[str], *, closed: bool = True
) -> dict[str, Any]:
    text = reply_text(reply, key)
    label = parse_label(text, labels, closed=closed)
    right = label is not None and folded(label) in set(map(folded, wanted))
    return _verdict(key, right=right, parsed=label, expected=", ".join(wanted), reply=text)


@dataclass(frozen=True)
class LabelMatch:
    """`label_match` over a closed set of labels: a reply that names two of them is no answer."""

    labels: tuple[str, ...]
    key: str = "label_match"

    def __call__(self, outputs: Any, reference_outputs: Any) -> dict[str, Any]:
        """Score one reply. Raises EvaluatorError when the reference is not one of the labels."""
        return _by_field(self.key, outputs, reference_outputs, self._same)

    def _same(self, reply: Any, references: tuple[Any, ...]) -> dict[str, Any]:
        wanted = text_references(references, self.key)
        for label in wanted:
            if not is_label(label, self.labels):
                msg = f"the reference {quoted_value(label)} is not one of the {len(self.labels)} labels of `{self.key}`"
                raise EvaluatorError(msg, mend="Correct the example, or add the label.")
        return _of_labels(self.key, reply, wanted, self.labels)


def make_label_match(labels: Iterable[str], *, key: str = "label_match") -> LabelMatch:
    """An evaluator for a closed set of labels.

    >>> make_label_match(["billing", "refund"])("billing, not refund", {"answer": "billing"})["score"]
    0.0
    """
    found = tuple(labels)
    distinct = set(map(folded, found))
    if len(distinct) < len(found) or not all(map(str.strip, found)):
        msg = "labels must differ in more than case and must not be blank"
        raise EvaluatorError(msg, where=f"make_label_match, {len(found)} labels")
    return LabelMatch(found, key)


def rouge_l(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    """ROUGE-L F1 over words, the mean over all references (`references`, or a list as answer).

    Case and punctuation do not count; Chinese, Japanese and Thai count by character.

    >>> rouge_l("a b", {"answer": ["a b", "a c"]})["score"]
    0.75
    """
    several = reference_outputs.get("references") if isinstance(reference_outputs, Mapping) else None
    compared = {"references": several} if isinstance(several, list) and several else reference_outputs
    return _by_field("rouge_l", outputs, compared, _overlap, mean=True)


def _overlap(reply: Any, references: tuple[Any, ...]) -> dict[str, Any]:
    wanted = text_references(references, "rouge_l")
    text = reply_text(reply, "rouge_l")
    score = mean_rouge_l(text, wanted)
    result: dict[str, Any] = {"key": "rouge_l", "score": score, "metadata": {"parse_ok": bool(text.strip())}}
    if score < 1:
        result["comment"] = f"ROUGE-L {score:.2f} over {len(wanted)} reference(s), the first {quoted_value(wanted[0])}"
    return result


Matcher = Callable[..., dict[str, Any]]
_ALL: tuple[Matcher, ...] = (exact_match, number_match, choice_match, label_match, rouge_l, assertions)
BUILT_INS: dict[str, Matcher] = {f.__name__: f for f in _ALL}
REVISION = 2
"""Raised whenever a built-in's verdicts change, so that older runs can be recognised."""
