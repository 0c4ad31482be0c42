"""The mails as admins see them: the list, previews, and one to an address."""
import re

import pytest

from kit import Admin, Person, address, change, check_error, now_ms, rows

TEMPLATES = "/admin/email-templates"


@pytest.fixture(scope="module")
def admin(server):
    return Admin(server)


def call(admin, method, path, **more):
    return admin.api.request(method, path, token=admin.access, **more)


def preview(admin, name, **body):
    return call(admin, "POST", f"/admin/email-templates/{name}/preview", json=body)


def test_only_admins(server):
    for person in (Person(server), Admin(server, "staff")):
        check_error(call(person, "GET", TEMPLATES), 403, "FORBIDDEN")
        check_error(preview(person, "invoice_sent"), 403, "FORBIDDEN")
        check_error(call(person, "POST", "/admin/email-templates/invoice_sent/test",
                         json={"to": address()}), 403, "FORBIDDEN")
    check_error(server.api().get(TEMPLATES), 401, "UNAUTHENTICATED")


def test_the_list_goes_in_pages(admin):
    found, cursor = [], None
    while True:
        page = call(admin, "GET", TEMPLATES, params={"limit": 7, **({"cursor": cursor} if cursor
                                                                    else {})})
        found += page.data
        cursor = page.json["pagination"]["next_cursor"]
        assert page.json["pagination"]["has_more"] is (cursor is not None)
        if cursor is None:
            break
        assert len(page.data) == 7
    names = [t["name"] for t in found]
    assert names == sorted(set(names)) and len(names) >= 28
    assert {"booking_confirmation", "invoice_sent", "payment_received", "password_reset",
            "appointment_reminder.24h", "security_notice.new_device"} <= set(names)
    assert all(t["description"] and t["overridden"] is False for t in found)


def test_what_is_overridden_says_so(make_server, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "texts.de.ini").write_text("[invoice_sent]\ntitle = Mein Titel\n", encoding="utf-8")
    for path in (tmp_path.parent, tmp_path, own):
        path.chmod(0o755)
    server = make_server(conf=f"BizApiMailOverrides {own}\nBizApiBusiness currency chf")
    admin = Admin(server)
    found = call(admin, "GET", TEMPLATES, params={"limit": 100}).data
    assert [t["name"] for t in found if t["overridden"]] == ["invoice_sent"]
    assert ">Mein Titel<" in preview(admin, "invoice_sent", locale="de").data["html"]
    assert "Mein Titel" not in preview(admin, "invoice_sent").data["html"]


def test_previews(admin):
    short = preview(admin, "booking_confirmation").data
    assert short["subject"].startswith("Booking confirmed: 5 Oct, ")
    assert short["html"].startswith("<!doctype html>\n<html lang=\"en\" dir=\"ltr\"")
    assert "Ada Lovelace" in short["text"] and 40 <= len(short["preheader"]) <= 110
    arabic = preview(admin, "booking_confirmation", locale="ar-EG", scenario="hostile").data
    assert "<html lang=\"ar\" dir=\"rtl\"" in arabic["html"]
    assert "<img" not in arabic["html"] and "&lt;img src=x" in arabic["html"]
    assert preview(admin, "booking_confirmation", locale="fr").data == short
    with_data = preview(admin, "booking_confirmation",
                        data={"service": "Haircut & <b>more</b>", "staff": "Eve\nand Bob"}).data
    assert "Haircut &amp; &lt;b&gt;more&lt;/b&gt;" in with_data["html"]
    assert "Haircut & <b>more</b>" in with_data["text"]


@pytest.mark.parametrize("name, body, status, code, param", [
    ("no_such", {}, 404, "NOT_FOUND", None), ("security_notice", {}, 404, "NOT_FOUND", None),
    ("layout", {}, 404, "NOT_FOUND", None), ("security_notice.no_such", {}, 404, "NOT_FOUND", None),
    ("invoice_sent", {"scenario": "endless"}, 422, "VALIDATION_FAILED", "scenario"),
    ("invoice_sent", {"locale": "xx"}, 422, "VALIDATION_FAILED", "locale"),
    ("invoice_sent", {"data": {"no_such": "x"}}, 422, "VALIDATION_FAILED", "data"),
    ("invoice_sent", {"data": {"total": 7}}, 422, "VALIDATION_FAILED", "data"),
    ("invoice_sent", {"data": {"total": ""}}, 422, "VALIDATION_FAILED", "data"),
    ("invoice_sent", {"data": {"link_url": "javascript:x"}}, 422, "VALIDATION_FAILED", "data"),
    ("invoice_sent", {"data": {"about": "x" * 2001}}, 422, "VALIDATION_FAILED", "data"),
    ("invoice_sent", {"data": []}, 422, "VALIDATION_FAILED", "data"),
])
def test_what_cannot_be_previewed(admin, name, body, status, code, param):
    check_error(preview(admin, name, **body), status, code, param)


def test_one_to_an_address(server, admin):
    to = address("proof")
    answer = call(admin, "POST", "/admin/email-templates/booking_cancelled/test", json={"to": to,
                                                                             "locale": "de"})
    assert answer.status == 200 and answer.data == {"status": "queued"}
    mail = server.mail.wait(to)
    assert mail["Subject"].startswith("Termin abgesagt") and mail["To"] == to
    kinds = [p.get_content_type() for p in mail.walk()]
    assert "text/calendar" in kinds and "application/ics" in kinds
    assert re.fullmatch(r"<obx_\w+@.+>", mail["Message-ID"])
    # Twenty an hour to one address, and to each of the others.
    for number in range(20):
        answer = call(admin, "POST", "/admin/email-templates/invoice_sent/test", json={"to": to})
        assert answer.status == (200 if number < 19 else 429), number
    check_error(answer, 429, "RATE_LIMITED")
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert len(rows(server, "outbox", recipient=to)) == 20
    change(server, "outbox", {"recipient": to}, created_at=now_ms() - 3601 * 1000)
    assert call(admin, "POST", "/admin/email-templates/invoice_sent/test",
                json={"to": to}).status == 200
    check_error(call(admin, "POST", "/admin/email-templates/no_such/test", json={"to": to}), 404,
                "NOT_FOUND")
    check_error(call(admin, "POST", "/admin/email-templates/invoice_sent/test",
                     json={"to": "nobody"}), 422, "VALIDATION_FAILED", "to")
