"""``python -m benchmarks``: see ``benchmarks.summary``, whose functions other processes can import by name."""

from benchmarks.summary import main

if __name__ == "__main__":
    main()
