"""Pure text surgery: templates, words, tags, spans, alignment. No clock, no model, no LangChain."""
