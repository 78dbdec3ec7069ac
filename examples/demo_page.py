"""The page of the demo: clusters of digits and a map, as one HTML file. Nothing here knows how they were computed."""

from __future__ import annotations

import numpy as np

from container.training.charts import png

COLOURS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2"),
    *("#b6992d", "#b07aa1", "#d37295", "#79706e", "#9467bd"),
)
EXAMPLES = 12
ALGORITHMS = (  # folder, title, idea, command, folder of the demo's job
    ("kmeans", "k-means", "Groups of rows that are alike.", "kmeans --train data.csv k=10", "kmeans"),
    (
        "pca",
        "PCA",
        "The few directions in which rows differ most.",
        "pca --train data.csv num_components=2 mini_batch_size=500",
        "pca",
    ),
    (
        "linear_learner",
        "Linear learner",
        "A number, yes or no, or a class, from a weighted sum.",
        "linear-learner --train data.csv predictor_type=regressor",
        "",
    ),
    ("xgb", "XGBoost", "The same by many small trees.", "xgboost --train data.csv num_round=100", ""),
    (
        "factorization_machines",
        "Factorization machines",
        "Recommendations and clicks: wide rows, nearly all zeros.",
        "factorization-machines --train data.pbr predictor_type=regressor num_factors=16",
        "",
    ),
    (
        "lda",
        "LDA",
        "The topics of a corpus, by counting words.",
        "lda --train counts.csv num_topics=20 mini_batch_size=1000",
        "",
    ),
    ("ntm", "Neural topic model", "Topics again, by a network.", "ntm --train counts.csv num_topics=20", ""),
    (
        "image_classification",
        "Image classification",
        "What is in a picture, by a residual network.",
        "image-classification --train train.rec --validation validation.rec num_classes=10 num_training_samples=1500",
        "",
    ),
    (
        "seq2seq",
        "Sequence to sequence",
        "Translations, and other texts made of texts.",
        "seq2seq --train train.rec --validation validation.rec --channel vocab=vocab",
        "",
    ),
)
MAP_WIDTH, MAP_HEIGHT, MAP_MARGIN = 1000, 560, 24


def draw(
    *,
    images: np.ndarray,
    digits: np.ndarray,
    clusters: np.ndarray,
    positions: np.ndarray,
    distance: float,
    seconds: float,
    held_out: int,
) -> str:
    """The HTML text.

    Args:
        images: shape (n, 8, 8), ink from 0 to 1; the last ``held_out`` were not trained on.
        digits: shape (n,), what the images really show.
        clusters: shape (n,), the cluster of each image, from 0.
        positions: shape (n, 2), where each lies on the map.
        distance: mean squared distance of the held-out images from their center, in the pixels' unit of 0 to 16.
        seconds: how long training took, start of the process included.
    """
    counts = np.zeros((clusters.max() + 1, 10), dtype=int)
    np.add.at(counts, (clusters, digits), 1)
    names = counts.argmax(axis=1)
    order = [int(cluster) for cluster in np.lexsort((-counts.max(axis=1), names)) if counts[cluster].any()]
    right = names[clusters] == digits
    held_out_right = right[-held_out:].mean()
    facts = (
        (f"{len(images):,}", "images of 8 × 8 pixels"),
        (f"{len(order)}", "clusters, found without labels"),
        (f"{held_out_right:.0%}", f"of {held_out} images never seen before fall into the cluster of their digit"),
        (f"{distance:.0f}", "mean squared distance to the center, as the log reports it"),
        (f"{seconds:.1f} s", "to start, read, train and save"),
    )
    return PAGE.format(
        facts="".join(f"<div><b>{value}</b><span>{name}</span></div>" for value, name in facts),
        cards="".join(_card(cluster, images, digits, clusters, counts[cluster], names[cluster]) for cluster in order),
        algorithms="".join(_algorithm(*one) for one in ALGORITHMS),
        map=_map(positions, digits, clusters, names),
        table=_table(counts, names, order),
        width=MAP_WIDTH,
        height=MAP_HEIGHT,
    )


