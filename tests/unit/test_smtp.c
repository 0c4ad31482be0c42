/* test_smtp.c: the dialog with a mail server (net/smtp.c) over a carrier that is made up: what
 * leaves in one piece, what each answer is taken for, and in which state the line is left. */
#include "core_test.h"

#include "fake_smtp.h"

#define HELLO "220 a\r\n250-a\r\n250 8BITMIME\r\n"
#define OFFERS "220 a\r\n250-a\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"
#define GROUP "MAIL FROM:<s@a.test> SIZE=7\r\nRCPT TO:<r@b.test>\r\nDATA\r\n"
#define TAKES "250 a\r\n250 b\r\n354 c\r\n"

static net_smtp_session *session;

static void begin(const char *hello, const turn *turns)
{
    if (session)
        net_smtp_rest(session);
    memset(&server, 0, sizeof(server));
    server.hello = hello;
    server.turns = turns;
    session = net_smtp_open_by(pool, &fake);
}

static int end(void **state)
{
    session = NULL;
    return core_teardown(state);
}

static net_smtp_answer send_text(const char *text)
{
    net_smtp mail = {.url = "smtp://user:secret@127.0.0.1:1",
                     .from = "s@a.test",
                     .to = "r@b.test",
                     .message = text,
                     .len = strlen(text),
                     .connect_ms = 100,
                     .total_ms = 150};
    net_smtp_answer answer;

    server.closed = 0;
    net_smtp_send(session, pool, &mail, &answer);
    if (answer.error && (strchr(answer.error, '@') || strstr(answer.error, "secret")))
        fail_msg("%s", answer.error);
    assert_true((answer.outcome == NET_DONE && answer.code < 400) == (answer.error == NULL));
    return answer;
}

static net_smtp_answer send_one(void)
{
    return send_text("A: b\r\nc");
}

static void expect(net_smtp_answer answer, net_outcome outcome, long code, net_smtp_step step)
{
    if (answer.outcome != outcome || answer.code != code || answer.step != step)
        fail_msg("outcome %d, code %ld, step %d, %s; heard: %s", answer.outcome, answer.code,
                 answer.step, answer.error, server.heard);
}

/* ---- what leaves in one piece ---- */

static void with_pipelining_the_commands_are_one_piece(void **state)
{
    static const turn turns[] = {{"DATA\r\n", TAKES},
                                 {"\r\n.\r\n", "250 taken\r\n"},
                                 {"DATA\r\n", TAKES},
                                 {"\r\n.\r\n", "250 taken\r\n"},
                                 {NULL, NULL}};

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    assert_string_equal(server.heard, GROUP "|A: b\r\nc\r\n.\r\n|");
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    net_smtp_rest(session);
    assert_string_equal(server.heard, GROUP "|A: b\r\nc\r\n.\r\n|" GROUP "|A: b\r\nc\r\n.\r\n|"
                                            "QUIT\r\n|");
    assert_int_equal(server.connects, 1);
    assert_int_equal(server.closed, 1);
}

static void without_it_each_waits_for_the_last_ones_answer(void **state)
{
    static const turn turns[] = {{"a.test>\r\n", "250 a\r\n"},
                                 {"b.test>\r\n", "251 b\r\n"},
                                 {"DATA\r\n", "354 c\r\n"},
                                 {"\r\n.\r\n", "250 taken\r\n"},
                                 {NULL, NULL}};

    begin(HELLO, turns);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    assert_string_equal(server.heard, "MAIL FROM:<s@a.test>\r\n|RCPT TO:<r@b.test>\r\n|DATA\r\n|"
                                      "A: b\r\nc\r\n.\r\n|");
}

