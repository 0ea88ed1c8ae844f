"""Programs without a template: a prompt in a constant, in a class, and beside a template.

python examples/any_program.py

Each is optimized as it is, gets its better text where it holds it, and is put back byte for byte.
"""

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import optimize, prompts
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

model = offline_model("task")
TRIAGE = demo_prompt()  # a module's constant, filled with .format
RULES = TRIAGE.replace("\nTicket:\n{ticket}", "")
DESK = ChatPromptTemplate.from_template("Say which desk reads this first.\n\nTicket:\n{ticket}")


def constant(ticket: str) -> str:
    return model.invoke(TRIAGE.format(ticket=ticket)).text


class Service:
    """Holds its prompt in an attribute of its class."""

    rules = RULES

    def answer(self, ticket: str) -> str:
        """The queue for a ticket."""
        return model.invoke([SystemMessage(self.rules), HumanMessage(ticket)]).text


def template_and_text(ticket: str) -> str:
    """Two steps: the first has a template, the second holds its text."""
    desk = (DESK | model).invoke({"ticket": ticket}).text
    return model.invoke([SystemMessage(Service.rules), HumanMessage(ticket)]).text if desk else ""


service = Service()
for one in prompts(template_and_text, [row["inputs"] for row in demo_rows()[:4]]):
    print(f"{one.name}: {one.kind} in {one.where}, sent: {one.sent}")

for program in (constant, service.answer, template_and_text):
    before = TRIAGE, Service.rules
    result = optimize(
        program, data=demo_rows(), evaluators=["exact_match"], optimizer_model="offline", runs_dir=None, seed=3
    )
    assert (result.outcome, result.applied) == ("improved", True)
    assert (TRIAGE, Service.rules) != before
    print(f"{program.__name__}: {result.test[0]['baseline']:.2f} -> {result.test[0]['best']:.2f}")
    result.revert()
    assert (TRIAGE, Service.rules) == before  # byte for byte
