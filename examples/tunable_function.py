"""A prompt in plain code: `tunable` registers it, and any function that uses it can be optimized.

python examples/tunable_function.py
"""

from langchain_promptopt import optimize, tunable
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

TRIAGE = tunable(demo_prompt(), name="triage")
model = offline_model("task")


def triage(ticket: str) -> str:
    """Plain Python: no chain, no template object."""
    return model.invoke(TRIAGE.format(ticket=ticket)).text


result = optimize(triage, data=demo_rows(), evaluators=["exact_match"], optimizer_model="offline")
print(result.outcome, [(e.old, e.new) for e in result.edits])
print(triage(ticket="I was charged twice for one order."))