static void only_the_last_list_of_extensions_holds(void **state)
{
    static const struct {
        const char *lines;
        int pipelining, size;
    } cases[] = {
        {OFFERS, 1, 1},
        {HELLO, 0, 0},
        {"250-PIPELINING\r\n250 SIZE\r\n", 0, 1}, /* the first line is a name */
        {"250 PIPELINING\r\n", 0, 0},
        {"250-a\r\n250 pipelining\n", 1, 0},
        {"250-a\r\n250-PIPELININGS\r\n250 XSIZE\r\n", 0, 0},
        {"250-a\r\n250-\r\n250\r\n250 PIPELINING\r\n", 0, 0},
        {OFFERS "220 go on\r\n", 0, 0}, /* said before TLS */
        {OFFERS "220 go on\r\n250-a\r\n250 SIZE\r\n", 0, 1},
        {OFFERS "334 \r\n235 welcome\r\n", 1, 1},
        {"502 what?\r\n250 a\r\n", 0, 0},
        {"", 0, 0},
        {"\r\n2\r\n", 0, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        smtp_hello hello = {0};

        for (const char *line = cases[i].lines; *line; line += strcspn(line, "\n") + 1)
            smtp_hear(&hello, line, strcspn(line, "\n") + 1);
        if (hello.pipelining != cases[i].pipelining || hello.size != cases[i].size)
            fail_msg("%zu: pipelining %d, size %d", i, hello.pipelining, hello.size);
    }
}

/* ---- the text ---- */

static void the_text_is_what_arrives(void **state)
{
    static const struct {
        const char *text, *sent;
    } cases[] = {
        {"a\r\n", "a\r\n.\r\n"},
        {"a", "a\r\n.\r\n"},
        {"", ".\r\n"},
        {".", "..\r\n.\r\n"},
        {".\r\n", "..\r\n.\r\n"},
        {"..a\r\n.b\r\n\r\n.\r\nc.\r\n", "...a\r\n..b\r\n\r\n..\r\nc.\r\n.\r\n"},
        /* No end that only one of two servers sees. */
        {"a\n.\nb\r.\rc", "a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n"},
        {"a\r\n.\nMAIL", "a\r\n..\r\nMAIL\r\n.\r\n"},
        {"a\r\r\n.", "a\r\n\r\n..\r\n.\r\n"},
        {"a\r", "a\r\n.\r\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t takes = 0; takes < 5; takes++) {
            const turn turns[] = {
                {"DATA\r\n", TAKES}, {cases[i].sent, "250 taken\r\n"}, {NULL, NULL}};
            const char *sent;

            begin(OFFERS, turns);
            server.takes = takes;
            server.gives = takes;
            expect(send_text(cases[i].text), NET_DONE, 250, NET_SMTP_END);
            sent = strchr(server.heard, '|') + 1;
            if (strncmp(sent, cases[i].sent, strlen(cases[i].sent)) != 0 ||
                strcmp(sent + strlen(cases[i].sent), "|") != 0)
                fail_msg("%zu, %zu bytes a call: %s", i, takes, sent);
        }
    }
}

/* ---- refusals ---- */

static void refusals_are_the_first_commands(void **state)
{
    static const struct {
        const char *answers;
        long code;
        net_smtp_step step;
        const char *reply;
    } cases[] = {
        {"553 no\r\n503 a\r\n503 b\r\n", 553, NET_SMTP_FROM, "553 no"},
        {"250 a\r\n550-5.1.1 none\r\n550 5.1.1 here\r\n503 b\r\n", 550, NET_SMTP_TO,
         "550 5.1.1 here"},
        {"250 a\r\n451 later\r\n554 b\r\n", 451, NET_SMTP_TO, "451 later"},
        {"250 a\r\n250 b\r\n554 c\r\n", 554, NET_SMTP_DATA, "554 c"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        /* The line serves the next mail, after RSET, in one piece with it. */
        const turn turns[] = {{"DATA\r\n", cases[i].answers},
                              {"RSET\r\n" GROUP, "250 r\r\n" TAKES},
                              {"\r\n.\r\n", "250 taken\r\n"},
                              {NULL, NULL}};
        net_smtp_answer answer;

        begin(OFFERS, turns);
        answer = send_one();
        expect(answer, NET_DONE, cases[i].code, cases[i].step);
        assert_string_equal(answer.reply, cases[i].reply);
        assert_string_equal(server.heard, GROUP "|");
        expect(send_one(), NET_DONE, 250, NET_SMTP_END);
        assert_string_equal(server.heard, GROUP "|RSET\r\n" GROUP "|A: b\r\nc\r\n.\r\n|");
        assert_int_equal(server.connects, 1);
    }
}

static void one_by_one_the_first_refusal_is_the_end(void **state)
{
    static const turn turns[] = {{"a.test>\r\n", "250 a\r\n"},
                                 {"b.test>\r\n", "550 <x@y.z> no\r\n"},
                                 {"RSET\r\n", "250 r\r\n"},
                                 {"a.test>\r\n", "452 full\r\n"},
                                 {NULL, NULL}};
    net_smtp_answer answer;

    begin(HELLO, turns);
    answer = send_one();
    expect(answer, NET_DONE, 550, NET_SMTP_TO);
    assert_string_equal(answer.error,
                        "the server refused the recipient; the server said: 550 [address] no");
    expect(send_one(), NET_DONE, 452, NET_SMTP_FROM);
    assert_string_equal(server.heard, "MAIL FROM:<s@a.test>\r\n|RCPT TO:<r@b.test>\r\n|RSET\r\n|"
                                      "MAIL FROM:<s@a.test>\r\n|");
    assert_int_equal(server.connects, 1);
}

/* RFC 2920 section 3.1 */
static void a_server_that_takes_a_text_to_nobody_gets_a_dot(void **state)
{
    static const turn turns[] = {{"DATA\r\n", "250 a\r\n550 none\r\n354 c\r\n"},
                                 {".\r\n", "554 nobody\r\n"},
                                 {"DATA\r\n", "250 r\r\n" TAKES},
                                 {"\r\n.\r\n", "250 taken\r\n"},
                                 {NULL, NULL}};

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 550, NET_SMTP_TO);
    assert_string_equal(server.heard, GROUP "|.\r\n|");
    assert_int_equal(server.closed, 0);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    assert_int_equal(server.connects, 1);
}

/* Where the recipient was taken, the dot would be an empty mail. */
static void it_gets_none_where_the_dot_would_be_a_mail(void **state)
{
    static const turn turns[] = {{"DATA\r\n", "553 no\r\n250 b\r\n354 c\r\n"}, {NULL, NULL}};

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 553, NET_SMTP_FROM);
    assert_string_equal(server.heard, GROUP "|");
    assert_int_equal(server.closed, 1);
}

