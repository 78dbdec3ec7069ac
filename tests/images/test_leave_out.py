"""What an image leaves out depends on whose models it serves."""

from images.leave_out import others


def test_an_image_that_serves_one_algorithm_needs_nothing_of_the_others():
    left = others("image-classification", "serve")
    assert "algorithms.image_classification" not in left and {"algorithms.pca", "algorithms.xgb"} <= set(left)
    assert others("all", "serve") == others("pca", "all") == []
