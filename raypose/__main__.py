"""`python -m raypose`."""

from raypose.cli import main

if __name__ == "__main__":
    main()