static void a_refused_text_is_answered_for(void **state)
{
    static const turn turns[] = {
        {"DATA\r\n", TAKES}, {"\r\n.\r\n", "554 5.7.1 spam\r\n"}, {NULL, NULL}};

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 554, NET_SMTP_END);
    assert_int_equal(server.closed, 0);
}

static void a_login_that_is_refused_is_told_without_the_password(void **state)
{
    net_smtp_answer answer;

    begin("220 a\r\n250 a\r\n535 wrong: secret\r\n", NULL);
    answer = send_one();
    expect(answer, NET_DONE, 535, NET_SMTP_HELLO);
    assert_string_equal(answer.reply, "535 wrong: secret");
    assert_string_equal(answer.error, "refused with code 535");
    begin("220 a\r\n250 a\r\n535 no\r\n", NULL);
    assert_string_equal(send_one().error, "Login denied; the server said: 535 no");
}

/* ---- answers that are none ---- */

static const char *repeated(const char *text, int n)
{
    char *all = apr_palloc(pool, strlen(text) * (size_t)n + 1), *to = all;

    for (*all = '\0'; n > 0; n--)
        to = stpcpy(to, text);
    return all;
}

static void long_answers_are_read_and_endless_ones_are_not(void **state)
{
    const struct {
        const char *answer;
        int good;
    } cases[] = {
        {"250-a\r\n250-b\r\n250 c\r\n", 1},
        {"250\r\n", 1},
        {"250-\r\n250\r\n", 1},
        {"250 a\n", 1},
        {apr_pstrcat(pool, "250 ", repeated("x", 995), "\r\n", NULL), 1},
        {apr_pstrcat(pool, repeated("250-a\r\n", 99), "250 a\r\n", NULL), 1},
        {apr_pstrcat(pool, "250 ", repeated("x", 996), "\r\n", NULL), 0},
        {apr_pstrcat(pool, "250 ", repeated("x", 100000), NULL), 0},
        {apr_pstrcat(pool, repeated("250-a\r\n", 100), "250 a\r\n", NULL), 0},
        {"250-a\r\n354 b\r\n", 0},
        {"250-a\r\n251 b\r\n", 0},
        {"\r\n", 0},
        {"25\r\n", 0},
        {"2500 a\r\n", 0},
        {"250_a\r\n", 0},
        {"050 a\r\n", 0},
        {"150 a\r\n", 0},
        {"650 a\r\n", 0},
        {"2x0 a\r\n", 0},
        {" 250 a\r\n", 0},
        {"+OK\r\n", 0},
        {"HTTP/1.1 200 OK\r\n\r\n", 0},
        {"\x16\x03\x01\x02\r\n", 0},
        {"354 go on\r\n", 0}, /* to MAIL */
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const turn turns[] = {
            {"a.test>\r\n", cases[i].answer}, {"b.test>\r\n", "550 no\r\n"}, {NULL, NULL}};
        net_smtp_answer answer;

        begin(HELLO, turns);
        answer = send_one();
        if (cases[i].good != (answer.code == 550) || cases[i].good == server.closed)
            fail_msg("%zu: %s", i, answer.error);
        assert_int_equal(answer.outcome, cases[i].good ? NET_DONE : NET_NOT_SENT);
    }
}

