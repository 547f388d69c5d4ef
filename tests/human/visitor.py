"""A person at a browser, for tests and for measuring how fast the page answers."""

from contextlib import contextmanager

from browser import chromium
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


@contextmanager
def visitor(folder):
    """Somebody at Chromium.

    :param folder: for the profile, an empty one
    """
    with chromium(folder) as driver:
        yield Visitor(driver)


class Visitor:
    """Opens addresses, presses keys, and reads."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address):
        self.driver.get(address)

    def text(self, name):
        return self.driver.find_element(By.ID, name).text

    @property
    def page(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    @property
    def phase(self):
        return self._data("phase")

    @property
    def count(self):
        return int(self._data("count") or -1)

    def _data(self, name):
        return self.driver.find_element(By.TAG_NAME, "body").get_attribute(f"data-{name}")

    def wait(self, condition):
        WebDriverWait(self.driver, 60, poll_frequency=0.01).until(lambda _: condition())

    def wait_for(self, name, beginning):
        self.wait(lambda: self.text(name).startswith(beginning))

    def tap(self, key):
        ActionChains(self.driver, duration=0).key_down(key).key_up(key).perform()
