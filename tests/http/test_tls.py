"""The journey through mod_ssl, over HTTP/1.1 and HTTP/2, and what only TLS shows."""
import pytest

from test_journey import whole_journey

SERVER = {"conf": "BizApiBusiness name \"Salon Nora\"\nBizApiFrontendURL https://portal.test/app",
          "https": True, "http2": True}


@pytest.mark.parametrize("http2", [False, True])
def test_the_whole_journey_over_tls(server, http2):
    api = server.api(https=True, http2=http2)
    whole_journey(server, api)
    answer = api.get("/integrations/status")
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert answer.status == 200


def test_the_limit_counts_all_protocols_together(server):
    """The same address over plain HTTP, TLS and HTTP/2 has one budget."""
    one = server.api()
    others = [server.api(ip=one.ip, https=True), server.api(ip=one.ip, https=True, http2=True)]
    statuses = []
    for i in range(12):
        client = [one, *others][i % 3]
        statuses.append(client.post("/auth/login", json={
            "email": "nobody@people.test", "password": "not-the-one-8"}).status)
    assert statuses == [401] * 10 + [429] * 2
