"""``python -m edgegrow`` and the ``edgegrow`` command."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly from its first import on."""
    try:
        from edgegrow import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
