"""What the `sedtool` script and ``python -m sedtool`` run."""

from sedtool.signals import ignore, listen


def main() -> None:
    """Run the command line, and hear signals from the first moment to the last."""
    listen()  # before the imports, which take longer than many a command
    try:
        from sedtool.cli import main as run

        run()
    finally:
        ignore()


if __name__ == "__main__":
    main()
