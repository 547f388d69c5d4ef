"""A front end in a window, with pygame, as `gymnasium.utils.play` does it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sb3_il_plus.errors import MissingExtraError, UserError
from sb3_il_plus.human.game import Game
from sb3_il_plus.human.keys import key_name

_SMALLEST, _LINE, _MARGIN = 480, 20, 6
"""Pixels."""


class WindowFrontEnd:
    """Draws frames in a window, and takes the keys that are pressed in it.

    :raises MissingExtraError: pygame is not installed
    :raises UserError: there is no screen
    """

    turns_only = False

    def __init__(self) -> None:
        try:
            import pygame
        except ImportError as error:
            raise MissingExtraError(
                "a window needs pygame: pip install 'gymnasium[classic-control]'; a browser "
                "(--web) needs none"
            ) from error
        self._pygame: Any = pygame
        try:
            pygame.display.init()
            pygame.font.init()
        except pygame.error as error:
            raise UserError(
                f"no window can be opened here ({error}); with --web the session is a page in a "
                "browser, with --terminal it needs no picture"
            ) from error
        self._screen: Any = None

    def run(self, game: Game) -> None:
        """Show a game until it is finished, or the window is closed."""
        clock = self._pygame.time.Clock()
        self._draw(game)
        while not game.finished:
            for event in self._pygame.event.get():
                self._handle(event, game)
            game.tick()
            if not game.finished:
                self._draw(game)
                clock.tick(game.fps)

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()

    def _handle(self, event: Any, game: Game) -> None:
        if event.type == self._pygame.QUIT:
            game.press("escape")
        elif event.type == self._pygame.KEYDOWN:
            game.press(key_name(self._pygame.key.name(event.key)))
        elif event.type == self._pygame.KEYUP:
            game.release(key_name(self._pygame.key.name(event.key)))
        elif event.type == self._pygame.WINDOWFOCUSLOST:
            game.leave()

    def _draw(self, game: Game) -> None:
        frame, view = game.frame(), game.view()
        if frame is None:
            frame = np.zeros((1, 1, 3), dtype=np.uint8)
        factor = max(1, -(-_SMALLEST // max(frame.shape[:2])))
        height, width = (size * factor for size in frame.shape[:2])
        lines = [view.headline, view.message or view.phase, view.detail, view.keys]
        size = max(width, _SMALLEST), height + _LINE * len(lines) + 2 * _MARGIN
        if self._screen is None or self._screen.get_size() != size:
            self._screen = self._pygame.display.set_mode(size)
            self._pygame.display.set_caption("sb3-il-plus")
            self._font = self._pygame.font.Font(None, _LINE)
        picture = self._pygame.surfarray.make_surface(frame[..., :3].swapaxes(0, 1))
        self._screen.fill((20, 20, 24))
        self._screen.blit(self._pygame.transform.scale(picture, (width, height)), (0, 0))
        for number, line in enumerate(lines):
            text = self._font.render(line, True, (230, 230, 230))
            self._screen.blit(text, (_MARGIN, height + _MARGIN + _LINE * number))
        self._pygame.display.flip()
