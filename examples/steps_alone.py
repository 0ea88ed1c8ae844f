"""Each step alone, and then as one chain: why rows went wrong, which words are to blame, what to write instead.

    python examples/steps_alone.py

Offline; with a real model write `model = ChatOpenAI(model="...")` instead.
"""

from langchain_promptopt import GlobalProposal, IdentifyTokens, LocalProposal, TextualGradient
from langchain_promptopt.offline import offline_model

PROMPT = """Sort the ticket.

Labels:
- refund: money back
- billing: invoice, return

Answer with the label only.

Ticket: {ticket}"""
ERRORS = [
    {
        "id": "row-1",
        "inputs": {"ticket": "I return the lamp and want my money"},
        "expected": {"label": "refund"},
        "answer": "billing",
    }
]
given = {"prompt": PROMPT, "errors": ERRORS}
model = offline_model("optimizer")

why = TextualGradient(model=model).invoke(given)
print("Why:", why.feedback.text)

for protocol in ("quote", "echo", "index"):  # three ways to ask for the same thing
    marked = IdentifyTokens(model=model, protocol=protocol).invoke(why)
    print(f"Marked ({protocol}):", [marked.prompts.text_at(span) for span in marked.spans])

local = LocalProposal(model=model).invoke(marked)
for edit in local.drafts[0].edits:
    print("Local edit:", repr(edit.old), "->", repr(edit.new), "because", edit.reason)
assert "{ticket}" in local.drafts[0].prompts.document.text  # variables are kept, by construction

whole = GlobalProposal(model=model).invoke(why)
print("Global proposal:", [(e.old, e.new) for d in whole.drafts for e in d.edits] or whole.rejections)

chain = TextualGradient(model=model) | IdentifyTokens(model=model) | LocalProposal(model=model)
print("In one go:", [(e.old, e.new) for d in chain.invoke(given).drafts for e in d.edits])
