"""Sizes of blocks and caches: matters of speed and memory.

They are fields of one object, so that a test can make blocks small without knowing
which module cuts them. Results do not depend on them, apart from the last bits of sums
and from the sizes that are marked as numbers of draws.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

__all__ = ["limits"]


@dataclasses.dataclass
class Limits:
    """Sizes that the package works with.

    Examples
    --------
    >>> from dalmax_sk._base.limits import limits
    >>> with limits.override(block_bytes=1000):
    ...     limits.block_bytes
    1000
    >>> limits.block_bytes
    16777216
    """

    # Arrays, in memory and mapped from files (storage)

    #: Bytes of a block of rows whose reader asks for no other size.
    block_bytes: int = 16 * 2**20
    #: Bytes of mapped files read or written before their pages are given back.
    release_bytes: int = 32 * 2**20
    #: Bytes that scattered rows of a mapped file bring in before they are given back.
    gather_bytes: int = 16 * 2**20
    #: Bytes of rows converted together: they fit a cache with their temporaries.
    copy_bytes: int = 4 * 2**20
    #: Bytes of rows scored together, which fit a core's own cache.
    scored_bytes: int = 2**20
    #: Larger blocks are multiples of this many rows: a matrix product of a block then
    #: gives a row the same bits as a product of all rows.
    round_rows: int = 256

    #: Columns of a sparse matrix up to which it is made dense, where a strategy needs
    #: embeddings: one-hot columns of a table are few, terms of texts are not.
    dense_columns: int = 1000

    # Images, networks and processes

    #: Files decoded together in inference.
    read_files: int = 512
    #: Bytes of pixels decoded together.
    read_bytes: int = 2**26
    #: Values of a batch of inputs in inference on a CPU: 42 images of 32x32x3 a thread,
    #: or 85 in 16 bits, so that the feature maps that a thread works on fit its cache.
    inference_cpu_values: int = 2**17
    #: Rows of such a batch: at least, at most.
    inference_cpu_rows: tuple[int, int] = (4, 1024)
    #: Such batches are multiples of this, which kernels divide more evenly.
    inference_round: int = 16
    #: Values of a batch of inputs in inference on a GPU: 445 images of 224x224x3.
    inference_gpu_values: int = 2**26
    #: Rows of such a batch: at least, at most.
    inference_gpu_rows: tuple[int, int] = (4, 8192)
    #: Share of a GPU's free memory for the activations of one batch.
    activation_share: float = 0.5
    #: Samples that these activations are measured on.
    probed_rows: int = 8
    #: Batches of results on their way from a GPU while the next is computed.
    pending_batches: int = 2
    #: Files decoded between two reports of progress.
    decode_files: int = 512
    #: Files that a decoding thread takes at a time.
    decode_task_files: int = 8
    #: Average size of files below which one thread decodes them: several would wait for
    #: the interpreter. A JPEG of 64x64 pixels has 1.5 kB.
    small_file_bytes: int = 2048
    #: Values of the inputs in a block of their statistics.
    statistics_values: int = 2**22
    #: Pixels of images that are decoded one at a time.
    large_image_pixels: int = 2**25
    #: Rows between two exchanges of outputs among processes.
    exchange_rows: int = 2048

    # Features

    #: Samples whose frozen features are put together at a time.
    frozen_rows: int = 4096
    #: Bytes of frozen features put together at a time.
    frozen_bytes: int = 2**26
    #: Values of a batch of an embedder on a CPU: four colour images of 160 pixels. The
    #: allocator gives larger activations back to the system each time.
    embedder_cpu_values: int = 320_000
    #: Rows of a batch of an embedder on a GPU.
    embedder_gpu_rows: int = 256
    #: Rows of features written or read together.
    store_rows: int = 1024

    # The pool: inputs of one call of ``predict_proba``

    #: Bytes: enough rows for matrix products at full speed, few enough for small
    #: temporaries.
    predict_bytes: int = 32 * 2**20
    #: Bytes for a net, which cuts them into batches of its own.
    net_bytes: int = 2**28
    #: Objects, whose size in bytes is unknown.
    object_rows: int = 2**16

    # Strategies

    #: Rows whose products stay in a cache.
    product_rows: int = 1024
    #: Numbers in a block of posterior samples, 4 MB.
    sample_values: int = 2**19
    #: Numbers in a tile of probabilities on a CPU: 1 MB, which stays in a second-level
    #: cache.
    tile_cpu_values: int = 2**17
    #: Numbers in such a tile on a GPU.
    tile_gpu_values: int = 2**24
    #: Candidates that a policy scores together.
    policy_rows: int = 8192

    # Selection: rows, distances and neighbours

    #: Rows checked or summed together.
    checked_rows: int = 4096
    #: Rows of the largest tile of a distance matrix; 16 MB in float32.
    distance_tile_rows: int = 4096
    #: Columns of that tile.
    distance_tile_columns: int = 1024
    #: Bytes above which a block of distances gains no speed.
    distance_bytes: int = 96 * 2**20
    #: Bytes of the pairs that are evaluated exactly together.
    exact_pair_bytes: int = 32 * 2**20
    #: Rows that ``greedy_apart`` compares with each other at once.
    walk_rows: int = 256
    #: Neighbours kept beyond those asked for, to prove that none is missing.
    spare_neighbors: int = 16

    # Selection: k-center, k-means and average linkage

    #: Candidates that k-center runs on between two looks at the whole pool: at least,
    #: at most. Their distances take 32 MB.
    working_set: tuple[int, int] = (512, 2048)
    #: Picks of k-center on a GPU between two synchronisations with the host.
    device_steps: int = 64
    #: Candidates looked up for a centre of k-means whose nearest is taken: at least, at
    #: most.
    shortlist: tuple[int, int] = (64, 1024)
    #: Clusters whose nearest neighbours are looked up in one matrix product.
    scan_rows: int = 64
    #: Share of rows in use below which arrays of clusters are cut.
    compact_share: float = 0.7

    # Selection: coverage

    #: Points on either side of a tile of similarities; 16 MB in float32.
    tile_rows: int = 2048
    #: Points of a group of neighbours, about.
    group_rows: int = 256
    #: Points per group that groups are learned from.
    group_sample_rows: int = 32
    #: Share of ``max_memory`` for two numbers a pair of groups.
    group_pair_share: float = 1 / 8
    #: Share of ``max_memory`` for lists of the members of balls.
    ball_list_share: float = 0.5
    #: Share of ``max_memory`` for similarities that are kept.
    similarity_share: float = 0.375
    #: Candidates for whose whole rows of similarities there has to be room; else lists
    #: are kept.
    similarity_rows: int = 1024
    #: Entries of kept similarities looked at together.
    similarity_entries: int = 2**20
    #: Points whose nearest centre is looked up together.
    cover_rows: int = 32768
    #: Candidates with the largest bounds, among which a lazy greedy seeks the next.
    lazy_candidates: int = 8192
    #: Candidates whose bounds a lazy greedy renews together: at first, at most.
    renewed_candidates: tuple[int, int] = (32, 1024)
    #: Candidates of a product with all points; fewer would take as long.
    product_candidates: int = 64

    # Draws made together. Another number gives other draws from the same distribution.

    #: Candidates that the seeding of k-means draws at once.
    seeding_candidates: int = 128
    #: Proposals of the rejection sampler of k-means++ looked at together.
    proposals: int = 64
    #: Picks of k-means++ after which all masses are brought up to date.
    picks_per_refresh: int = 64
    #: Proposals after which they are brought up to date.
    proposals_per_refresh: int = 256

    # Runs

    #: Seconds between two states of a run of an experiment on the disk.
    seconds_between_states: float = 1.0

    @contextlib.contextmanager
    def override(self, **sizes: object) -> Iterator[None]:
        """Set some of the sizes inside a block.

        Parameters
        ----------
        **sizes : int, float or tuple
            New values, by name.

        Raises
        ------
        TypeError
            If there is no such size.
        """
        known = {field.name for field in dataclasses.fields(self)}
        if unknown := sizes.keys() - known:
            raise TypeError(f"unknown sizes {sorted(unknown)}; known: {sorted(known)}")
        before = {name: getattr(self, name) for name in sizes}
        vars(self).update(sizes)
        try:
            yield
        finally:
            vars(self).update(before)


#: The sizes in force.
limits = Limits()
