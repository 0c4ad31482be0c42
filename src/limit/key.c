/* key.c: what counts as one caller. A household or a server gets a whole /64 of IPv6 and could
 * otherwise change its address with every request; an IPv4 address has one owner at a time.
 * Called for each limited request: no memory, no lock. */
#include "limit.h"

#include <arpa/inet.h>
#include <string.h>

enum { PREFIX_BYTES = 8 };

static void set_v4(limit_addr *out, const void *bytes)
{
    memcpy(out->bytes, bytes, 4);
    out->len = 4;
}

static void set_v6(limit_addr *out, const struct in6_addr *a)
{
    if (IN6_IS_ADDR_V4MAPPED(a)) {
        set_v4(out, a->s6_addr + 12);
        return;
    }
    memcpy(out->bytes, a->s6_addr, PREFIX_BYTES);
    out->len = PREFIX_BYTES;
}

void limit_addr_of(const apr_sockaddr_t *sa, limit_addr *out)
{
    memset(out, 0, sizeof(*out));
    if (sa->family == APR_INET) {
        set_v4(out, &sa->sa.sin.sin_addr);
#if APR_HAVE_IPV6
    } else if (sa->family == APR_INET6) {
        set_v6(out, &sa->sa.sin6.sin6_addr);
#endif
    } /* any other family has no address: all its callers are one */
}

int limit_addr_parse(const char *text, limit_addr *out)
{
    char plain[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "%"); /* the zone says which wire, not who */
    struct in6_addr a6;
    struct in_addr a4;

    memset(out, 0, sizeof(*out));
    if (len >= sizeof(plain)) {
        return 0;
    }
    memcpy(plain, text, len);
    plain[len] = '\0';
    if (inet_pton(AF_INET6, plain, &a6) == 1) {
        set_v6(out, &a6);
        return text[len] == '\0' || text[len + 1] != '\0';
    }
    if (text[len] == '\0' && inet_pton(AF_INET, plain, &a4) == 1) {
        set_v4(out, &a4);
        return 1;
    }
    return 0;
}