static void a_nul_is_no_answer(void **state)
{
    smtp_reply reply = {0};

    assert_int_equal(smtp_reply_take(&reply, "250 \0 a\r\n", 9), 5);
    assert_int_equal(reply.state, SMTP_JUNK);
}

/* What stands on the line before a command leaves answers nothing. */
static void what_was_not_asked_answers_nothing(void **state)
{
    static const turn early[] = {{"DATA\r\n", TAKES "250 taken\r\n"}, {NULL, NULL}};
    static const turn late[] = {{"DATA\r\n", TAKES},
                                {"\r\n.\r\n", "250 taken\r\n250 more\r\n"},
                                {"DATA\r\n", TAKES},
                                {"\r\n.\r\n", "250 taken\r\n"},
                                {NULL, NULL}};
    net_smtp_answer answer;

    begin(OFFERS, early);
    server.unasked = "250 a\r\n250 b\r\n354 c\r\n250 taken\r\n";
    answer = send_one();
    expect(answer, NET_NOT_SENT, 250, NET_SMTP_FROM);
    assert_string_equal(answer.error, "the server answered what it was not asked, at MAIL");
    assert_string_equal(server.heard, "");
    assert_int_equal(server.closed, 1);

    expect(send_one(), NET_NOT_SENT, 354, NET_SMTP_DATA); /* "taken" came before the text */
    assert_string_equal(server.heard, GROUP "|");

    begin(OFFERS, late);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END); /* over a new connection */
    assert_int_equal(server.connects, 2);
}

/* ---- connections that end ---- */

static void a_connection_that_ends_tells_how_far_it_came(void **state)
{
    static const struct {
        const char *answers, *last;
        net_outcome outcome;
        long code;
        net_smtp_step step;
    } cases[] = {
        {GONE, "", NET_NOT_SENT, 250, NET_SMTP_FROM},
        {"250 a\r\n" GONE, "", NET_NOT_SENT, 250, NET_SMTP_TO},
        {"250 a\r\n250-b\r\n" GONE, "", NET_NOT_SENT, 250, NET_SMTP_TO},
        {"421 bye\r\n" GONE, "", NET_DONE, 421, NET_SMTP_FROM},
        {"421 bye\r\n250 b\r\n354 c\r\n", "", NET_DONE, 421, NET_SMTP_FROM},
        {"250 a\r\n421 bye\r\n" GONE, "", NET_DONE, 421, NET_SMTP_TO},
        {"550 no\r\n" GONE, "", NET_DONE, 550, NET_SMTP_FROM},
        {"250 a\r\n250 b\r\n250 c\r\n", "", NET_NOT_SENT, 250, NET_SMTP_DATA},
        {TAKES GONE, "", NET_NOT_SENT, 354, NET_SMTP_DATA},
        {TAKES, GONE, NET_UNKNOWN, 354, NET_SMTP_END},
        {TAKES, "250 tak" GONE, NET_UNKNOWN, 354, NET_SMTP_END},
        {TAKES, "junk\r\n", NET_UNKNOWN, 354, NET_SMTP_END},
        {TAKES, "354 again\r\n", NET_UNKNOWN, 354, NET_SMTP_END},
        {TAKES, "421 bye\r\n" GONE, NET_DONE, 421, NET_SMTP_END},
        {TAKES, "", NET_UNKNOWN, 354, NET_SMTP_END}, /* no answer */
        {"250 a\r\n", "", NET_NOT_SENT, 250, NET_SMTP_TO},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const turn turns[] = {
            {"DATA\r\n", cases[i].answers}, {"\r\n.\r\n", cases[i].last}, {NULL, NULL}};

        begin(OFFERS, turns);
        expect(send_one(), cases[i].outcome, cases[i].code, cases[i].step);
        assert_int_equal(server.closed, 1);
        assert_int_equal(server.connects, 1); /* it was a new one: nothing is tried again */
    }
}

