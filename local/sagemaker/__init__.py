"""``oba up``: an endpoint that runs code written for SageMaker on this machine, unmodified and without an account.

SageMaker's operations are ours and run real processes; all else of AWS comes from moto, in the same server.
A module that has operations is named in ``operations.MODULES``.
"""
