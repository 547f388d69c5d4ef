"""DAgger with a person: equal to DAgger with the agent they play, and nothing is ever lost."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from people import ScriptedPerson, at_terminal, balance, observation_in

from sb3_il_plus import BC, DAgger, Demonstrations, collect, evaluate
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import UserError
from sb3_il_plus.human.dagger import human_dagger
from sb3_il_plus.human.game import SessionStopped
from sb3_il_plus.human.labels import LabelSheet
from sb3_il_plus.human.teachers import LabelLater

ENV = "CartPole-v1"
KEYS = ["left", "right"]
SMALL = {"n_epochs": 2}

MIN_RETURN, SLACK = 250, 105
"""Over seeds, returns have a standard deviation of 52.5 after 4 rounds (bench_human_dagger.py)."""


def by_agent(agent, n_rounds, round_steps, demonstrations=None, seed=0):
    """The same rounds with an agent in the person's place."""
    model = DAgger(
        "MlpPolicy",
        make_vec(ENV),
        demonstrations,
        expert=agent,
        beta_schedule=lambda i: 0.0,
        rollout_round_min_timesteps=round_steps,
        rollout_round_min_episodes=0,
        seed=seed,
        **SMALL,
    )
    for number in range(n_rounds):
        model.learn(round_steps, reset_num_timesteps=number == 0)
    return model


def assert_equal(model, other):
    assert model.demonstrations.fingerprint() == other.demonstrations.fingerprint()
    assert model.num_timesteps == other.num_timesteps
    for name, value in model.policy.state_dict().items():
        assert th.equal(value, other.policy.state_dict()[name]), name


def label(game):
    """What a person presses who labels as `balance` acts."""
    if game.view().headline.startswith("all"):
        return "enter"
    row = game.states.observations_at(np.array([game._position]))[0]
    return KEYS[balance(row)]


def test_equals_dagger_with_the_agent_whom_the_person_plays(tmp_path):
    model = human_dagger(
        ENV, tmp_path, n_rounds=2, round_steps=50, show=ScriptedPerson(label), **SMALL
    )
    agent = by_agent(balance, 2, 50)
    assert_equal(model, agent)
    assert model.n_expert_queries == agent.n_expert_queries == 100
    assert (tmp_path / "round-001" / "frames" / "00049.png").stat().st_size > 100
    table = (tmp_path / "round-000" / "states.csv").read_text().splitlines()
    assert table[0] == "state,episode,step,frame," + ",".join(
        f"observations[{i}]" for i in range(4)
    )
    assert len(table) == 51
    saved = DAgger.load(tmp_path / "model.zip")
    assert_equal(saved, model)


class Quitter(ScriptedPerson):
    """Stops after so many keys."""

    def __init__(self, press, patience):
        def impatient(game):
            self.patience -= 1
            return "escape" if self.patience < 0 else press(game)

        super().__init__(impatient)
        self.patience = patience


def test_stopped_and_continued_equals_never_stopped(tmp_path):
    arguments = {"n_rounds": 2, "round_steps": 50, **SMALL}
    with pytest.raises(SessionStopped, match="30 of 50 states have no label yet"):
        human_dagger(ENV, tmp_path, show=Quitter(label, 20), **arguments)
    with pytest.raises(SessionStopped, match="40 of 50 states have no label yet"):
        human_dagger(ENV, tmp_path, show=Quitter(label, 31 + 10), **arguments)
    model = human_dagger(ENV, tmp_path, show=ScriptedPerson(label), **arguments)
    assert_equal(model, by_agent(balance, 2, 50))


def type_labels(child, n):
    """At a terminal, label `n` states as `balance` acts on the numbers that are shown."""
    for _ in range(n):
        child.expect(r"state \d+ of \d+ \(episode \d+, step \d+\)  \[(.*?)\]")
        child.send(["\x1b[D", "\x1b[C"][balance(observation_in({"detail": child.match[1]}))])


