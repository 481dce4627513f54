"""From text data and a model to a bundle."""
