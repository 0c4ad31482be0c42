"""What every mail must satisfy, by parsers of others: each mail that the product sends, in each
language, made of short, long, hostile and the least data, for three businesses. One process makes
them all: bizapictl mail preview."""
import collections
import email
import email.policy
import functools
import html.parser
import json
import os
import pathlib
import re
import subprocess

import icalendar
import lxml.html
import pytest
from lxml.cssselect import CSSSelector

REPO = pathlib.Path(os.environ.get("BIZ_REPO") or pathlib.Path(__file__).resolve().parents[2])
BUILD = pathlib.Path(os.environ.get("BIZ_BUILD") or REPO / "build")
BRANDS = {"plain": (),
          "green": ("--primary", "#4caf50", "--accent", "#ffeb3b"),
          "logo": ("--primary", "#ffeb3b", "--logo", "https://example.com/logo.png")}
MAILS = ("booking_confirmation", "invoice_sent", "payment_received", "password_reset",
         "appointment_reminder.24h", "appointment_reminder.2h", "verify_email", "account_exists",
         "booking_rescheduled", "booking_cancelled", "refund_issued", "payment_failed",
         "staff_new_booking", "password_reset.invitation", "security_notice")
LANGUAGES = ("ar", "de", "en")
OPTIONAL = ("appointment_reminder", "staff_new_booking")
HOSTILE = "<img src=x onerror=1>\"'><a href=//evil.example>{{password}} %s &lt; {{{x}}}"


def preview(*arguments):
    return subprocess.run([BUILD / "bizapictl", "--json", "mail", "preview", "--templates",
                           REPO / "conf/mail", *arguments], check=True, capture_output=True,
                          env={**os.environ, "BIZAPI_STORE": "", "TZ": "Asia/Tokyo"}).stdout


class Mail:
    """One mail, as it would leave, and taken apart."""

    def __init__(self, brand, line):
        data = json.loads(line)
        self.brand, self.name, self.locale = brand, data["name"], data["locale"]
        self.scenario, self.subject = data["scenario"], data["subject"]
        self.preheader, self.html, self.text = data["preheader"], data["html"], data["text"]
        self.raw = data["message"]
        self.message = email.message_from_bytes(self.raw.encode(), policy=email.policy.SMTP)
        self.tree = lxml.html.document_fromstring(self.html)
        self.rtl = self.locale == "ar"

    def __str__(self):
        return f"{self.name} {self.locale} {self.scenario} {self.brand}"

    def is_one_of(self, *names):
        return self.name.split(".")[0] in names

    def part(self, kind):
        return next(p for p in self.message.walk() if p.get_content_type() == kind)

    @functools.cached_property
    def links(self):
        return [a.get("href") for a in self.tree.iter("a")]

    @functools.cached_property
    def attributes(self):
        return {name for e in self.tree.iter() if isinstance(e.tag, str) for name in e.attrib}

    @functools.cached_property
    def shown(self):
        """The text of the HTML."""
        body = self.tree.find("body")
        return re.sub(r"[ \t\r\n]+", " ", "".join(t for t in body.itertext() if isinstance(t, str)))

    @functools.cached_property
    def flat(self):
        """The plain text on one line."""
        return re.sub(r"[ \t\r\n]+", " ", self.text)


@pytest.fixture(scope="module")
def mails():
    """Of the business without colours of its own in every scenario, of the others in the shortest."""
    return [Mail(brand, line) for brand, options in BRANDS.items()
            for line in preview(*options).decode().splitlines()
            if brand == "plain" or '"scenario":"short"' in line]


def each(mails, check):
    """Every mail for which the check says what is wrong."""
    wrong = [f"{mail}: {what}" for mail in mails for what in (check(mail) or ())]
    assert not wrong, "\n".join(["", *wrong[:40], f"{len(wrong)} in all"])


def style(element):
    pairs = (part.split(":", 1) for part in element.get("style", "").split(";") if ":" in part)
    return {name.strip().lower(): value.strip().lower() for name, value in pairs}


