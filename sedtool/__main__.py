"""`python -m sedtool` is the same as `sedtool`."""

from sedtool.cli import main

if __name__ == "__main__":
    main()
