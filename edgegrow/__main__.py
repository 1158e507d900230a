"""``python -m edgegrow``: the command line."""

from edgegrow.cli import main

if __name__ == "__main__":
    main()
