"""A winner outlives the process: saved by the job that found it, loaded by the service when it starts.

python examples/load_prompts_at_start.py
"""

from pathlib import Path

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_promptopt import load_prompts, optimize
from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model


def build_chain():
    """What the service's code does, with the prompt as it was written."""
    return ChatPromptTemplate.from_template(demo_prompt()) | offline_model("task") | StrOutputParser()


# The job
result = optimize(build_chain(), data=demo_rows(), evaluators=["exact_match"], optimizer_model="offline", apply="never")
print(result.outcome)
result.save("prompts")
print("saved:", sorted(str(p) for p in Path("prompts").iterdir()))

# The service
chain = build_chain()
load_prompts(chain, "prompts")
print("the service answers:", chain.invoke({"ticket": "The app crashes whenever I open a second notebook."}))
