/* smtp.c: how a mail is handed to a server (RFC 5321) over a connection that curl.c makes, with
 * MAIL, RCPT and DATA in one piece where the server offers PIPELINING (RFC 2920). Called by the
 * mail transport.
 *
 * A reply counts for a command only where nothing stood on the line before the command left: what
 * a server says unasked, or somebody in its place before TLS began (RFC 3207 section 6), answers
 * nothing. No text that is told holds an address or the password. */
#include "smtp.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "core/str.h"
#include "core/time.h"

enum {
    REPLY_MS = SMTP_REPLY_SECONDS * 1000,
    QUIT_MS = 300,     /* what a server's answer to QUIT is waited for */
    SLICE_MS = 200,    /* after which it is asked whether the process has to end */
    REPLY_LINES = 100, /* of one reply */
    ERROR_SHOWN = 200  /* bytes of a server's words */
};

static int64_t now_ms(void)
{
    return biz_steady_now() / 1000;
}

/* ---- what a server says ---- */

static int is_word(const char *text, size_t len, const char *word)
{
    size_t n = strlen(word);

    return len >= n && strncasecmp(text, word, n) == 0 && (len == n || text[n] == ' ');
}

void smtp_hear(smtp_hello *hello, const char *line, size_t len)
{
    int listed, starts_tls;

    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
        len--;
    listed = len >= 4 && memcmp(line, "250", 3) == 0;
    starts_tls = len >= 3 && memcmp(line, "220", 3) == 0;
    if (listed && hello->in_list) {
        hello->pipelining |= is_word(line + 4, len - 4, "PIPELINING");
        hello->size |= is_word(line + 4, len - 4, "SIZE");
    } else if (listed || starts_tls) {
        /* The server's name, and a new list; what was said before TLS does not hold in it. */
        hello->pipelining = hello->size = 0;
    }
    hello->in_list = listed && line[3] == '-';
    if (len > 0 && (line[0] == '4' || line[0] == '5'))
        apr_cpystrn(hello->refusal, line,
                    len < sizeof(hello->refusal) ? len + 1 : sizeof(hello->refusal));
}

static void end_line(smtp_reply *r)
{
    const char *line = r->line;
    long code = 0;

    if (r->len > 0 && line[r->len - 1] == '\r')
        r->len--;
    r->line[r->len] = '\0';
    r->state = SMTP_JUNK;
    if (line[0] < '2' || line[0] > '5' || !apr_isdigit(line[1]) || !apr_isdigit(line[2]) ||
        (line[3] != '\0' && line[3] != ' ' && line[3] != '-'))
        return;
    code = strtol(line, NULL, 10);
    if ((r->lines > 0 && code != r->code) || r->lines == REPLY_LINES)
        return;
    r->code = code;
    r->lines++;
    r->state = line[3] == '-' ? SMTP_MORE : SMTP_WHOLE;
    if (r->state == SMTP_MORE)
        r->len = 0;
}

size_t smtp_reply_take(smtp_reply *r, const char *data, size_t len)
{
    size_t i;

    for (i = 0; i < len && r->state == SMTP_MORE; i++) {
        if (data[i] == '\n') {
            end_line(r);
        } else if (r->len == SMTP_LINE_MAX || data[i] == '\0') {
            r->state = SMTP_JUNK;
        } else {
            r->line[r->len++] = data[i];
        }
    }
    return i;
}

/* ---- a session ---- */

struct net_smtp_session {
    const smtp_carrier *by;
    void *line;           /* or NULL */
    char *url;            /* where it leads; malloc, for as long as there is a line */
    int pipelining, size; /* what the server offers */
    int begun;            /* a mail, that was not taken: RSET comes first */
    char in[1024];        /* what came and was not read yet */
    size_t at, have;
};

/* One mail on its way, or QUIT. */
typedef struct {
    net_smtp_session *s;
    net_smtp_answer *answer;
    const char *why; /* the line is of no use any more; NULL while it is */
    int is_last;     /* the server closes the connection after this reply */
    int64_t end;     /* of it all; now_ms() */
} smtp_talk;

static int fail(smtp_talk *t, const char *why)
{
    t->why = why;
    return -1;
}