static void a_kept_connection_that_has_gone_is_replaced_once(void **state)
{
    static const struct {
        const char *behind, *second; /* the first mail's answer; the second mail's group */
        int whole;                   /* the group leaves over the old line */
    } cases[] = {{GONE, NULL, 0},
                 {"421 timeout\r\n" GONE, NULL, 0},
                 {"", GONE, 1},
                 {"", "421 timeout\r\n" GONE, 1},
                 {"", "250 a\r\n421 timeout\r\n" GONE, 1},
                 {"", TAKES GONE, 1},
                 {"", "junk\r\n", 1}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *first = apr_pstrcat(pool, "250 taken\r\n", cases[i].behind, NULL);
        const turn turns[] = {
            {"DATA\r\n", TAKES},
            {"\r\n.\r\n", first},
            {"DATA\r\n", cases[i].whole ? cases[i].second : TAKES},
            {cases[i].whole ? "DATA\r\n" : "\r\n.\r\n", cases[i].whole ? TAKES : "250 taken\r\n"},
            {"\r\n.\r\n", "250 taken\r\n"},
            {NULL, NULL}};

        begin(OFFERS, turns);
        expect(send_one(), NET_DONE, 250, NET_SMTP_END);
        expect(send_one(), NET_DONE, 250, NET_SMTP_END);
        assert_int_equal(server.connects, 2);
        assert_int_equal(server.closed, 1);
    }
}

static void a_mail_that_was_handed_over_is_not_sent_again(void **state)
{
    static const char *const ends[] = {GONE, ("421 bye\r\n" GONE), "junk\r\n"};

    for (size_t i = 0; i < COUNT(ends); i++) {
        const turn turns[] = {{"DATA\r\n", TAKES}, {"\r\n.\r\n", "250 taken\r\n"},
                              {"DATA\r\n", TAKES}, {"\r\n.\r\n", ends[i]},
                              {"DATA\r\n", TAKES}, {"\r\n.\r\n", "250 taken\r\n"},
                              {NULL, NULL}};

        begin(OFFERS, turns);
        expect(send_one(), NET_DONE, 250, NET_SMTP_END);
        expect(send_one(), i == 1 ? NET_DONE : NET_UNKNOWN, i == 1 ? 421 : 354, NET_SMTP_END);
        assert_int_equal(server.connects, 1);
        expect(send_one(), NET_DONE, 250, NET_SMTP_END);
        assert_int_equal(server.connects, 2);
    }
}

/* Without its end a text is no mail, so that it may leave once more. */
static void a_line_that_breaks_within_the_text(void **state)
{
    static const turn turns[] = {
        {"DATA\r\n", TAKES}, {"\r\n.\r\n", "250 taken\r\n"}, {"DATA\r\n", TAKES},
        {"DATA\r\n", TAKES}, {"\r\n.\r\n", "250 taken\r\n"}, {NULL, NULL}};
    static const turn alone[] = {{"DATA\r\n", TAKES}, {NULL, NULL}};
    static const char text[] = "A: b\r\nc\r\n.\r\n";

    begin(OFFERS, alone);
    server.takes = 1;
    server.breaks = strlen(GROUP) + strlen(text); /* and the '|': one byte is missing */
    expect(send_one(), NET_NOT_SENT, 354, NET_SMTP_DATA);
    assert_string_equal(server.heard + strlen(GROUP), "|A: b\r\nc\r\n.\r");

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    server.takes = 4;
    server.breaks = server.len + strlen(GROUP) + 5;
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    assert_int_equal(server.connects, 2);
    assert_string_equal(server.heard,
                        GROUP "|A: b\r\nc\r\n.\r\n|" GROUP "|A: b" GROUP "|A: b\r\nc\r\n.\r\n|");
}

static void a_rset_that_is_refused_ends_the_connection(void **state)
{
    static const turn turns[] = {{"DATA\r\n", "553 no\r\n503 b\r\n503 c\r\n"},
                                 {"DATA\r\n", "502 what?\r\n" TAKES},
                                 {"DATA\r\n", TAKES},
                                 {"\r\n.\r\n", "250 taken\r\n"},
                                 {NULL, NULL}};

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 553, NET_SMTP_FROM);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    assert_int_equal(server.connects, 2);
    assert_string_equal(server.heard, GROUP "|RSET\r\n" GROUP "|" GROUP "|A: b\r\nc\r\n.\r\n|");
}

