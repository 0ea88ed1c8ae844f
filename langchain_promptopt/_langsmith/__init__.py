"""Everything LangSmith: the only room that imports the SDK. Nothing here is reached unless a user asks for it."""
