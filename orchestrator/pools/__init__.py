"""Pools of workers: in this process, or as Ray actors."""


class ClusterError(RuntimeError):
    """A cluster could not be started or met, or does not answer; the message says what to do."""


class WorkerLost(ClusterError):
    """A worker is gone with what it held. What was journalled stands."""