def test_all_of_them_are_here(mails):
    there = collections.Counter(m.name.replace("security_notice.", "security_notice/").split("/")[0]
                                for m in mails)
    assert set(there) == set(MAILS)
    events = {m.name for m in mails if m.name.startswith("security_notice.")}
    assert len(events) >= 15
    assert len(mails) == (4 + 2) * len(LANGUAGES) * (len(MAILS) - 1 + len(events))


# ---- 1 to 8: structure ----

def test_01_size(mails):
    each(mails, lambda m: [f"{len(m.html.encode())} bytes"] if len(m.html.encode()) >= 40000
         else [])


class Order(html.parser.HTMLParser):
    """The doctype, and what comes first in the body."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.doctype, self.first, self.in_body = None, None, False
        self.feed(text)

    def handle_decl(self, decl):
        self.doctype = decl

    def handle_starttag(self, tag, attrs):
        if self.in_body and self.first is None:
            self.first = (tag, dict(attrs))
        self.in_body |= tag == "body"


def test_02_structure(mails):
    def check(m):
        root, order = m.tree, Order(m.html)
        if not m.html.startswith("<!doctype html>") or order.doctype != "doctype html":
            yield "no doctype"
        if root.get("lang") != m.locale or root.get("dir") != ("rtl" if m.rtl else "ltr"):
            yield f"lang {root.get('lang')}, dir {root.get('dir')}"
        if "charset=utf-8" not in m.html.lower().split("</head>")[0]:
            yield "no charset"
        if (root.findtext("head/title") or "").strip() != m.subject.strip():
            yield "the title is not the subject"
        if not root.xpath("//meta[@name='viewport']"):
            yield "no viewport"
    each(mails, check)


def test_03_tables(mails):
    def check(m):
        for table in m.tree.iter("table"):
            headed = table.xpath("./tr/th | ./tbody/tr/th")
            if table.get("cellpadding") != "0" or table.get("cellspacing") != "0":
                yield "a table with cell padding or spacing"
            if not headed and table.get("role") != "presentation":
                yield "a layout table without its role"
            if headed and (table.get("role") or any(th.get("scope") != "row" for th in headed)):
                yield "a data table without scopes"
    each(mails, check)


def test_04_width(mails):
    def check(m):
        widths = [int(w) for w in re.findall(r"max-width:\s*(\d+)px", m.html)]
        if max(widths) > 600:
            yield f"max-width {max(widths)}"
        inner = [d for d in m.tree.iter("div") if style(d).get("max-width") == "600px"]
        if len(inner) < 3 or any(style(d.find("table")).get("width") != "100%" for d in inner):
            yield "not fluid up to 600"
        outer = m.tree.xpath("//body/div[@role='article']")[0]
        if "width" in style(outer) or "max-width" in style(outer):
            yield "the outer element is not as wide as the window"
        ghosts = re.findall(r"<!--\[if mso[^>]*>.*?<!\[endif\]-->", m.html, re.S)
        if sum('width="600"' in g for g in ghosts) < 3:
            yield "no table for Outlook"
    each(mails, check)


def test_05_inline_styles(mails):
    """What has text of its own has font, size and colour in style attributes, here or above."""
    def check(m):
        for element in m.tree.find("body").iter():
            if not isinstance(element.tag, str) or not (element.text or "").strip():
                continue
            found = {}
            for above in [element, *element.iterancestors()]:
                for key, value in style(above).items():
                    found.setdefault(key, value)
            missing = {"font-family", "font-size", "color", "line-height"} - found.keys()
            if missing and style(element).get("display") != "none":
                yield f"<{element.tag}> {element.text.strip()[:20]} has no {missing}"
            if element.tag in ("td", "p", "a", "h1", "th") and not element.get("style"):
                yield f"<{element.tag}> without style"
    each(mails, check)


def test_06_styles_that_mail_readers_know(mails):
    bad = re.compile(r"\b(flex|grid)\b|var\(|position\s*:|margin-inline|padding-inline|float\s*:")

    def check(m):
        for element in m.tree.xpath("//*[@style]"):
            if bad.search(element.get("style")):
                yield element.get("style")
        if re.search(r"@import|@font-face", m.html):
            yield "loads styles"
    each(mails, check)


def test_07_nothing_is_loaded(mails):
    def check(m):
        for tag in ("link", "script", "form", "iframe", "video", "audio", "svg", "object", "embed",
                    "base", "input"):
            if m.tree.xpath(f"//{tag}"):
                yield f"<{tag}>"
        if re.search(r"url\s*\(", m.html, re.I) or m.tree.xpath("//*[@background or @srcset]"):
            yield "a background"
        sources = m.tree.xpath("//@src")
        if sources != (["https://example.com/logo.png"] if m.brand == "logo" else []):
            yield f"src {sources}"
        if any(name.startswith("on") for name in m.attributes):
            yield "a script in an attribute"
    each(mails, check)


def test_08_preheader(mails):
    def check(m):
        tag, attributes = Order(m.html).first
        first = m.tree.find("body")[0]
        if tag != "div" or attributes.get("style") != first.get("style") or \
                first.text != m.preheader:
            yield "it does not come first"
        found = style(first)
        if (found.get("display"), found.get("max-height"), found.get("mso-hide")) != \
                ("none", "0px", "all"):
            yield f"it is not hidden: {found}"
        if not 40 <= len(m.preheader) <= 110 or m.preheader == m.subject:
            yield f"{len(m.preheader)} characters"
    each(mails, check)


# ---- 9 to 14: for everybody ----

MONEY = re.compile(r"(?:EUR|KWD|JPY) [\d,.]+\d|[\d٠-٩][\d٠-٩.,٬٫]* (?:EUR|KWD|JPY)")
MOMENT = re.compile(r"\(Europe/Berlin, UTC\+2\)")


def test_09_plain_part(mails):
    def check(m):
        forms = m.part("multipart/alternative")
        kinds = [p.get_content_type() for p in forms.iter_parts()]
        if kinds[:2] != ["text/plain", "text/html"]:
            yield f"parts {kinds}"
        text = m.part("text/plain").get_content()
        if text.replace("\r\n", "\n").strip() != m.text.replace("\r\n", "\n").strip():
            yield "the part is another text"
        flat = re.sub(r"\s+", " ", text)
        yield from (f"has no link {link}" for link in m.links
                    if link not in text and not link.startswith(("tel:", "mailto:")))
        for what in (MONEY, MOMENT):
            if set(what.findall(m.shown)) - set(what.findall(flat)):
                yield f"has not all of {what.findall(m.shown)}"
        for line in text.splitlines():
            if len(line.encode()) > 998 or (len(line) > 80 and " " in line.strip()):
                yield f"a line of {len(line)} characters"
        if max(len(line) for line in m.raw.split("\r\n")) > 998:
            yield "a line of more than 998 bytes in the message"
        if "\n" in m.raw.replace("\r\n", "") or "<" in m.text and m.scenario != "hostile":
            yield "a bare newline, or a tag"
    each(mails, check)


def test_10_images(mails):
    def check(m):
        for image in m.tree.iter("img"):
            name = "<b>Bob's & \"Co\"</b>" if m.scenario == "hostile" else None
            if not image.get("alt") or name and name not in image.get("alt"):
                yield f"alt {image.get('alt')}"
            if not image.get("width", "").isdigit() or not image.get("height", "").isdigit():
                yield "no width and height"
    each(mails, check)


def pixels(text):
    return int(re.fullmatch(r"(\d+)px", text).group(1))


def test_11_one_button(mails):
    def check(m):
        buttons = [a for a in m.tree.iter("a") if "padding" in style(a)]
        if len(buttons) != 1:
            yield f"{len(buttons)} buttons"
            return
        found = style(buttons[0])
        height = pixels(found["line-height"]) + 2 * pixels(found["padding"].split()[0])
        if height < 44 or pixels(found["font-size"]) < 16 or buttons[0].getparent().tag != "td":
            yield f"{height} px high"
        address = buttons[0].get("href")
        if address not in [a.text_content() for a in m.tree.iter("a") if a is not buttons[0]]:
            yield "its address is not shown below"
        if not buttons[0].text_content().strip():
            yield "it has no label"
    each(mails, check)


def test_a_notice_leads_where_it_helps(mails):
    """To a new password, or to the account where that would help nobody: pages that there are."""
    def check(m):
        if m.is_one_of("security_notice"):
            button = next(a for a in m.tree.iter("a") if "padding" in style(a))
            page = button.get("href").removeprefix("https://portal.example.com/")
            account = m.name.split(".")[1] in ("role_changed", "account_unlocked")
            if page != ("account.html" if account else "reset-password.html"):
                yield f"leads to {page}"
            if account == any(w in button.text_content() for w in ("asswor", "كلمة مرور")):
                yield f"says {button.text_content()}"
            if not (REPO / "htdocs" / page).is_file():
                yield f"{page} is no page of the portal"
            if account and "Firefox" in m.text + m.flat:
                yield "has another notice's details"
    each(mails, check)


def luminance(color):
    r, g, b = (int(color[i:i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def dark_rules(m):
    """The rules for dark readers as (selector, {property: value}); the twins for Outlook must say
    the same."""
    block = re.search(r"@media \(prefers-color-scheme: dark\) \{\n(.*?)\n\}", m.html, re.S).group(1)
    rules = [(selectors, dict(p.strip().removesuffix(" !important").split(": ")
                              for p in body.strip(" ;").split(";")))
             for selectors, body in re.findall(r"^(.+?) \{(.+?)\}$", block, re.M)]
    for selectors, properties in rules:
        mark = "[data-ogsb] " if "background-color" in properties else "[data-ogsc] "
        twin = ", ".join(mark + s for s in selectors.split(", "))
        assert f"{twin} {{ " in m.html, f"{m}: no twin of {selectors}"
    return rules


_selected = {}


def colours(m, dark):
    """{element: {property: colour}}: style attributes, and over them the rules for dark readers."""
    found = collections.defaultdict(dict)
    for element in m.tree.find("body").iter():
        if isinstance(element.tag, str):
            own = style(element)
            for key in ("color", "background-color", "background", "border", "border-color"):
                value = re.search(r"#[0-9a-f]{6}", own.get(key, ""))
                if value:
                    found[element][key.removesuffix("-color") if key != "color" else key] = \
                        value.group()
    for selectors, properties in dark_rules(m) if dark else ():
        select = _selected.setdefault(selectors, CSSSelector(selectors))
        for element in select(m.tree):
            for key, value in properties.items():
                found[element][key.removesuffix("-color") if key != "color" else key] = value
    return found


def contrasts(m, dark):
    found = colours(m, dark)
    body = m.tree.find("body")

    def nearest(element, key):
        for e in [element, *element.iterancestors()]:
            if key in found.get(e, ()):
                return found[e][key]
            if e is body:
                break
        raise AssertionError(f"{m}: no {key} for <{element.tag}>")

    for element in body.iter():
        if not isinstance(element.tag, str) or style(element).get("display") == "none":
            continue
        texts = [element.text, *(child.tail for child in element)]
        if any((t or "").strip("\u200a \n") for t in texts):
            pair = nearest(element, "color"), nearest(element, "background")
            if contrast(*pair) < 4.5:
                yield f"text {pair} of \"{(element.text or '')[:30]}\""
        if "border" in found.get(element, ()):
            around = nearest(element.getparent(), "background")
            inside = nearest(element, "background")
            edge = found[element]["border"]
            if max(contrast(edge, around), contrast(inside, around)) < 3:
                yield f"edge {edge}, {inside} on {around}"
    for bar in body.find_class("bar"):
        page = nearest(bar.getparent(), "background")
        if contrast(nearest(bar, "background"), page) < 3:
            yield "the bar at the top"


def test_12_contrast(mails):
    """WCAG's, in light and dark, whatever colours the business has."""
    def check(m):
        yield from (f"light: {w}" for w in contrasts(m, False))
        yield from (f"dark: {w}" for w in contrasts(m, True))
    each([m for m in mails if m.scenario in ("short", "least")], check)


