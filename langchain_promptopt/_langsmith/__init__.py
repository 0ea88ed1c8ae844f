"""Everything LangSmith: the only package that imports its SDK. It is not used unless a user asks for LangSmith."""