def _card(
    cluster: int, images: np.ndarray, digits: np.ndarray, clusters: np.ndarray, counts: np.ndarray, name: int
) -> str:
    """One card: the mean image of a cluster and some of its members, those of another digit framed."""
    members = np.flatnonzero(clusters == cluster)
    examples = members[np.linspace(0, len(members) - 1, min(EXAMPLES, len(members))).astype(int)]
    pictures = "".join(
        f'<img class="{"" if digits[row] == name else "other"}" src="{_picture(images[row])}" alt="a {digits[row]}"'
        f' title="a {digits[row]}">'
        for row in examples
    )
    share = counts[name] / counts.sum()
    return (
        f'<article style="--colour:{COLOURS[cluster % len(COLOURS)]}">'
        f'<img class="center" src="{_picture(images[members].mean(axis=0))}" alt="mean image of cluster {cluster}">'
        f"<div><h3>mostly {name}<small>{share:.0%} of {len(members)}</small></h3>"
        f'<div class="bar"><i style="width:{share:.1%}"></i></div>'
        f'<div class="examples">{pictures}</div></div></article>'
    )


def _map(positions: np.ndarray, digits: np.ndarray, clusters: np.ndarray, names: np.ndarray) -> str:
    """Every image as its digit, where PCA puts it, in the colour of its cluster; others' digits bold."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    scale = np.array([MAP_WIDTH, MAP_HEIGHT]) - 2 * MAP_MARGIN
    places = (positions - low) / (high - low) * scale + MAP_MARGIN
    return "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{COLOURS[cluster % len(COLOURS)]}"'
        f' class="{"" if names[cluster] == digit else "other"}">{digit}</text>'
        for (x, y), digit, cluster in zip(places, digits, clusters, strict=True)
    )


def _table(counts: np.ndarray, names: np.ndarray, order: list[int]) -> str:
    """How many images of each digit are in each cluster, darker where there are more."""
    head = "".join(f'<th scope="col">{digit}</th>' for digit in range(counts.shape[1]))
    rows = []
    for cluster in order:
        shades = counts[cluster] / counts.max()
        cells = "".join(
            f'<td style="--share:{shade:.2f}">{count or ""}</td>'
            for count, shade in zip(counts[cluster], shades, strict=True)
        )
        colour = COLOURS[cluster % len(COLOURS)]
        rows.append(f'<tr style="--colour:{colour}"><th scope="row"><i></i>mostly {names[cluster]}</th>{cells}</tr>')
    return f"<tr><th scope=col>cluster \\ digit</th>{head}</tr>{''.join(rows)}"


def _algorithm(folder: str, title: str, idea: str, command: str, job: str) -> str:
    """A card with what an algorithm is for, how it is run, and where to read on."""
    report = f'<a href="{job}/output/data/report.html">Report of this demo</a>' if job else ""
    return (
        f"<article><h3>{title}</h3><p>{idea}</p><code>oba train {command} --output out/{folder}</code>{report}"
        f'<a href="../../algorithms/{folder}/README.md">Read on: {title}</a></article>'
    )


def _picture(image: np.ndarray) -> str:
    """Dark ink on white, as a data address. ``image``: shape (h, w), ink from 0 to 1."""
    return png(255 * (1 - np.repeat(image[:, :, None], 3, axis=2)))


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Ten clusters of digits</title>
<style>
  :root {{ color-scheme: light dark; --ink: #1d2733; --soft: #4f5b69; --page: #f4f5f7; --card: #fff; --line: #dfe3e9;
           --cell: #7aa7d9; --link: #0b5ca8; --wrong: #b3261e }}
  @media (prefers-color-scheme: dark) {{
    :root {{ --ink: #e8edf3; --soft: #aeb8c4; --page: #11161d; --card: #1a212b; --line: #2e3846; --cell: #1f5f9e;
             --link: #7cc0f5; --wrong: #ff8a80 }} }}
  * {{ box-sizing: border-box }}
  body {{ font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--page); margin: 0 }}
  main {{ max-width: 1060px; margin: 0 auto; padding: 40px 24px 64px }}
  h1 {{ font-size: 34px; line-height: 1.2; margin: 0 0 8px }}
  h2 {{ font-size: 21px; margin: 44px 0 4px }}
  p {{ margin: 0 0 16px; max-width: 46em; color: var(--soft) }}
  code {{ background: var(--line); border-radius: 4px; padding: 1px 5px; font-size: 14px }}
  .facts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px; margin-top: 24px }}
  .facts div, article, figure, .table {{ background: var(--card); border: 1px solid var(--line); border-radius: 10px }}
  .facts div {{ padding: 14px 16px }}
  .facts b {{ display: block; font-size: 26px; line-height: 1.25 }}
  .facts span {{ font-size: 13px; line-height: 1.35; display: block; color: var(--soft) }}
  .clusters {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 12px }}
  article {{ display: flex; gap: 16px; padding: 14px }} .clusters article {{ border-left: 6px solid var(--colour) }}
  img {{ image-rendering: pixelated }}
  .center {{ width: 96px; height: 96px; border-radius: 6px; outline: 1px solid var(--line) }}
  article > div {{ flex: 1; min-width: 0 }}
  h3 {{ margin: 0; font-size: 17px; display: flex; justify-content: space-between }}
  h3 small {{ font-weight: 400; color: var(--soft) }}
  .bar {{ height: 6px; border-radius: 3px; background: var(--line); margin: 4px 0 10px }}
  .bar i {{ display: block; height: 100%; border-radius: 3px; background: var(--colour) }}
  .examples img {{ width: 22px; height: 22px; margin-right: 3px; outline: 1px solid var(--line) }}
  .examples img.other {{ outline: 2px solid var(--wrong) }}
  figure {{ margin: 0; padding: 8px }}
  svg {{ width: 100%; display: block }}
  svg text {{ font: 18px system-ui, "DejaVu Sans", sans-serif; opacity: .75 }}
  svg .other {{ font-weight: 800; font-size: 21px; opacity: 1 }}
  .table {{ padding: 12px 16px; overflow-x: auto }}
  table {{ border-collapse: separate; border-spacing: 3px; width: 100%; font-size: 14px; text-align: center }}
  th {{ font-weight: 500; color: var(--soft) }}
  tr th:first-child {{ text-align: left; white-space: nowrap }}
  th i {{ display: inline-block; width: 10px; height: 10px; border-radius: 5px; background: var(--colour);
         margin-right: 8px }}
  td {{ height: 26px; border-radius: 4px;
       background: color-mix(in srgb, var(--cell) calc(var(--share) * 100%), var(--page)) }}
  a {{ color: var(--link) }}
  .algorithms {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); gap: 12px }}
  .algorithms article {{ display: block }} .algorithms p {{ font-size: 14px; margin: 4px 0 8px }}
  .algorithms code {{ display: block; padding: 6px 8px; font-size: 12px; overflow-wrap: anywhere; margin-bottom: 8px }}
  .algorithms h3 {{ display: block }} .algorithms a {{ font-size: 14px; margin-right: 14px }}
  @media (min-width: 700px) {{ svg text {{ font-size: 12px }} svg .other {{ font-size: 15px }} }}
  @media (max-width: 500px) {{ main {{ padding: 24px 12px 48px }} h1 {{ font-size: 28px }}
                               .center {{ width: 72px; height: 72px }} }}
</style>
<main>
<h1>Ten clusters of digits</h1>
<p>The command <code>train</code> ran k-means on images of handwritten digits, the command <code>serve</code> answered
for each image which cluster it belongs to. Nobody told either which digit an image shows; the names below are what most
images of a cluster turn out to be.</p>
<section class="facts">{facts}</section>
<h2>The clusters</h2>
<p>Large: the mean of all images of the cluster; k-means puts an image where the mean is nearest. Small: some of them. A
red frame marks one that shows another digit.</p>
<section class="clusters">{cards}</section>
<h2>The map</h2>
<p>A second job, <code>pca</code>, found the two directions in which the images differ most. Each image is drawn as the
digit it shows, in the colour of its cluster; the bold ones are in the cluster of another digit.</p>
<figure><svg viewBox="0 0 {width} {height}" role="img" text-anchor="middle" dominant-baseline="central">
<title>The images on a plane, each as its digit in the colour of its cluster</title>{map}</svg></figure>
<h2>Clusters and digits</h2>
<p>How many images of each digit are in each cluster. Where a digit has two clusters, people write it in two ways.</p>
<div class="table" role="region" tabindex="0" aria-label="Clusters and digits"><table>{table}</table></div>
<h2>All nine algorithms</h2>
<p>Each is one command away, on data of yours, and leaves a report like those of the two jobs above. <code>oba</code> is
in <code>.venv/bin</code>; <code>docs/laptop.md</code> has commands for all nine with data that the project makes.</p>
<section class="algorithms">{algorithms}</section>
</main>
"""
