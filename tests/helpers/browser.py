"""A headless Chromium that opens pages from the disk; tests skip where there is none."""

import contextlib
import shutil

import pytest


@contextlib.contextmanager
def chromium(downloads=None):
    """Yields a Selenium driver; `downloads` is the folder that downloads go to."""
    webdriver = pytest.importorskip("selenium.webdriver")
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium")
    if not (driver and browser):
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1200,1000"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield found
    finally:
        found.quit()


def wait(driver, script, seconds=10):
    """Waits until a script returns something true, and returns that."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds, 0.02).until(
        lambda d: d.execute_script(f"return {script}")
    )


def show(driver, path, address=""):
    """Opens a page and waits until its script is done."""
    driver.get("about:blank")
    driver.get(path.as_uri() + address)
    wait(driver, "document.documentElement.dataset.ready")


def complaints(driver):
    """What the browser's console has to say."""
    return [entry["message"] for entry in driver.get_log("browser")]
