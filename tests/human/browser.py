"""A person at Chromium, without a screen, for tests and for measuring how fast the page answers."""

import shutil

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    """Opens addresses, presses keys, and reads.

    :param folder: for the profile, a fresh one
    """

    def __init__(self, folder):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for option in (*OPTIONS, f"--user-data-dir={folder}"):
            options.add_argument(option)
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

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
        WebDriverWait(self.driver, 20, poll_frequency=0.01).until(lambda _: condition())

    def wait_for(self, name, beginning):
        self.wait(lambda: self.text(name).startswith(beginning))

    def tap(self, key):
        ActionChains(self.driver, duration=0).key_down(key).key_up(key).perform()

    def close(self):
        self.driver.quit()
