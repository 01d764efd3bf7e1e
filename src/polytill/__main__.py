"""``python -m polytill``."""

from polytill.cli import main

if __name__ == "__main__":
    main()
