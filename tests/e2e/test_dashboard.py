"""The dashboard in a real browser, over a system of its own users and nodes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.fog_up import FogUp
from tests.support.waiting import eventually_sync

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fog-up")]
if not _CHROMIUM or not _DRIVER:
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)


# Containers of other tests bring interfaces up and down, whereupon Chromium breaks off whatever it
# loads, even over the loopback interface. The page's own requests must get over that by themselves.
_BROKEN_OFF = "ERR_NETWORK_CHANGED"


class Browser:
    """A page, and the few things that a person does with it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        """Go to an address; again, as a person would, where the page came in part."""
        eventually_sync(lambda: self._opened(url), what=f"the whole of {url}")

    def _opened(self, url: str) -> bool:
        try:
            self._driver.get(url)
        except WebDriverException as error:
            if _BROKEN_OFF not in str(error):
                raise
            return False
        return not any(_BROKEN_OFF in each for each in self._severe())

    def type(self, selector: str, text: str) -> None:
        """Put text into a field, in the place of what is there."""
        field = self.see(selector)
        field.clear()
        field.send_keys(text)

    def click(self, selector: str, text: str = "") -> None:
        """Press something."""
        self.see(selector, text).click()

    def see(self, selector: str, text: str = "") -> WebElement:
        """Wait for something that is shown and contains a text."""

        def shown() -> WebElement | None:
            for element in self._driver.find_elements(By.CSS_SELECTOR, selector):
                try:
                    if element.is_displayed() and text in element.text:
                        return element
                except StaleElementReferenceException:
                    continue
            return None

        try:
            found = eventually_sync(shown)
        except AssertionError:
            page = self._driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(
                f"no {selector} with {text!r}; complaints: {self.complaints()}; the page:\n{page}"
            ) from None
        assert found is not None
        return found

    def accept(self) -> None:
        """Say yes to a question."""
        self._driver.switch_to.alert.accept()

    def shrink(self) -> None:
        """Show pages as on a phone."""
        screen = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def sticks_out(self) -> bool:
        """Tell whether one would have to scroll sideways."""
        told: bool = self._driver.execute_script(
            "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
        return told

    def end_session(self) -> None:
        """End the session behind the page's back, as its user may from elsewhere."""
        self._driver.execute_script(
            """
            const kept = JSON.parse(sessionStorage.getItem("fogbank-session"));
            const headers = { Authorization: `Bearer ${kept.access_token}` };
            fetch("/api/auth/logout", { method: "POST", headers });
            """
        )

    def complaints(self) -> list[str]:
        """Return what the browser found wrong since the last time, but for changed networks."""
        return [each for each in self._severe() if _BROKEN_OFF not in each]

    def _severe(self) -> list[str]:
        told: Callable[[str], list[dict[str, str]]] = self._driver.get_log
        return [each["message"] for each in told("browser") if each["level"] == "SEVERE"]


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser without a window, that nobody is signed in with."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(_CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=str(_DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def sign_in(browser: Browser, system: FogUp) -> None:
    """Sign in as the first user."""
    browser.open(system.http)
    browser.type("[name=username]", system.state["admin_user"])
    browser.type("[name=password]", system.state["admin_password"])
    browser.click("button", "Sign in")
    browser.see("h1", "Fleet")


def begin_to_deploy(browser: Browser, name: str) -> None:
    """Fill in what every deployment needs."""
    browser.click("nav a", "Deployments")
    browser.click("summary", "Deploy")
    browser.type("input[name=name]", name)
    browser.type("input[name=container_image]", "nginx:latest")


def test_a_wrong_password_is_told(browser: Browser, system: FogUp) -> None:
    browser.open(system.http)
    browser.type("[name=username]", system.state["admin_user"])
    browser.type("[name=password]", "wrong")
    browser.click("button", "Sign in")
    browser.see("[role=alert]", "Wrong username or password")


def test_a_deployment_from_its_plan_to_its_end_and_back_in_time(
    browser: Browser, system: FogUp
) -> None:
    sign_in(browser, system)
    browser.see(".card", "balanced@1")

    begin_to_deploy(browser, "looked-at")
    browser.type("input[name=replicas]", "2")
    browser.click("button", "Plan")
    browser.see("[role=status]", "would be placed on")
    browser.click("button", "Deploy")

    # Nothing is asked for again by hand: the page follows the log.
    browser.click("td a", "looked-at")
    browser.see("h1", "running")
    browser.see("p", "All 2 replicas have a node")
    browser.see(".told", "Image nginx")
    browser.see(".history", "All 2 replicas started successfully")
    browser.type("input[name=replicas]", "3")
    browser.click("button", "Scale")
    browser.see("p", "All 3 replicas have a node")

    browser.click("nav a", "Record")
    browser.click("tr:has(a[href^='#/deployments/']) button.link")
    browser.see(".past", "As of commit")
    browser.click("nav a", "Nodes")
    browser.see("td", "edge-east-1")
    browser.click("button", "Now")

    browser.click("nav a", "Deployments")
    browser.click("td a", "looked-at")
    browser.type("input[name=replicas]", "10")
    browser.click("button", "Scale")
    browser.see("h1", "degraded")
    browser.click("button", "Delete")
    browser.accept()
    browser.see("h1", "deleted")

    assert browser.complaints() == []
    browser.click("button", "Sign out")
    browser.see("button", "Sign in")


def test_on_a_phone_nothing_sticks_out_and_each_cell_says_what_it_is(
    browser: Browser, system: FogUp
) -> None:
    sign_in(browser, system)
    begin_to_deploy(browser, "a-name-that-is-longer-than-a-phone-is-wide")
    browser.click("button", "Deploy")
    browser.shrink()
    for page, cells in (
        ("Fleet", ()),
        ("Nodes", ("Status", "Region", "Machine", "Replicas", "Promised")),
        ("Record", ("Time", "Event", "About", "By")),
        ("Deployments", ("Status", "Running", "Changed", "Created")),
    ):
        browser.click("nav a", page)
        browser.see("h1", page)
        for name in cells:
            browser.see(f"td[data-label={name}]")
        assert not browser.sticks_out(), page
    browser.click("td a", "a-name-that")
    browser.see("p", "has a node")
    browser.see("td[data-label=Container]")
    assert not browser.sticks_out()
    # Others use the same fleet, and count on finding it empty.
    browser.click("button", "Delete")
    browser.accept()
    browser.see("h1", "deleted")


def test_an_impossible_ask_is_explained(browser: Browser, system: FogUp) -> None:
    sign_in(browser, system)
    begin_to_deploy(browser, "far-too-large")
    browser.type("input[name=gpu]", "999")
    browser.click("button", "Plan")
    browser.see("[role=alert]", "resources.gpu")


@pytest.mark.parametrize("page", ["Fleet", "Record"])
def test_a_session_that_was_ended_elsewhere_is_told(
    browser: Browser, system: FogUp, page: str
) -> None:
    sign_in(browser, system)
    browser.click("nav a", page)
    browser.see("h1", page)

    browser.end_session()

    browser.see("[role=alert]", "Your session ended")
    browser.see("button", "Sign in")
    assert not [each for each in browser.complaints() if "401" not in each]
    sign_in(browser, system)
