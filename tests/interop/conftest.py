"""Programs for the SDKs' own environments are no tests: what they import is not installed here."""

collect_ignore_glob = ["*_program.py", "up_notebooks_*.py"]
