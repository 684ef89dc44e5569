"""``python -m dalmax_sk`` is the same program as ``dalmax``."""

from dalmax_sk.cli import main

if __name__ == "__main__":
    main()
