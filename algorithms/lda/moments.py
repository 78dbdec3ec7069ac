"""The first three moments of words within a document, whitened, without ever forming a V x V or V x V x V array.

For a document of l words with counts c, the products over ordered pairs and triples of its words are

    pairs   = (c c' - diag(c)) / (l (l - 1))
    triples = (c o c o c + 2 sum_i c_i e_i o e_i o e_i - sum_i c_i (e_i o e_i o c + 2 permutations)) / (l (l-1) (l-2))

and, with M1 the mean of c / l and a0 the sum of the Dirichlet prior, two of their means are sums over topics mu:

    M2 = E[pairs] - a0 / (a0 + 1) M1 M1'
       = sum over topics alpha_i / (a0 (a0 + 1)) mu_i mu_i'
    M3 = E[triples] - a0 / (a0 + 2) (E[pairs] o M1 + 2 permutations) + 2 a0^2 / ((a0 + 1) (a0 + 2)) M1 o M1 o M1
       = sum over topics 2 alpha_i / (a0 (a0 + 1) (a0 + 2)) mu_i o mu_i o mu_i

Source: Anandkumar et al., JMLR 2014, sections 3.2 and 4.3. Names are the paper's; o is the outer product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, eigsh

from algorithms.common.blas import threads_for
from algorithms.common.hosts import ONE_HOST, from_leader
from algorithms.interface import Hosts

_BLOCK_NUMBERS = 1 << 22
_RANK_TOLERANCE = 1e-6
"""Eigenvalues of M2 below this share of the largest are rounding."""
_EIGEN_TOLERANCE = 1e-3
"""Tolerance of residuals; eigenvalues are exact to about its square, far below the sampling error of the documents."""


@dataclass(frozen=True)
class Whitened:
    """M3 in coordinates in which M2 is the identity.

    Attributes:
        tensor: M3(W, W, W), shape (r, r, r), float64.
        unwhiten: B with mu = B v up to scale, shape (V, r), float64.
    """

    tensor: np.ndarray
    unwhiten: np.ndarray


class Moments:
    """Moments of a corpus. Documents of fewer than three words say nothing of triples and are left out.

    Args:
        counts: (D, V) CSR, non-negative: the documents of this host, of the ``hosts`` that all call the same.
        alpha0: sum of the Dirichlet prior.

    Attributes:
        documents: how many all hosts have of three words or more; without any, all moments are 0.
    """

    def __init__(self, counts: sp.csr_array, alpha0: float, hosts: Hosts = ONE_HOST) -> None:
        lengths = np.asarray(counts.sum(axis=1), np.float64).reshape(-1)
        long_enough = lengths >= 3
        self.documents = documents = int(hosts.sum(np.array([long_enough.sum()]))[0][0])
        kept = counts if long_enough.all() else counts[long_enough]
        # Once here, since each of a thousand products would do it again.
        self.counts = sp.csr_array((kept.data.astype(np.float64), kept.indices, kept.indptr), shape=kept.shape)
        self.alpha0 = alpha0
        self._hosts = hosts
        lengths = lengths[long_enough]
        self._pair_weights = 1 / (documents * lengths * (lengths - 1))
        self._triple_weights = 1 / (documents * lengths * (lengths - 1) * (lengths - 2))
        self.first, self._diagonal = hosts.sum(
            np.asarray(self.counts.T @ (1 / (documents * lengths))),  # M1, (V,)
            np.asarray(self.counts.T @ self._pair_weights),  # of E[pairs]
        )

    def pairs(self, vectors: np.ndarray) -> np.ndarray:
        """E[pairs] @ vectors, (V, n). Cost: the non-zeros times n."""
        (products,) = self._hosts.sum(
            np.asarray(self.counts.T @ (self._pair_weights[:, None] * (self.counts @ vectors)))
        )
        return products - self._diagonal[:, None] * vectors

    def second(self, vectors: np.ndarray) -> np.ndarray:
        """M2 @ vectors, (V, n)."""
        share = self.alpha0 / (self.alpha0 + 1)
        return self.pairs(vectors) - share * np.outer(self.first, self.first @ vectors)

    def whiten(self, rank: int, random: np.random.Generator) -> Whitened:
        """M3 in the ``rank`` leading directions of M2, or in fewer where M2 has no more: none, as of words that occur
        independently of each other where ``alpha0`` is large, or where no document has three of them."""
        nothing = np.zeros(0), np.zeros((len(self.first), 0))
        values, vectors = self._leading(rank, random) if self.documents else nothing
        if not len(values):
            return Whitened(np.zeros((0, 0, 0)), vectors)
        scale = np.sqrt(values)
        return Whitened(self._third(vectors / scale), vectors * scale)

    def _leading(self, rank: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The largest positive eigenvalues of M2, falling, (r,), and their eigenvectors, (V, r)."""
        words = len(self.first)
        if rank >= words - 1:  # ARPACK finds fewer than V - 1; this V is small
            square = self.second(np.eye(words))
            values, vectors = from_leader(self._hosts, lambda: np.linalg.eigh(square))
        else:
            values, vectors = self._leading_of_many(rank, random)
        order = np.argsort(values)[::-1][:rank]
        order = order[values[order] > max(values[order[0]] * _RANK_TOLERANCE, 0)]
        return values[order], vectors[:, order]

    def _leading_of_many(self, rank: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The leading eigenvalues and eigenvectors of a large M2, from products with vectors.

        The leader alone decides by what vectors: on another kind of processor ARPACK might want one more or fewer.
        """
        hosts, words = self._hosts, len(self.first)

        def product(vector: np.ndarray) -> np.ndarray:
            hosts.sum(np.append(1.0, vector))
            return self.second(vector.reshape(-1, 1)).reshape(-1)

        if hosts.rank == 0:
            operator = LinearOperator((words, words), matvec=product, dtype=np.float64)
            with threads_for(0):  # ARPACK's steps are over before a second thread has begun
                start = random.standard_normal(words)
                found = eigsh(operator, k=rank, which="LA", v0=start, tol=_EIGEN_TOLERANCE)
            hosts.sum(np.zeros(words + 1))
        else:
            while (asked := hosts.sum(np.zeros(words + 1))[0])[0]:
                self.second(asked[1:].reshape(-1, 1))
        values, vectors = from_leader(hosts, lambda: found)
        return values, vectors

    def _third(self, whitener: np.ndarray) -> np.ndarray:
        """M3(W, W, W), (r, r, r). Cost: (D + V) r^3 / 2."""
        rank = whitener.shape[1]
        documents = np.asarray(self.counts @ whitener)  # c'W, (D, r)
        triples, words, corner = self._hosts.sum(
            _cubes(documents, documents * self._triple_weights[:, None]),
            np.asarray(self.counts.T @ (self._triple_weights[:, None] * documents)),  # (V, r)
            2 * np.asarray(self.counts.T @ self._triple_weights),  # of each word thrice
        )
        # The words thrice are a symmetric tensor, a third of the sum of its permutations.
        triples -= _symmetric(_cubes(whitener, words - whitener * (corner / 3)[:, None]))
        share = self.alpha0 / (self.alpha0 + 2)
        first = whitener.T @ self.first
        pairs = whitener.T @ self.pairs(whitener)
        triples -= share * _symmetric((pairs[:, :, None] * first).reshape(-1, rank))
        triples += 2 * share * self.alpha0 / (self.alpha0 + 1) * np.outer(np.outer(first, first), first)
        return triples.reshape(rank, rank, rank)


def _cubes(rows: np.ndarray, last: np.ndarray) -> np.ndarray:
    """sum over n of rows_n o rows_n o last_n, as (r r, r); in blocks that bound the memory."""
    rank = rows.shape[1]
    first, second = np.triu_indices(rank)  # the squares are symmetric
    total = np.zeros((len(first), rank))
    step = max(1, _BLOCK_NUMBERS // len(first))
    for start in range(0, len(rows), step):
        block = np.ascontiguousarray(rows[start : start + step].T)
        total += (block[first] * block[second]) @ last[start : start + step]
    whole = np.empty((rank, rank, rank))
    whole[first, second] = whole[second, first] = total
    return whole.reshape(-1, rank)


def _symmetric(tensor: np.ndarray) -> np.ndarray:
    """The sum of the three permutations of (r r, r), for a tensor that is symmetric in its first two axes."""
    rank = tensor.shape[1]
    cube = tensor.reshape(rank, rank, rank)
    return (cube + cube.transpose(0, 2, 1) + cube.transpose(2, 0, 1)).reshape(-1, rank)
