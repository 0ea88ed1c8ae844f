"""A tiny task for engine tests: the answer depends on words of the prompt, and an optimizer that learns from errors."""

from __future__ import annotations

import json
import re

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt.testing.scripted import ScriptedModel

PROMPT = "You sort words. Call every animal a PLANT. Call every stone a stone. Answer with one word.\nWord: {word}"
ANIMALS = ["dog", "cat", "cow", "hen", "fox", "owl", "bee", "ant", "eel", "elk", "emu", "yak"]
STONES = ["opal", "ruby", "jade", "onyx", "agate", "beryl", "topaz", "flint", "slate", "chalk", "amber", "coral"]


def rows(train: int = 12, dev: int = 16, test: int = 40) -> list[dict]:
    """Half animals (wrong under PROMPT), half stones (right)."""
    out = []
    for split, n in (("train", train), ("dev", dev), ("test", test)):
        for i in range(n):
            kind, names = ("animal", ANIMALS) if i % 2 else ("stone", STONES)
            word = f"{names[i % len(names)]}-{split}-{i}"
            out.append(
                {
                    "inputs": {"word": word},
                    "outputs": {"answer": kind},
                    "metadata": {"id": f"{split}-{i}", "split": split},
                }
            )
    return out


def answer(messages) -> str:
    """What the prompt says to call the word: the program follows 'Call every X a Y.'"""
    text = "\n".join(str(m.text) for m in messages)
    word = text.rsplit("Word: ", 1)[1].split("-")[0]
    kind = "animal" if word in ANIMALS else "stone"
    found = re.search(rf"Call every {kind} an? (\w+)\.", text)
    return found.group(1) if found else "unknown"


def improve(messages) -> str:
    """Marks the wrong word and replaces it; rewrites the whole prompt when asked to."""
    request = str(messages[-1].text)
    if "JSON list" in request:
        return json.dumps([{"message": 0, "quote": "PLANT", "occurrence": 1, "reason": "animals are no plants"}])
    if "JSON object" in request:
        return json.dumps({"1": {"new": "animal", "reason": "the rows expect animal"}})
    if "<START>" in request:
        prompt = re.search(r"<prompt>\n(.*?)\n</prompt>", str(messages[1].text), re.S).group(1)
        return f"<START>{prompt.replace('You sort words. ', '').replace('a PLANT', 'an animal')}<END>"
    return "- the word PLANT misleads"


def chain(fn=answer):
    """prompt | model | parser over the task program."""
    return ChatPromptTemplate.from_template(PROMPT) | ScriptedModel(fn=fn, model_name="task") | StrOutputParser()


def optimizer(fn=improve) -> ScriptedModel:
    """The optimizer program as a model."""
    return ScriptedModel(fn=fn, model_name="optimizer")


MAIL = """You sort mail.

- sales: questions about prices
- legal: parcels that are late
- help: the app is broken

Answer with the name alone.
Mail: {mail}"""
"""A prompt whose second rule names the wrong team."""
