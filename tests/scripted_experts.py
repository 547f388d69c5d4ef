"""Scripted experts on real environments: demonstrations without any training."""

import numpy as np

CARTPOLE = "seals/CartPole-v0"
PENDULUM = "Pendulum-v1"


def balance(observation: np.ndarray) -> int:
    """Keep the pole up and the cart in the middle (return 500 of 500)."""
    position, velocity, angle, turning = observation
    return int(0.1 * position + 0.3 * velocity + 2 * angle + turning > 0)


def swing_up(observation: np.ndarray) -> np.ndarray:
    """Pump energy into the pendulum, then hold it up (return about -140)."""
    cosine, sine, turning = observation
    if cosine > 0.85:
        torque = -(10 * np.arctan2(sine, cosine) + 2.5 * turning)
    else:
        energy_to_top = turning**2 / 6 + 5 * (cosine - 1)
        torque = -2 * np.sign(turning or 1) * np.sign(energy_to_top)
    return np.array([np.clip(torque, -2, 2)], dtype=np.float32)
