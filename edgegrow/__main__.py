"""``python -m edgegrow`` and the ``edgegrow`` command."""

import sys

from edgegrow import interrupts


def main() -> None:
    """Run the command line; Ctrl-C ends it with one line from its first import on."""
    interrupts.watch()
    try:
        with interrupts.one_line():
            from edgegrow import cli
    except interrupts.Interrupted as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    cli.main()


if __name__ == "__main__":
    main()