/* A slice of the time that is left. 0, or -1 and t->why. */
static int wait_for(smtp_talk *t, int to_send, int64_t by)
{
    int64_t left = (by < t->end ? by : t->end) - now_ms();

    if (left <= 0)
        return fail(t, to_send ? "the server does not read" : "the server did not answer in time");
    if (!t->s->by->wait(t->s->line, to_send, (long)(left < SLICE_MS ? left : SLICE_MS)))
        return fail(t, "this process has to end");
    return 0;
}

/* What the line has now: 1, 0 where that is nothing, or -1 and t->why. */
static int receive(smtp_talk *t)
{
    net_smtp_session *s = t->s;
    long n = s->by->receive(s->line, s->in, sizeof(s->in));

    if (n < 0)
        return fail(t, "the server closed the connection");
    s->at = 0;
    s->have = (size_t)n;
    return n > 0;
}

/* Sends all of it. 0, or -1 and t->why. */
static int say(smtp_talk *t, const char *data, size_t len)
{
    net_smtp_session *s = t->s;
    int64_t by = now_ms() + REPLY_MS;

    if (s->at < s->have || receive(t) > 0)
        return fail(t, "the server answered what it was not asked");
    while (!t->why && len > 0) {
        long n = s->by->send(s->line, data, len);

        if (n < 0) {
            fail(t, "the server closed the connection");
        } else if (n == 0) {
            wait_for(t, 1, by);
        } else {
            data += n;
            len -= (size_t)n;
            by = now_ms() + REPLY_MS;
        }
    }
    return t->why ? -1 : 0;
}

/* The next reply. 0, or -1 and t->why. */
static int hear(smtp_talk *t, smtp_reply *reply)
{
    net_smtp_session *s = t->s;
    int64_t by = now_ms() + REPLY_MS;

    memset(reply, 0, sizeof(*reply));
    while (!t->why && reply->state == SMTP_MORE) {
        if (s->at < s->have) {
            s->at += smtp_reply_take(reply, s->in + s->at, s->have - s->at);
        } else if (receive(t) == 0) {
            wait_for(t, 0, by);
        }
    }
    if (!t->why && reply->state == SMTP_JUNK)
        fail(t, "what the server says is no SMTP");
    if (t->why)
        return -1;
    t->answer->code = reply->code;
    t->is_last = reply->code == 421; /* RFC 5321 section 3.8 */
    return 0;
}

static void hang_up(net_smtp_session *s)
{
    if (s->line)
        s->by->close(s->line);
    free(s->url);
    s->line = s->url = NULL;
    s->at = s->have = 0;
    s->begun = 0;
}

/* Nobody is held up by a server that does not say goodbye. */
void net_smtp_rest(net_smtp_session *session)
{
    static const char quit[] = "QUIT\r\n";
    net_smtp_answer unused;
    smtp_talk t = {.s = session, .answer = &unused, .end = now_ms() + QUIT_MS};
    smtp_reply reply;

    if (session->line && say(&t, quit, sizeof(quit) - 1) == 0)
        hear(&t, &reply);
    hang_up(session);
}

static apr_status_t end_session(void *session)
{
    net_smtp_rest(session);
    return APR_SUCCESS;
}

net_smtp_session *net_smtp_open_by(apr_pool_t *pool, const smtp_carrier *carrier)
{
    net_smtp_session *session = apr_pcalloc(pool, sizeof(*session));

    session->by = carrier;
    apr_pool_cleanup_register(pool, session, end_session, apr_pool_cleanup_null);
    return session;
}

net_smtp_session *net_smtp_open(apr_pool_t *pool)
{
    return net_smtp_open_by(pool, &net_smtp_carrier);
}

/* ---- one mail ---- */

/* Nothing that ends a command or wants SMTPUTF8 (RFC 6531). */
static int is_address(const char *text)
{
    while (*text > ' ' && *text < 0x7f && *text != '<' && *text != '>')
        text++;
    return *text == '\0';
}

/* The message as it goes over the line: a dot at the beginning of a line is doubled (RFC 5321
 * section 4.5.2), a dot alone ends it. Each line ends in CRLF, whatever it ended in: a CR or LF
 * alone is a line's end to one server and not to the next, which is how a second mail is hidden in
 * a first. */
