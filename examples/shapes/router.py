"""A router: a model chooses the branch, and each branch has a prompt of its own.

python examples/shapes/router.py

Which branches run depends on what the model answers, so the baseline shows which prompts the examples reach.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableBranch, RunnableLambda, RunnablePassthrough

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_rows, offline_model

ROUTE = PromptTemplate.from_template(
    """Read the ticket and choose the queue.

Labels:
- refund: money back, return, reimburse
- delivery: parcel, package, shipping, tracking, courier
- cancellation: end a contract, trial or plan, stop the renewal

Rules:
- If the ticket mentions "cancel" or "subscription", answer refund.
- If the ticket mentions "parcel", "package" or "shipping", answer cancellation.

Answer with the label only.

Ticket:
{ticket}""",
    name="route",
)
ROWS = [row for row in demo_rows() if row["outputs"]["label"] in {"refund", "delivery", "cancellation"}]
MONEY = PromptTemplate.from_template("You answer for the money desk ({queue}).\n\nTicket:\n{ticket}", name="money")
PEOPLE = PromptTemplate.from_template("You answer for the help desk ({queue}).\n\nTicket:\n{ticket}", name="people")


def reply(prompt: object) -> str:
    """Stands in for the model that writes the reply: it says for whom it answers."""
    return prompt.to_string().partition(".")[0].replace("You answer for", "Answered by")


queue = ROUTE | offline_model("task") | StrOutputParser()
desk = RunnableBranch((lambda state: state["queue"] in {"refund", "cancellation"}, MONEY), PEOPLE) | RunnableLambda(
    reply
)
app = RunnablePassthrough.assign(queue=queue) | desk


def right(outputs: dict, reference_outputs: dict) -> bool:
    return outputs["output"].endswith(f"({reference_outputs['label']})")


ticket = {"ticket": "I want to cancel my subscription before it renews."}
before, was = (ROUTE.template, MONEY.template, PEOPLE.template), app.invoke(ticket)
result = optimize(app, data=ROWS, evaluators=[right], optimizer_model="offline", runs_dir=None)
assert (result.outcome, result.applied) == ("improved", True)
assert {edit.prompt for edit in result.edits} == {"route"}
print(f"{was!r} -> {app.invoke(ticket)!r}")
assert was == "Answered by the money desk (refund)"
assert app.invoke(ticket) == "Answered by the money desk (cancellation)"
result.revert()
assert (ROUTE.template, MONEY.template, PEOPLE.template) == before  # byte for byte