def test_12_every_brand_is_repaired():
    """Twelve colours around the wheel and through the greys; test_template.c has all others."""
    for number in range(12):
        brand = f"#{(number * 397 + 31) % 256:02x}{(number * 613) % 256:02x}{number * 101 % 256:02x}"
        other = f"#{number * 23:02x}{number * 23:02x}{number * 23:02x}"
        out = preview("booking_confirmation", "--primary", brand, "--accent", other).decode()
        m = Mail(brand, out)
        each([m], lambda mail: [*contrasts(mail, False), *contrasts(mail, True)])


def test_13_dark(mails):
    def check(m):
        for name in ("color-scheme", "supported-color-schemes"):
            if m.tree.xpath(f"//meta[@name='{name}']/@content") != ["light dark"]:
                yield f"no {name}"
        if ":root { color-scheme: light dark;" not in m.html:
            yield "no :root"
        dark_rules(m)
        for image in m.tree.iter("img"):
            plate = style(image.getparent())
            if plate.get("background-color") != "#ffffff" or "padding" not in plate:
                yield "the logo has no plate"
        button = next(a for a in m.tree.iter("a") if "padding" in style(a))
        if "border" not in style(button.getparent()):
            yield "the button has no border"
    each(mails, check)


def test_14_direction(mails):
    def check(m):
        side, other = ("right", "left") if m.rtl else ("left", "right")
        way = "rtl" if m.rtl else "ltr"
        if m.tree.find("body").get("dir") != way:
            yield "no dir on the body"
        cells = [td for td in m.tree.iter("td", "th") if td.get("align") in ("left", "right")]
        if len(cells) < 5 or any(c.get("align") != side or c.get("dir") != way for c in cells):
            yield "a cell with another side"
        for element in m.tree.find("body").iter():
            found = style(element) if isinstance(element.tag, str) else {}
            if found.get("text-align") == other or found.get("direction", way) != way or \
                    f"padding-{other}" in found:
                yield f"<{element.tag}> {element.get('style')}"
        if m.rtl:
            for value in MONEY.findall(m.shown) + MOMENT.findall(m.shown):
                holders = [e for e in m.tree.find("body").iter() if isinstance(e.tag, str) and
                           value in (e.text or "") and style(e).get("display") != "none"]
                if not holders or any(e.tag not in ("bdi", "title") for e in holders):
                    yield f"{value} is not isolated"
    each(mails, check)


