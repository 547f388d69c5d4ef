"""What several specs of the catalog name: spaces, and why there are no others."""

VECTORS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")
ALL = (*VECTORS, "Dict", "Image")

CONTINUOUS = "its actor gives the components of a continuous action"
VALUED = "it values each choice of a Discrete action"
