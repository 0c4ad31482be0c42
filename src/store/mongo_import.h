/* mongo_import.h: looks at a MongoDB that is not a store of ours, or not yet one: the accounts of
 * another program, for `bizapictl import`, and whether a database is empty, before anything is made
 * in it. Only reads. Callers: src/cli. */
#ifndef BIZ_MONGO_IMPORT_H
#define BIZ_MONGO_IMPORT_H

#include <stdint.h>
#include <apr_errno.h>
#include <apr_pools.h>
#include <apr_time.h>

/* Paths as MongoDB writes them ("profile.email"). NULL: the usual names, of which a document's
 * first one counts that is not null. */
typedef struct {
    const char *email;    /* email */
    const char *password; /* password_hash, hashed_password, password */
    const char *name;     /* name, full_name, first_name and last_name */
    const char *phone;    /* phone, phone_number */
    const char *verified; /* email_verified, is_verified */
    const char *created;  /* created_at, createdAt */
    const char *role;     /* role */
} mongo_import_fields;

/* An account as it was found; nothing is checked but that texts are UTF-8 without NUL. */
typedef struct {
    const char *shown; /* what a report calls it: the address, or its _id; printable */
    const char *email; /* NULL: none, or not a text */
    const char *hash;  /* NULL: none. Perhaps a password in the clear: never shown */
    const char *name, *phone, *role;
    int verified;          /* 1, 0; -1: not said */
    int disabled;          /* `disabled` is true, or `is_active` is false */
    apr_time_t created_at; /* 0: not said */
} mongo_import_user;

typedef struct mongo_import mongo_import;

/* *why, in all of these, is English without secrets where the answer is not APR_SUCCESS. The URI
 * has to name its database. Released with `pool`. */
apr_status_t mongo_import_open(mongo_import **out, const char *uri, const char *collection,
                               const mongo_import_fields *fields, apr_pool_t *pool,
                               const char **why);
/* About how many there are. */
apr_status_t mongo_import_count(mongo_import *in, apr_pool_t *pool, int64_t *count,
                                const char **why);
/* In the order of _id. APR_EOF behind the last one. */
apr_status_t mongo_import_next(mongo_import *in, apr_pool_t *pool, mongo_import_user *user,
                               const char **why);

/* What is in the database of a store's URI. `store`: a program of ours has prepared it. `filled`:
 * one of the collections of schema.h has documents. Makes nothing. */
typedef struct {
    int store, filled;
} mongo_import_look;
apr_status_t mongo_import_peek(const char *uri, apr_pool_t *pool, mongo_import_look *look,
                               const char **why);

/* 1 where both URIs are of MongoDB and name the same database on a host that both have. */
int mongo_import_same(const char *uri, const char *other);

#endif
