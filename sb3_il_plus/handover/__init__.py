"""Handing a trained model over to plain SB3 (`to_sb3`), with what it knows and none of our code."""
