"""`python -m langchain_promptopt`: the command line."""

from langchain_promptopt.cli import main

if __name__ == "__main__":
    main()