def test_killed_at_a_terminal_and_continued(tmp_path):
    command = ["dagger-human", "--env", ENV, "--out", tmp_path, "--terminal", "--rounds", 2]
    command += ["--steps", 40, "--set", "n_epochs=2"]
    child = at_terminal(*command)
    type_labels(child, 40)
    child.expect("all 40 states are labelled: enter goes on")
    child.send("\n")
    child.expect("round 0: 40 labels")
    type_labels(child, 11)
    child.expect("state 11 of 40")
    os.kill(child.process, signal.SIGKILL)
    os.waitpid(child.process, 0)
    child = at_terminal(*command)
    child.expect("11 states were labelled before")
    type_labels(child, 29)
    child.expect("all 40 states")
    child.send("\n")
    child.expect("round 1: 40 labels, 80 in all")
    os.waitpid(child.process, 0)
    agent = by_agent(lambda observation: balance(np.round(observation, 3)), 2, 40)
    assert_equal(DAgger.load(tmp_path / "model.zip"), agent)


def test_labels_from_files(tmp_path, capsys):
    done = threading.Event()
    found = []

    def train():
        found.append(human_dagger(ENV, tmp_path, n_rounds=2, round_steps=40, show="files", **SMALL))
        done.set()

    thread = threading.Thread(target=train)
    thread.start()
    for number in range(2):
        folder = tmp_path / f"round-{number:03d}"
        _wait_for(folder / "states.npz")
        states = Demonstrations.load(folder / "states.npz")
        rows = states.observations_at(np.arange(len(states)))
        lines = [f"{i},{KEYS[balance(row)]}" for i, row in enumerate(rows)]
        if number == 0:
            (folder / "labels.csv").write_text("state,action\n3,up\n")
            _wait_until(lambda: "not used" in capsys.readouterr().out)
        (folder / "labels.csv").write_text("\n".join(["state,action", *lines]) + "\n")
    assert done.wait(60)
    thread.join()
    assert_equal(found[0], by_agent(balance, 2, 40))


def _wait_for(path):
    _wait_until(path.exists)


def _wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_wrong_label_is_named_while_it_waits(tmp_path, capsys):
    path = tmp_path / "labels.csv"
    path.write_text("0,5\n")
    teacher = LabelLater(tmp_path, None, None, patience=0.01)

    def open_sheet():
        return LabelSheet(path, spaces.Discrete(2), 2)

    waiting = threading.Thread(target=teacher._wait, args=(tmp_path, open_sheet))
    waiting.start()
    time.sleep(0.2)
    path.write_text("0,1\n1,1\n")
    waiting.join(10)
    out = capsys.readouterr().out
    assert out.count("not used") == 1, "said once"
    assert "line 1: state 0 has 5, which lies outside the action space Discrete(2)" in out


def test_begins_with_what_was_recorded(tmp_path):
    """A learner that starts from demonstrations does not begin by falling over."""
    known = collect(balance, ENV, n_episodes=2, seed=1)
    first = {}

    def remember(game):
        first.setdefault("states", game.states)
        return label(game)

    person = ScriptedPerson(remember)
    human_dagger(
        ENV, tmp_path, n_rounds=1, round_steps=120, show=person, demonstrations=known, **SMALL
    )
    assert first["states"].episode_lengths.max() > 60, "an untrained learner falls after about 10"
    assert len(DAgger.load(tmp_path / "model.zip").demonstrations) == len(known) + 120


def test_continuous_labels_of_dicts(tmp_path):
    """Keys held together are one action; the table and the screen show each entry by its name."""
    seen = []

    def steer(game):
        seen.append(game.view())
        if seen[-1].headline.startswith("all"):
            return "enter"
        if len(seen) % 2:
            game.press("left")  # and up, which goes up first
        return "up"

    env_id = "sb3_il_plus/Driving-v0"
    model = human_dagger(
        env_id, tmp_path, n_rounds=1, round_steps=32, show=ScriptedPerson(steer), **SMALL
    )
    np.testing.assert_array_equal(model.demonstrations.actions[:3], [[0.5, 1], [0, 1], [0.5, 1]])
    assert seen[0].picture.endswith("00000.png") and "speed [" in seen[0].detail
    header, first, *_ = (tmp_path / "round-000" / "states.csv").read_text().splitlines()
    assert "observations['speed'][0]" in header and first.startswith("0,0,0,frames/00000.png,")


def correct(game):
    """What a person presses who takes over where the learner would do something else."""
    wanted = balance(game._observation)
    return "enter" if int(game.learner(game._observation)) == wanted else KEYS[wanted]


