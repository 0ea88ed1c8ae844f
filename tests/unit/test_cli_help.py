"""`--help` is written for users: the parameters of a verb's function are not in it."""

import re
from importlib.metadata import version

import langchain_promptopt
from langchain_promptopt.cli.app import app, run
from langchain_promptopt.cli.flags import EXAMPLES, FLAGS, help_of


def test_help_is_the_docstring_up_to_the_parameters():
    assert len(EXAMPLES) == len(app.registered_commands)
    for verb in EXAMPLES:
        text = help_of(verb)
        assert text
        assert "Args:" not in text
        assert "Returns:" not in text
        assert (verb.__doc__ or "").lstrip().startswith(text.splitlines()[0])


def test_help_says_example_where_it_means_one():
    """A row is a line of a table; what is evaluated is an example, as in LangSmith."""
    for flag in FLAGS.values():
        assert not re.search(r"\brows?\b", flag.help), flag.option
    for verb in EXAMPLES:
        assert not re.search(r"\brows?\b", help_of(verb)), verb.__name__


def test_the_version_is_the_distributions_in_both_faces(capfd):
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"promptopt {version('langchain-promptopt')}\n"
    assert langchain_promptopt.__version__ == version("langchain-promptopt")
