"""The command line, as ``python -m rheostat``: what launchers of several processes start."""

from rheostat.cli import main

if __name__ == "__main__":
    main()
