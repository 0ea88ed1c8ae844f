"""`python -m langchain_promptopt`: the command line."""

import os
import sys

if __name__ == "__main__":
    # Python puts the working folder first: an openai.py lying there would take the place of the real one.
    if sys.path and sys.path[0] in {"", os.getcwd()}:
        del sys.path[0]
    from langchain_promptopt.cli import main

    main()
