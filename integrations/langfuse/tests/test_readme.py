"""The README's program, with the built-in models in place of hosted ones and the demo's examples."""

from __future__ import annotations

from pathlib import Path

from langchain_core.prompts import ChatPromptTemplate
from server import PUBLIC, SECRET

from langchain_promptopt.offline import demo_prompt, demo_rows
from tests.support.readme import BUILT_IN, run_readme


def test_the_program_of_the_readme_runs(server, client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in (("PUBLIC_KEY", PUBLIC), ("SECRET_KEY", SECRET), ("BASE_URL", server.url)):
        monkeypatch.setenv(f"LANGFUSE_{name}", value)
    variable = ChatPromptTemplate([("human", demo_prompt())]).input_variables[0]
    text = demo_prompt().replace("{" + variable + "}", "{{" + variable + "}}")
    client.create_prompt(name="triage", type="chat", prompt=[{"role": "user", "content": text}], labels=["production"])
    names = run_readme(Path(__file__).parents[1] / "README.md", {"rows": demo_rows()[::2]}, BUILT_IN)
    assert names["result"].outcome == "improved"
    assert (names["before"], names["staged"]) == ("1", "2")
    assert client.get_prompt("triage", type="chat", cache_ttl_seconds=0).version == 1  # put back by the last line