static void a_process_that_has_to_end_waits_for_nobody(void **state)
{
    static const turn turns[] = {{"DATA\r\n", "250 a\r\n"}, {NULL, NULL}};
    net_smtp_answer answer;

    begin(OFFERS, turns);
    server.ends = 1;
    answer = send_one();
    expect(answer, NET_NOT_SENT, 250, NET_SMTP_TO);
    assert_string_equal(answer.error, "this process has to end, at RCPT");
    assert_int_equal(server.waits, 1);
}

static void quit_holds_nothing_up(void **state)
{
    static const turn turns[] = {{"DATA\r\n", TAKES}, {"\r\n.\r\n", "250 taken\r\n"}, {NULL, NULL}};
    apr_time_t from;

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    server.stuck = 1;
    from = apr_time_now();
    net_smtp_rest(session);
    assert_in_range(apr_time_as_msec(apr_time_now() - from), 200, 2000);
    assert_int_equal(server.closed, 1);
    net_smtp_rest(session);
    assert_int_equal(server.closed, 1);
}

static void another_server_is_another_connection(void **state)
{
    static const turn turns[] = {{"DATA\r\n", TAKES},
                                 {"\r\n.\r\n", "250 taken\r\n"},
                                 {"DATA\r\n", TAKES},
                                 {"\r\n.\r\n", "250 taken\r\n"},
                                 {NULL, NULL}};
    net_smtp mail = {.url = "smtp://127.0.0.1:2",
                     .from = "s@a.test",
                     .to = "r@b.test",
                     .message = "a",
                     .len = 1,
                     .connect_ms = 100,
                     .total_ms = 100};
    net_smtp_answer answer;

    begin(OFFERS, turns);
    expect(send_one(), NET_DONE, 250, NET_SMTP_END);
    net_smtp_send(session, pool, &mail, &answer);
    expect(answer, NET_DONE, 250, NET_SMTP_END);
    assert_int_equal(server.connects, 2);
}

static void addresses_end_no_command(void **state)
{
    static const char *const bad[] = {"a@b>\r\nDATA", "a@b\n",      "a@b c",
                                      "<a@b>",        "\xc3\xa4@b", "a@b\x7f"};
    net_smtp mail = {
        .url = "smtp://127.0.0.1:2", .message = "a", .len = 1, .connect_ms = 100, .total_ms = 100};
    net_smtp_answer answer;

    begin(OFFERS, NULL);
    for (size_t i = 0; i < 2 * COUNT(bad); i++) {
        mail.from = i % 2 ? bad[i / 2] : "s@a.test";
        mail.to = i % 2 ? "r@b.test" : bad[i / 2];
        net_smtp_send(session, pool, &mail, &answer);
        expect(answer, NET_NOT_SENT, 0, NET_SMTP_HELLO);
        assert_non_null(answer.error);
    }
    assert_int_equal(server.connects, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, core_setup, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(with_pipelining_the_commands_are_one_piece),
        TEST(without_it_each_waits_for_the_last_ones_answer),
        TEST(only_the_last_list_of_extensions_holds),
        TEST(the_text_is_what_arrives),
        TEST(refusals_are_the_first_commands),
        TEST(one_by_one_the_first_refusal_is_the_end),
        TEST(a_server_that_takes_a_text_to_nobody_gets_a_dot),
        TEST(it_gets_none_where_the_dot_would_be_a_mail),
        TEST(a_refused_text_is_answered_for),
        TEST(a_login_that_is_refused_is_told_without_the_password),
        TEST(long_answers_are_read_and_endless_ones_are_not),
        TEST(a_nul_is_no_answer),
        TEST(what_was_not_asked_answers_nothing),
        TEST(a_connection_that_ends_tells_how_far_it_came),
        TEST(a_kept_connection_that_has_gone_is_replaced_once),
        TEST(a_mail_that_was_handed_over_is_not_sent_again),
        TEST(a_line_that_breaks_within_the_text),
        TEST(a_rset_that_is_refused_ends_the_connection),
        TEST(a_process_that_has_to_end_waits_for_nobody),
        TEST(quit_holds_nothing_up),
        TEST(another_server_is_another_connection),
        TEST(addresses_end_no_command),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