# ---- 15 to 24: content and envelope ----

def test_15_escaping(mails):
    def check(m):
        for link in m.links:
            if not link.startswith(("https://portal.example.com/", "mailto:", "tel:")):
                yield f"a link to {link}"
        if m.scenario == "hostile":
            if m.is_one_of("booking_confirmation", "password_reset"):
                if HOSTILE not in m.shown or HOSTILE not in m.flat:
                    yield "the value is not as typed"
            if m.tree.xpath("//b | //img[@onerror]"):
                yield "a tag came in"
        if re.search(r"[\r\n]", m.subject) or m.message.get_all("Bcc") or m.message.defects:
            yield f"headers: {m.message.defects}"
        if m.message["Subject"] != m.subject.strip():
            yield f"the subject reads {m.message['Subject']}"
        for line in m.raw.split("\r\n\r\n")[0].split("\r\n"):
            if not line.isascii() or len(line) > 78 and " " in line.split(": ", 1)[-1]:
                yield f"a header line: {line}"
    each(mails, check)


def test_16_headers(mails):
    def check(m):
        h = m.message
        for name in ("Date", "From", "To", "Subject", "Message-ID", "MIME-Version",
                     "Auto-Submitted", "X-Auto-Response-Suppress"):
            if len(h.get_all(name, [])) != 1:
                yield f"{name}: {h.get_all(name)}"
        if [a.addr_spec for a in h["To"].addresses] != ["ada@example.com"] or \
                [a.domain for a in h["From"].addresses] != ["example.com"]:
            yield f"{h['From']} -> {h['To']}"
        if h["Message-ID"] != "<obx_01k6sample@example.com>" or h["MIME-Version"] != "1.0" or \
                h["Auto-Submitted"] != "auto-generated" or \
                h["X-Auto-Response-Suppress"] != "OOF, AutoReply":
            yield "a header has another value"
        if m.scenario != "least" and str(h["Reply-To"]) != "office@example.com":
            yield f"Reply-To {h['Reply-To']}"
    each(mails, check)


