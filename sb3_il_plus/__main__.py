"""`python -m sb3_il_plus`: the command line, where its script is not on the path."""

from sb3_il_plus.cli import main

if __name__ == "__main__":
    main()
