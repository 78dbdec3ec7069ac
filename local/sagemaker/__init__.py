"""``oba up``: an endpoint that runs code written for SageMaker on this machine, unmodified and without an account.

The operations of SageMaker are implemented here and run real processes; all other services of AWS come from moto, in
the same server. Modules with operations are listed in ``operations.MODULES``.
"""