def test_17_unsubscribe(mails):
    def check(m):
        url, post = m.message["List-Unsubscribe"], m.message["List-Unsubscribe-Post"]
        if m.is_one_of(*OPTIONAL) and (m.scenario != "least" or m.name.startswith("appointment")):
            if url != "<https://portal.example.com/api/v1/portal/unsubscribe/sample>" or \
                    post != "List-Unsubscribe=One-Click" or url[1:-1] not in m.links:
                yield f"{url} {post}"
        elif url or post:
            yield f"{url} {post}"
    each(mails, check)


def test_18_threads(mails):
    def check(m):
        follows = m.is_one_of("booking_rescheduled", "booking_cancelled", "appointment_reminder")
        wanted = "<obx_01k6first@example.com>" if follows and m.scenario != "least" else None
        if m.message["In-Reply-To"] != wanted or m.message["References"] != wanted:
            yield f"{m.message['In-Reply-To']} {m.message['References']}"
    each(mails, check)


METHODS = {"booking_confirmation": "REQUEST", "booking_rescheduled": "REQUEST",
           "booking_cancelled": "CANCEL"}


def calendar_faults(m, method):
    forms = [p.get_content_type() for p in m.part("multipart/alternative").iter_parts()]
    part, file = m.part("text/calendar"), m.part("application/ics")
    if forms != ["text/plain", "text/html", "text/calendar"] or file.get_filename() != "invite.ics" \
            or file.get_content_disposition() != "attachment":
        yield f"{forms} {file.get_filename()}"
    if part.get_param("method") != method or part.get_content_charset() != "utf-8":
        yield f"{part['Content-Type']}"
    text = part.get_payload(decode=True)
    if text != file.get_payload(decode=True) or b"\n" in text.replace(b"\r\n", b""):
        yield "two calendars, or bare newlines"
    if max(len(line) for line in text.split(b"\r\n")) > 75:
        yield "a line of more than 75 octets"
    calendar = icalendar.Calendar.from_ical(text)
    event, = calendar.walk("VEVENT")
    if calendar["METHOD"] != method or calendar["VERSION"] != "2.0" or not calendar["PRODID"]:
        yield "the calendar's own properties"
    if event["UID"] != "bk_01k6sample@portal.example.com" or \
            event["SEQUENCE"] != (0 if m.name == "booking_confirmation" else 1):
        yield f"{event['UID']} {event['SEQUENCE']}"
    for key, moment in (("DTSTART", "20261005T083000Z"), ("DTEND", "20261005T093000Z"),
                        ("DTSTAMP", "20260930T083000Z")):
        if event[key].to_ical().decode() != moment:
            yield f"{key} {event[key].to_ical()}"
    sender = "mail@example.com" if m.scenario == "least" else "office@example.com"
    if event["ORGANIZER"] != f"mailto:{sender}" or event["ATTENDEE"] != "mailto:ada@example.com":
        yield f"{event['ORGANIZER']} {event['ATTENDEE']}"
    if event["STATUS"] != ("CANCELLED" if method == "CANCEL" else "CONFIRMED"):
        yield event["STATUS"]
    if m.scenario == "hostile" and (event["SUMMARY"] != HOSTILE or event["LOCATION"] != HOSTILE):
        yield f"not as typed: {event['SUMMARY']}"


