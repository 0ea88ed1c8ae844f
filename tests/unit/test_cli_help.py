"""`--help` is written for users: the parameters of a verb's function are not in it."""

from langchain_promptopt.cli.app import app
from langchain_promptopt.cli.flags import EXAMPLES, help_of


def test_help_is_the_docstring_up_to_the_parameters():
    assert len(EXAMPLES) == len(app.registered_commands)
    for verb in EXAMPLES:
        text = help_of(verb)
        assert text
        assert "Args:" not in text
        assert "Returns:" not in text
        assert (verb.__doc__ or "").lstrip().startswith(text.splitlines()[0])