def test_taking_over(tmp_path, capsys):
    person = ScriptedPerson(correct)
    with pytest.raises(SessionStopped, match="of 100 steps are driven"):
        human_dagger(
            ENV, tmp_path, mode="take-over", n_rounds=3, round_steps=100, show=Quitter(correct, 50)
        )
    model = human_dagger(ENV, tmp_path, mode="take-over", n_rounds=3, round_steps=100, show=person)
    rounds = [Demonstrations.load(tmp_path / f"round-{i:03d}" / "episodes.npz") for i in range(3)]
    assert [len(data) for data in rounds] == [100, 100, 100]
    shares = [data.intervened.mean() for data in rounds]
    assert shares[0] > 0.1, "an untrained learner is often wrong"
    for data in rounds:
        rows = data.observations_at(np.arange(len(data)))
        np.testing.assert_array_equal(data.actions, [balance(row) for row in rows])
    assert model.num_timesteps == 300
    assert model.n_expert_queries == sum(int(data.intervened.sum()) for data in rounds)
    assert len(model.demonstrations) == model.n_expert_queries, "only what the person did"
    first = next(line for line in capsys.readouterr().out.splitlines() if "round 0" in line)
    assert ("learns from 32 labels on" in first) == (rounds[0].intervened.sum() < 32)
    clone = BC("MlpPolicy", None, rounds[0], seed=0)  # such data is data like any other
    assert len(clone.demonstrations) == 100


def test_another_session_in_the_folder_is_refused(tmp_path):
    human_dagger(ENV, tmp_path, n_rounds=1, round_steps=40, show=ScriptedPerson(label), **SMALL)
    with pytest.raises(UserError, match="was begun with round_steps=40, not 50; go on with that"):
        human_dagger(ENV, tmp_path, n_rounds=1, round_steps=50, show=ScriptedPerson(label))
    with pytest.raises(UserError, match="begun with env_id='CartPole-v1', not 'Acrobot-v1'"):
        human_dagger("Acrobot-v1", tmp_path, round_steps=40, show=ScriptedPerson(label))
    with pytest.raises(UserError, match=r"begun with hyperparameters=.*'2'.*, not \{\}"):
        human_dagger(ENV, tmp_path, round_steps=40, show=ScriptedPerson(label))


def test_two_processes_in_one_folder_are_refused(tmp_path):
    def intrude(game):
        with pytest.raises(UserError, match="another process is at work in"):
            human_dagger(ENV, tmp_path, show=ScriptedPerson(label), round_steps=40)
        return "escape"

    with pytest.raises(SessionStopped):
        human_dagger(ENV, tmp_path, show=ScriptedPerson(intrude), round_steps=40)


def test_what_cannot_be(tmp_path):
    with pytest.raises(UserError, match="mode='drive' must be 'label' or 'take-over'"):
        human_dagger(ENV, tmp_path, mode="drive")
    with pytest.raises(UserError, match="nobody can take over by writing into files"):
        human_dagger(ENV, tmp_path, mode="take-over", show="files")
    teacher = LabelLater(tmp_path, None, None)
    with pytest.raises(UserError, match="a teacher follows one environment, and there are 2"):
        DAgger("MlpPolicy", make_vec(ENV, 2), expert=teacher).learn(100)


@pytest.mark.slow
def test_a_person_at_a_terminal_reaches_the_agents_return(tmp_path):
    n_rounds, round_steps = 4, 150
    command = ["dagger-human", "--env", ENV, "--out", tmp_path, "--terminal"]
    command += ["--rounds", n_rounds, "--steps", round_steps, "--set", "n_epochs=2"]
    child = at_terminal(*command)
    for number in range(n_rounds):
        type_labels(child, round_steps)
        child.expect(f"all {round_steps} states")
        child.send("\n")
        child.expect(f"round {number}: {round_steps} labels")
    os.waitpid(child.process, 0)
    person = DAgger.load(tmp_path / "model.zip")
    # The agent sees every digit and the person three, so they part at some state.
    agent = by_agent(balance, n_rounds, round_steps)
    scores = [evaluate(model, ENV, 10, seed=100).mean_return for model in (person, agent)]
    assert min(scores) > MIN_RETURN
    assert abs(scores[0] - scores[1]) < SLACK
