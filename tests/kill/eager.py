"""``train``, writing a checkpoint at every point that is offered: small jobs are over before one would be due.

The linear learner steps by mini-batches: its exact training, of seconds, begins anew after a stop.
"""

import os

from algorithms.linear_learner import path
from algorithms.xgb import checkpoints as of_xgboost
from container.__main__ import train_command
from container.training import checkpoints

if __name__ == "__main__":
    checkpoints.SECONDS = 0.0
    checkpoints.SHARE_OF_TIME = of_xgboost._SHARE_OF_TIME = float("inf")
    path.PATH_MEMORY = 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    train_command([])  # which ends as the command does: the interpreter's own end may wait for TensorFlow
