"""`imitation`'s own trainers as rows of a table, called directly, with the adapters' settings.

    pip install tests/benchmarks/direct_imitation
    python -m direct_imitation --env seals/CartPole-v0 --episodes 1 --out runs/cartpole-1

makes one table of every adapter and the same call made to `imitation`: same demonstrations, budget,
hyperparameters, seeds and evaluation. What only the adapter has (statistics of the demonstrations,
relabelled rewards, ...) the direct call goes without.
"""