def test_19_calendar(mails):
    def check(m):
        method = METHODS.get(m.name)
        if method is None:
            return ["a calendar"] if "text/calendar" in m.raw else []
        return calendar_faults(m, method)
    each(mails, check)


def test_20_secrets(mails):
    def check(m):
        tokens = set(re.findall(r"[^\s\"<>]*token=[^\s\"<>]*", m.text))
        wanted = {"password_reset": {"https://portal.example.com/reset-password.html"
                                     "#token=sampleSAMPLEsampleSAMPLE"},
                  "password_reset.invitation": {
                      "https://portal.example.com/reset-password.html"
                      "#token=sampleSAMPLEsampleSAMPLE"},
                  "verify_email": {"https://portal.example.com/verify-email.html"
                                   "#token=sampleSAMPLEsampleSAMPLE"}}.get(m.name, set())
        if tokens != wanted or any(t.count("token=") != 1 for t in tokens):
            yield f"tokens {tokens}"
        if re.search(r"\d{12,19}", re.sub(r"\+\d+", "", m.text)):
            yield "a card's number"
        if m.name == "password_reset":
            for text in (m.text, m.shown):
                flat = re.sub(r"\s+", " ", text)
                if not re.search(r"\b60 (minutes|Minuten)|\b٦٠\u2069? دقيقة", flat) or \
                        not MOMENT.search(flat) or \
                        ("2001:db8::42" in flat) != (m.scenario != "least"):
                    yield "no end, time or address of the request"
    each(mails, check)