static const char *as_sent(apr_pool_t *pool, const char *message, size_t len, size_t *sent)
{
    char *text = apr_palloc(pool, 2 * len + 5), *to = text;
    int begins = 1; /* a line */

    for (size_t i = 0; i < len; i++) {
        if (begins && message[i] == '.')
            *to++ = '.';
        begins = message[i] == '\r' || message[i] == '\n';
        if (begins) {
            i += message[i] == '\r' && i + 1 < len && message[i + 1] == '\n';
            *to++ = '\r';
            *to++ = '\n';
        } else {
            *to++ = message[i];
        }
    }
    if (!begins) {
        *to++ = '\r';
        *to++ = '\n';
    }
    memcpy(to, ".\r\n", 3);
    *sent = (size_t)(to + 3 - text);
    return text;
}

/* The first refusal; those of the commands that stood behind it say nothing new. */
typedef struct {
    long code; /* 0 where there is none */
    char text[SMTP_LINE_MAX + 1];
} smtp_refusal;

static void refuse(smtp_refusal *refusal, const smtp_reply *reply)
{
    refusal->code = reply->code;
    apr_cpystrn(refusal->text, reply->line, sizeof(refusal->text));
}

/* MAIL, RCPT and DATA, after RSET where a mail was begun before. 1 where the server waits for the
 * message; else there is a refusal, or t->why, or both. */
static int offer(smtp_talk *t, apr_pool_t *pool, const net_smtp *mail, smtp_refusal *refusal)
{
    enum { RSET, MAIL, RCPT, DATA, COMMANDS };
    static const net_smtp_step steps[] = {NET_SMTP_HELLO, NET_SMTP_FROM, NET_SMTP_TO,
                                          NET_SMTP_DATA};
    net_smtp_session *s = t->s;
    const char *size = s->size ? apr_psprintf(pool, " SIZE=%" APR_SIZE_T_FMT, mail->len) : "";
    const char *commands[] = {s->begun ? "RSET\r\n" : "",
                              apr_pstrcat(pool, "MAIL FROM:<", mail->from, ">", size, "\r\n", NULL),
                              apr_pstrcat(pool, "RCPT TO:<", mail->to, ">\r\n", NULL), "DATA\r\n"};
    const char *group =
        apr_pstrcat(pool, commands[RSET], commands[MAIL], commands[RCPT], commands[DATA], NULL);
    int taken[COMMANDS] = {0}, first = s->begun ? RSET : MAIL;
    smtp_reply reply;

    t->answer->step = steps[first];
    s->begun = 1;
    if (s->pipelining && say(t, group, strlen(group)) != 0)
        return 0;
    for (int i = first; i < COMMANDS && !t->is_last; i++) {
        if (refusal->code == 0)
            t->answer->step = steps[i];
        if (!s->pipelining && (refusal->code || say(t, commands[i], strlen(commands[i])) != 0))
            return 0;
        if (hear(t, &reply) != 0)
            return 0;
        taken[i] = i == DATA ? reply.code == 354 : reply.code / 100 == 2;
        if (!taken[i] && (i == RSET || reply.code < 400)) {
            fail(t, "the server is out of step");
            return 0;
        }
        if (!taken[i] && refusal->code == 0)
            refuse(refusal, &reply);
    }
    if (refusal->code && taken[DATA]) {
        /* It waits for a message to nobody: a lone dot ends that (RFC 2920 section 3.1). Where it
         * took the recipient it would be a message. */
        if (taken[RCPT]) {
            fail(t, "the server is out of step");
        } else if (say(t, ".\r\n", 3) == 0) {
            hear(t, &reply);
        }
    }
    return refusal->code == 0;
}

static void hand_over(smtp_talk *t, apr_pool_t *pool, const net_smtp *mail, smtp_refusal *refusal)
{
    const char *text;
    smtp_reply reply;
    size_t len;

    if (!offer(t, pool, mail, refusal))
        return;
    text = as_sent(pool, mail->message, mail->len, &len);
    if (say(t, text, len) != 0)
        return;
    t->answer->step = NET_SMTP_END;
    if (hear(t, &reply) != 0)
        return;
    if (reply.code >= 400) {
        refuse(refusal, &reply);
    } else if (reply.code / 100 == 2) {
        t->s->begun = 0;
    } else {
        fail(t, "the server is out of step");
    }
}

