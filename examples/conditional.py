"""The same demonstrations, imitated with and without the command: a plot and a short video."""

import numpy as np
from PIL import Image

from sb3_il_plus import ConditionalBC, collect
from sb3_il_plus.conditional import NoiseInjection, evaluate_commands, plot_commands
from sb3_il_plus.conditional.driving import Command, DrivingEnv, DrivingExpert, DrivingVecEnv

env = NoiseInjection(DrivingVecEnv(8), dimensions=[0], time_step=0.1, intensity=0.5)
demonstrations = collect(DrivingExpert(), env, n_episodes=60, seed=0)

models, found = {}, {}
for name, policy in (
    ("with the command", "BranchedPolicy"),
    ("without", "UnconditionalPolicy"),
):
    models[name] = ConditionalBC(policy, None, demonstrations, seed=0).learn(1500)
    found[name] = evaluate_commands(models[name], DrivingVecEnv(50), 100, seed=1)
    print(f"{name}: {found[name]}")

plot_commands(found, "conditional", names=[command.name.lower() for command in Command])


def drive(model, command):
    """Frames from above, a few for each second."""
    env = DrivingEnv(render_mode="rgb_array")
    observation, _ = env.reset(seed=7, options={"commands": [command]})
    frames, over = [], False
    while not over and len(frames) < 100:
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        frames.append(env.render())
        over = terminated or truncated
    return frames[::2]


side_by_side = []
for command in (Command.LEFT, Command.STRAIGHT, Command.RIGHT):
    films = [drive(model, command) for model in models.values()]
    length = max(len(film) for film in films) + 3
    films = [film + film[-1:] * (length - len(film)) for film in films]
    side_by_side += [np.concatenate(frames, axis=1) for frames in zip(*films, strict=True)]
first, *others = (Image.fromarray(frame) for frame in side_by_side)
first.save("conditional.gif", save_all=True, append_images=others, duration=100, loop=0)
print(f"conditional.png and conditional.gif, {len(side_by_side)} frames")
