/* password_list.h: the common passwords, built into the program so that the check needs no file. */
#ifndef BIZ_PASSWORD_LIST_H
#define BIZ_PASSWORD_LIST_H

#include <stddef.h>

/* 1 where `text` (lower case) is a line of conf/common-passwords.txt. */
int biz_password_list_has(const char *text, size_t len);

/* The list itself, for the tests: lines of lower-case text, sorted by byte, none twice. */
const char *biz_password_list(size_t *len);

#endif
