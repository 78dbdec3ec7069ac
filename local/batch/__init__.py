"""Batch transform without SageMaker: ``oba batch``.

The platform's side of a transform job, for one machine: it reads files or a folder, sends the records to a server over
HTTP as the job says, and writes a file ``<name>.out`` for each. The options have the names and the defaults of
SageMaker's CreateTransformJob.
"""
