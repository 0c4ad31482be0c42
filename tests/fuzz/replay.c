/* replay.c: the main of a fuzz target in `make test`: calls it once for each file of its corpus.
 * The corpus is one test, not as many as it has files: it counts for what it is. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "fuzz.h"

static char name[512]; /* of the file that is being read */

/* The input that kills is told before whatever else sees the signal. */
static void tell(int number)
{
    static const char in[] = "\nthe input is ";

    if (write(2, in, sizeof(in) - 1) < 0 || write(2, name, strlen(name)) < 0)
        _exit(2);
    signal(number, SIG_DFL);
    raise(number);
}

static uint8_t *contents(FILE *file, size_t *size)
{
    uint8_t *data = malloc(1 << 20), *exact;

    *size = fread(data, 1, 1 << 20, file);
    exact = malloc(*size ? *size : 1); /* so that a byte too far is outside of the block */
    memcpy(exact, data, *size);
    free(data);
    return exact;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void the_corpus_is_replayed(void **state)
{
    static const int deadly[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
    const char *repo = getenv("BIZ_REPO");
    struct dirent **entries;
    char folder[256];
    int count;

    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
        signal(deadly[i], tell);
    snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus/%s", repo ? repo : ".",
             program_invocation_short_name + strlen("test_"));
    count = scandir(folder, &entries, visible, alphasort);
    if (count <= 0)
        fail_msg("no corpus in %s", folder);
    for (int i = 0; i < count; i++) {
        FILE *file;
        uint8_t *data;
        size_t size;

        snprintf(name, sizeof(name), "%s/%s", folder, entries[i]->d_name);
        file = fopen(name, "rb");
        assert_non_null(file);
        data = contents(file, &size);
        fclose(file);
        assert_int_equal(LLVMFuzzerTestOneInput(data, size), 0);
        free(data);
        free(entries[i]);
    }
    free(entries);
    fprintf(stderr, "%d inputs\n", count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_corpus_is_replayed)};

    return cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
}
