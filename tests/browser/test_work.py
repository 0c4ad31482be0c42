"""A page does the work that the server asks for in a flood, and its user only waits a moment."""
from kit import address

SERVER = {"pages": True, "conf": "BizApiProofOfWork on"}


def test_a_page_does_the_work(open_page, server):
    email = address()
    page = open_page("/reset-password.html")
    answers = []
    page.on("response", lambda r: answers.append((r.url.rpartition("/")[2], r.status))
            if "/api/" in r.url else None)
    page.fill("#email", email)
    page.click("#ask button")
    page.wait_for_selector("#state.good")
    assert answers == [("forgot-password", 428), ("work", 200), ("forgot-password", 200)]
