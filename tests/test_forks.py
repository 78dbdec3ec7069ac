"""What becomes of programs whose tests have ended before them."""

import subprocess
import sys

from tests.forks import ROOT

ASKED_BY_NOBODY = """
import os
from tests import forks

asking, status = os.pipe()
os.close(asking)
request = {"program": "import time; time.sleep(60)", "environment": {}, "folder": "."}
forks._be(request, os.dup(1), os.dup(2), status)
"""


def test_a_program_does_not_outlive_who_asked_for_it_before_it_began():
    """Its output, which it would keep open, ends."""
    command = [sys.executable, "-c", ASKED_BY_NOBODY]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30).stderr == b""
