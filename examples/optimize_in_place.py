"""The main job: a chain goes in, the same object comes back with a better prompt, and can be put back.

python examples/optimize_in_place.py
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import Budget, Gate, optimize
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

prompt = ChatPromptTemplate.from_template(demo_prompt())
chain = prompt | offline_model("task") | StrOutputParser()
before = prompt.messages[0].prompt.template

result = optimize(
    chain,
    data=demo_rows(),
    evaluators=["exact_match"],
    optimizer_model="offline",
    freeze=["## Refund policy"],  # nobody may touch this section
    gate=Gate(primary="exact_match"),
    budget=Budget(calls=6_000),
)
print(result.outcome, result.test[0]["baseline"], "->", result.test[0]["best"])
for edit in result.edits:
    print(f"  {edit.old!r} -> {edit.new!r}")

ticket = "I want to cancel my subscription before it renews."
print("Now:", chain.invoke({"ticket": ticket}))
if result.applied:
    assert prompt.messages[0].prompt.template != before  # the object you hold has changed
    result.revert(chain)
assert prompt.messages[0].prompt.template == before  # byte for byte
print("Before:", chain.invoke({"ticket": ticket}))

if len(result.edits) > 1:
    part = result.select([1])  # the first edit alone, judged on search rows
    print("One edit alone:", part.test[0]["baseline"], "->", part.test[0]["best"])
