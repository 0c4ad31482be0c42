/* breached.h: whether a password is in a list of leaked ones that somebody else keeps. Off unless
 * BizApiBreachedPasswords names a server; see breached.c for what it is told. */
#ifndef BIZ_AUTH_BREACHED_H
#define BIZ_AUTH_BREACHED_H

#include "core/biz.h"

/* 1 where the list has it. 0 where it has not, where nobody is asked, and where no answer came
 * within 1.5 s: a sign-up never waits for the world. */
int breached_has(const biz_req *req, const char *password);

#endif