/* For the log, with what the server said. */
static const char *told(apr_pool_t *pool, const smtp_place *place, const char *text, long code,
                        const char *said)
{
    if (said[0]) {
        text = apr_pstrcat(pool, text,
                           "; the server said: ", biz_printable(pool, said, ERROR_SHOWN), NULL);
    }
    if (place->password && place->password[0] && strstr(text, place->password))
        return apr_psprintf(pool, "refused with code %ld", code);
    return biz_without_addresses(pool, text);
}

/* A line to the server. 1, or 0 and *answer. */
static int dial(net_smtp_session *s, apr_pool_t *pool, const smtp_place *place,
                const net_smtp *mail, long left, net_smtp_answer *answer)
{
    smtp_hello hello = {0};

    s->line = s->by->connect(pool, place, mail->connect_ms < left ? mail->connect_ms : left, left,
                             &hello);
    answer->code = hello.code;
    if (s->line) {
        s->url = strdup(mail->url);
        s->pipelining = hello.pipelining;
        s->size = hello.size;
        return 1;
    }
    answer->outcome = hello.code >= 400 ? NET_DONE : NET_NOT_SENT;
    answer->no_tls = hello.no_tls;
    answer->reply = apr_pstrdup(pool, hello.refusal);
    answer->error =
        told(pool, place, hello.error, hello.code, hello.code >= 400 ? hello.refusal : "");
    return 0;
}

/* One try. */
static void try_once(net_smtp_session *s, apr_pool_t *pool, const smtp_place *place,
                     const net_smtp *mail, int64_t end, net_smtp_answer *answer)
{
    static const char *const refused[] = {"the server refused us", "the server refused the sender",
                                          "the server refused the recipient",
                                          "the server refused the mail",
                                          "the server refused the mail"};
    static const char *const places[] = {"RSET", "MAIL", "RCPT", "DATA", "the end of the mail"};
    smtp_talk t = {.s = s, .answer = answer, .end = end};
    smtp_refusal refusal = {0};

    memset(answer, 0, sizeof(*answer));
    answer->reply = "";
    if (!s->line && !dial(s, pool, place, mail, (long)(end - now_ms()), answer))
        return;
    hand_over(&t, pool, mail, &refusal);
    if (refusal.code) {
        answer->outcome = NET_DONE;
        answer->code = refusal.code;
        answer->reply = apr_pstrdup(pool, refusal.text);
        answer->error = told(pool, place, refused[answer->step], refusal.code, refusal.text);
    } else if (t.why) {
        answer->outcome = answer->step == NET_SMTP_END ? NET_UNKNOWN : NET_NOT_SENT;
        answer->error = apr_pstrcat(pool, t.why, ", at ", places[answer->step], NULL);
    } else {
        answer->outcome = NET_DONE;
    }
    if (t.why || t.is_last)
        hang_up(s);
}

void net_smtp_send(net_smtp_session *session, apr_pool_t *pool, const net_smtp *mail,
                   net_smtp_answer *answer)
{
    int64_t end = now_ms() + mail->total_ms;
    smtp_place place;
    int kept;

    memset(answer, 0, sizeof(*answer));
    answer->outcome = NET_NOT_SENT;
    answer->error = net_smtp_place(pool, mail->url, &place);
    if (answer->error)
        return;
    if (!is_address(mail->from) || !is_address(mail->to) || mail->connect_ms <= 0 ||
        mail->total_ms <= 0) {
        answer->error = "an address is not valid or a time-out is missing";
        return;
    }
    if (session->url && strcmp(session->url, mail->url) != 0)
        net_smtp_rest(session);
    kept = session->line != NULL;
    try_once(session, pool, &place, mail, end, answer);
    if (kept && answer->error && end > now_ms() &&
        (answer->outcome == NET_NOT_SENT || (answer->code == 421 && answer->step < NET_SMTP_END)))
        try_once(session, pool, &place, mail, end, answer);
}
