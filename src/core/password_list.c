/* password_list.c: conf/common-passwords.txt inside the program, and the search in it. Called by
 * password.c. The file is data for the assembler: a table in C would take minutes to compile. */
#include "password_list.h"

#include <string.h>

/* Relative to the root of the tree, where make runs. */
#ifndef BIZ_PASSWORD_LIST_FILE
#define BIZ_PASSWORD_LIST_FILE "conf/common-passwords.txt"
#endif

__asm__(".pushsection .rodata\n"
        ".globl biz_password_list_start\n"
        ".hidden biz_password_list_start\n"
        "biz_password_list_start:\n"
        ".incbin \"" BIZ_PASSWORD_LIST_FILE "\"\n"
        ".globl biz_password_list_end\n"
        ".hidden biz_password_list_end\n"
        "biz_password_list_end:\n"
        ".byte 0\n"
        ".popsection\n");

extern const char biz_password_list_start[] __attribute__((visibility("hidden")));
extern const char biz_password_list_end[] __attribute__((visibility("hidden")));

const char *biz_password_list(size_t *len)
{
    *len = (size_t)(biz_password_list_end - biz_password_list_start);
    return biz_password_list_start;
}

/* Halves the range of bytes, each time stepping back to the start of the line in its middle. */
int biz_password_list_has(const char *text, size_t len)
{
    const char *low = biz_password_list_start;
    const char *high = biz_password_list_end;

    while (low < high) {
        const char *line = low + (high - low) / 2;
        const char *end;
        size_t n;
        int order;

        while (line > low && line[-1] != '\n') {
            line--;
        }
        end = memchr(line, '\n', (size_t)(high - line));
        if (!end) {
            end = high;
        }
        n = (size_t)(end - line);
        order = memcmp(text, line, len < n ? len : n);
        if (order == 0 && len == n) {
            return 1;
        }
        if (order < 0 || (order == 0 && len < n)) {
            high = line;
        } else {
            low = end < high ? end + 1 : high;
        }
    }
    return 0;
}
