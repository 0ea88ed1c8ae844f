"""Evaluators: six built in, and one face for every evaluator LangSmith takes.

Built-ins have LangSmith's shape, `f(outputs, reference_outputs) -> {"key", "score", "comment"?, "metadata"}`,
and work alone, in `langsmith.evaluate`, and here. `metadata["parse_ok"]` is False when no answer could be read.
"""

from langchain_promptopt.evaluators._adapter import EvalResult, Evaluator, EvaluatorFailed, score_all
from langchain_promptopt.evaluators._assertions import assertions
from langchain_promptopt.evaluators._calls import Call
from langchain_promptopt.evaluators._matchers import (
    LabelMatch,
    choice_match,
    exact_match,
    label_match,
    make_label_match,
    number_match,
    rouge_l,
)
from langchain_promptopt.evaluators._metrics import Metrics
from langchain_promptopt.evaluators._read import (
    as_text,
    folded,
    normal_form,
    options_of,
    parse_choice,
    parse_label,
    parse_number,
    visible,
)
from langchain_promptopt.evaluators._reply import ANSWER_NAMES, reply_of
from langchain_promptopt.evaluators._resolve import (
    Declared,
    SummaryEvaluator,
    declare,
    is_built_in,
    know_labels,
    resolve_evaluators,
    resolve_summaries,
)

__all__ = [
    "ANSWER_NAMES",
    "Call",
    "Declared",
    "EvalResult",
    "Evaluator",
    "EvaluatorFailed",
    "LabelMatch",
    "Metrics",
    "SummaryEvaluator",
    "as_text",
    "assertions",
    "choice_match",
    "declare",
    "exact_match",
    "folded",
    "is_built_in",
    "know_labels",
    "label_match",
    "make_label_match",
    "normal_form",
    "number_match",
    "options_of",
    "parse_choice",
    "parse_label",
    "parse_number",
    "reply_of",
    "resolve_evaluators",
    "resolve_summaries",
    "rouge_l",
    "score_all",
    "visible",
]
