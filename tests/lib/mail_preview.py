"""make mail-preview: a picture of every mail with the least, the most and the worst that it may hold,
in each language, narrow and wide, in light and dark, on one page.

Called by the Makefile with the build folder; writes BUILD/mail-preview/index.html and its pictures.
The data is invented: see bizapictl mail preview.
"""
import html
import itertools
import json
import pathlib
import shutil
import subprocess
import sys

from playwright.sync_api import sync_playwright

REPO = pathlib.Path(__file__).resolve().parents[2]
WIDTHS, SCHEMES = (360, 800), ("light", "dark")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The mails</title>
<style>
body { font: 15px/1.5 sans-serif; margin: 24px; color: #111827; background: #e5e7eb }
nav a { display: inline-block; margin: 0 12px 4px 0 }
figure { display: inline-block; vertical-align: top; margin: 0 12px 24px 0 }
img { display: block; border: 1px solid #9ca3af }
dt { float: left; width: 90px; color: #4b5563 } dd { margin-left: 90px }
</style>
"""


def mails(build):
    out = subprocess.run([build / "bizapictl", "--json", "mail", "preview", "--templates",
                          REPO / "conf/mail"], check=True, capture_output=True).stdout
    for line in out.decode().splitlines():
        yield json.loads(line)


def windows(browser):
    """{(width, scheme): an empty page}; a busy machine may take its time."""
    found = {}
    for width, scheme in itertools.product(WIDTHS, SCHEMES):
        page = browser.new_page(viewport={"width": width, "height": 400}, color_scheme=scheme,
                                java_script_enabled=False)
        page.set_default_timeout(0)
        found[width, scheme] = page
    return found


def draw(pages, mail, folder):
    """One picture for each width and scheme: [(file, width)]."""
    pictures = []
    for (width, scheme), page in pages.items():
        name = "-".join((mail["name"], mail["locale"], mail["scenario"], str(width), scheme))
        page.set_content(mail["html"])
        if page.evaluate("document.documentElement.scrollWidth") > width:
            sys.exit(f"{name} is wider than its window")
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        pictures.append((f"{name}.png", width))
    return pictures


def main():
    build = (REPO / sys.argv[1]).resolve()
    folder = build / "mail-preview"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts, links = [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"),
                                       args=["--no-sandbox"])
        pages = windows(browser)
        for number, mail in enumerate(mails(build)):
            words = f"{mail['name']}, {mail['locale']}, {mail['scenario']}"
            links.append(f'<a href="#m{number}">{words}</a>')
            pictures = "".join(
                f'<figure><img src="{file}" width="{width}" alt="{words}" loading="lazy">'
                f"</figure>" for file, width in draw(pages, mail, folder))
            parts.append(f'<h2 id="m{number}">{words}</h2>\n<dl dir="auto"><dt>Subject</dt>'
                         f"<dd>{html.escape(mail['subject'])}</dd><dt>Preheader</dt>"
                         f"<dd>{html.escape(mail['preheader'])}</dd></dl>\n{pictures}"
                         f"<pre>{html.escape(mail['text'])}</pre>")
        browser.close()
    (folder / "index.html").write_text("\n".join([PAGE, "<nav>", *links, "</nav>", *parts]) + "\n",
                                       encoding="utf-8")
    print(f"{folder}/index.html")


if __name__ == "__main__":
    main()