WHEN = {"en": "Monday 5 October 2026, 10:30-11:30 (Europe/Berlin, UTC+2)",
        "de": "Montag, 5. Oktober 2026, 10:30-11:30 (Europe/Berlin, UTC+2)",
        "ar": "الاثنين، ٥ أكتوبر ٢٠٢٦، ١٠:٣٠\xa0ص-١١:٣٠\xa0ص \u2066(Europe/Berlin, UTC+2)\u2069"}
SUMS = {("en", "short"): "EUR 119.00", ("de", "short"): "119,00 EUR", ("ar", "short"): "١١٩٫٠٠ EUR",
        ("en", "long"): "KWD 1,234,567.890", ("de", "long"): "1.234.567,890 KWD",
        ("ar", "long"): "١٬٢٣٤٬٥٦٧٫٨٩٠ KWD", ("en", "hostile"): "JPY 123,456",
        ("de", "hostile"): "123.456 JPY", ("ar", "hostile"): "١٢٣٬٤٥٦ JPY"}


def test_21_time_and_money(mails):
    def check(m):
        both = (m.shown, m.flat)
        booking = m.is_one_of("booking_confirmation", "booking_rescheduled", "booking_cancelled",
                              "appointment_reminder", "staff_new_booking")
        if booking and not all(WHEN[m.locale] in t for t in both):
            yield "no time and zone"
        paid = booking or m.is_one_of("invoice_sent", "payment_received", "refund_issued",
                                      "payment_failed")
        if paid and (m.locale, m.scenario) in SUMS and \
                not all(SUMS[m.locale, m.scenario] in t for t in both):
            yield f"no {SUMS[m.locale, m.scenario]}"
        if m.is_one_of("security_notice") and not all(MOMENT.search(t) for t in both):
            yield "no time"
    each(mails, check)


def test_22_footer(mails):
    def check(m):
        article = m.tree.xpath("//body/div[@role='article']")[0]
        footer = article.findall("div")[-1]
        shown = re.sub(r"\s+", " ", footer.text_content())
        name = {"long": "Müller & Söhne", "hostile": "<b>Bob's & \"Co\"</b>"}.get(
            m.scenario, "Example Salon")
        wanted = [name] if m.scenario == "least" else [name, "+493055550199", "office@example.com",
                                                       "Street"]
        why = {"en": "You received this mail because", "de": "Sie erhalten diese Mail, weil",
               "ar": "وصلتك هذه الرسالة"}[m.locale]
        yield from (f"no {w}" for w in [*wanted, why] if w not in shown or w not in
                    m.flat)
        for element in footer.iter("div", "a", "strong", "bdi"):
            size = style(element).get("font-size", "13px")
            if (element.text or "").strip() and pixels(size) < 13:
                yield f"{size} of \"{element.text}\""
    each(mails, check)


