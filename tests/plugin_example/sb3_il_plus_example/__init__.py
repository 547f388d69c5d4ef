"""An imitation learning algorithm for sb3_il_plus, from outside of it."""
