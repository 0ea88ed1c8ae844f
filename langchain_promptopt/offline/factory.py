"""What the model spec "offline" stands for, and a plain prompt for any set of labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from langchain_promptopt.errors import ConfigError
from langchain_promptopt.offline.optimizer import OfflineOptimizerModel
from langchain_promptopt.offline.task import OfflineTaskModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.language_models.chat_models import BaseChatModel

Role: TypeAlias = Literal["task", "optimizer", "judge"]


def offline_model(role: Role) -> BaseChatModel:
    r"""The offline model for a role. A judge follows its prompt as the task model does.

    >>> offline_model("task").invoke("Answer red or blue.\nText: a red rose").content
    'red'
    """
    if role not in get_args(Role):
        msg = f"unknown role {role!r}"
        raise ConfigError(msg, mend=f"Offline models exist for {', '.join(get_args(Role))}.")
    if role == "optimizer":
        return OfflineOptimizerModel()
    return OfflineTaskModel(model_name=f"offline-{role}")


def factories() -> Mapping[str, Callable[[Role], BaseChatModel]]:
    """Model specs of this package and what makes them."""
    return {"offline": offline_model}


def label_prompt(labels: Sequence[str], *, variable: str) -> str:
    """A plain f-string prompt that lists `labels`, each described by nothing but the words of its name.

    >>> print(label_prompt(["warm_red", "blue"], variable="text"))
    Decide which label fits the text.
    <BLANKLINE>
    ## Labels
    - warm_red: warm red
    - blue: blue
    <BLANKLINE>
    ## Output
    Answer with the label only, exactly as it is written above.
    <BLANKLINE>
    Text: {text}
    """
    if not variable.isidentifier():
        msg = f"{variable!r} cannot be a variable of an f-string prompt"
        raise ConfigError(msg, mend="Give the name of the input column, for example 'question'.")
    noun = variable.replace("_", " ")
    listed = "\n".join(f"- {_escaped(name)}: {_escaped(_spoken(name))}" for name in labels)
    return (
        f"Decide which label fits the {noun}.\n\n## Labels\n{listed}\n\n## Output\n"
        f"Answer with the label only, exactly as it is written above.\n\n{noun.capitalize()}: {{{variable}}}"
    )


def _spoken(name: str) -> str:
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_\-/?]+", " ", name)).split()).lower()


def _escaped(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")