def test_23_the_same_again(mails):
    again = [json.loads(line)["message"] for line in preview().decode().splitlines()]
    assert again == [m.raw for m in mails if m.brand == "plain"]


def test_23_no_value_is_nothing(mails):
    def check(m):
        left = m.text + m.html + m.subject + m.preheader
        if m.scenario == "hostile":
            left = left.replace("{{password}}", "").replace("{{{x}}}", "")
        for word in ("null", "undefined", "(nil)", "{{", "}}", "None"):
            if word in left:
                yield f"{word} in it"
        if re.search(r"<bdi>\s*</bdi>", m.html) or "\n\n\n" in m.text:
            yield "an empty place"
    each(mails, check)


def test_23_an_unknown_field_is_an_error(tmp_path):
    (tmp_path / "texts.en.ini").write_text("[booking_confirmation]\ntitle = {{no_such}}\n",
                                           encoding="utf-8")
    result = subprocess.run([BUILD / "bizapictl", "mail", "lint", "--templates", REPO / "conf/mail",
                             "--overrides", tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and not result.stdout
    assert result.stderr == "bizapictl: texts.en.ini:2: {{no_such}} has no value\n"


def test_24_subject(mails):
    def check(m):
        if not 20 <= len(m.subject) <= 60:
            yield f"{len(m.subject)}: {m.subject}"
        if not any(m.subject.count(name) for name in
                   ("Example Salon", "Müller & Söhne…", "<b>Bob's &…")):
            yield f"no business in {m.subject}"
        when = r"(5 Oct|5\. Okt\.|٥ أكتوبر)، ?|, 10:30|60|48|24|٦٠|٤٨|٢٤|EUR|KWD|JPY"
        if not re.search(when, m.subject):
            yield f"neither when nor how much: {m.subject}"
        if re.search(r"[\U0001f000-\U0001ffff☀-➿]", m.subject):
            yield "a picture"
    each(mails, check)


# ---- what an operator types ----

def bizapictl(*arguments):
    return subprocess.run([BUILD / "bizapictl", "mail", *arguments], capture_output=True, text=True,
                          check=False, env={**os.environ, "BIZAPI_STORE": ""})


def test_lint_and_preview():
    templates = ("--templates", str(REPO / "conf/mail"))
    good = bizapictl("lint", *templates)
    assert (good.returncode, good.stderr) == (0, "")
    assert re.fullmatch(r"\d+ mails in 3 languages are good\n", good.stdout)
    listed = bizapictl("preview", *templates)
    assert listed.returncode == 0 and "appointment_reminder.2h" in listed.stdout
    german = bizapictl("preview", "invoice_sent", *templates, "--locale", "de", "--as", "text")
    assert german.returncode == 0 and german.stdout.startswith("Ihre Rechnung\n")
    page = bizapictl("preview", "invoice_sent", *templates, "--as", "html", "--primary", "#4caf50")
    assert page.stdout.startswith("<!doctype html>") and "#4caf50" in page.stdout


@pytest.mark.parametrize("status, arguments, words", [
    (3, ("no_such",), "no_such"), (2, ("invoice_sent", "--locale", "xx"), "xx"),
    (2, ("invoice_sent", "--timezone", "Mars/X"), "Mars/X"),
    (2, ("invoice_sent", "--scenario", "endless"), "--scenario"),
    (2, ("invoice_sent", "--as", "picture"), "--as"),
    (2, ("invoice_sent", "--accent", "red"), "#1a5fb4")])
def test_a_wrong_preview_is_told(status, arguments, words):
    result = bizapictl("preview", *arguments, "--templates", str(REPO / "conf/mail"))
    assert result.returncode == status and not result.stdout and words in result.stderr


def test_folders_that_are_not_there():
    for option in ("--templates", "--overrides"):
        result = bizapictl("lint", "--templates", str(REPO / "conf/mail"), option, "/nowhere")
        assert result.returncode == 1 and "/nowhere" in result.stderr
