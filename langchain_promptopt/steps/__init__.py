"""The steps that call the optimizer model, as LangChain Runnables: render | model | parse.

Each takes a `Workpiece` (or a dict, or a bare prompt string) and returns it with one thing
added, so they compose: `TextualGradient(model=m) | IdentifyTokens(model=m) | LocalProposal(model=m)`.
"""

from langchain_promptopt.steps.diagnosis import IdentifyTokens, TextualGradient
from langchain_promptopt.steps.propose import GlobalProposal, LocalProposal
from langchain_promptopt.steps.retriever import TrajectoryRetriever

__all__ = ["GlobalProposal", "IdentifyTokens", "LocalProposal", "TextualGradient", "TrajectoryRetriever"]
