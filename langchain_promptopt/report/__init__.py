"""Reports drawn from a run's journal: HTML, Markdown, JUnit, terminal, and the files a CI job reads."""
