"""The gate without a search: did the edit that somebody made by hand help, on rows nobody looked at?

python examples/compare_two_prompts.py
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import Gate, compare
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model


def chain_with(text: str):
    return ChatPromptTemplate.from_template(text) | offline_model("task") | StrOutputParser()


text = demo_prompt()
by_hand = text.replace("return", "give back")
assert by_hand != text

result = compare(
    chain_with(text),
    chain_with(by_hand),
    data=demo_rows(),
    evaluators=["exact_match"],
    gate=Gate(primary="exact_match"),
)
for entry in result.test:
    print(entry["metric"], entry["role"], entry["baseline"], "->", entry["best"], entry["verdict"])
print(result.outcome, "with exit code", result.exit_code)
