/* mongo_loop.c: how many pairs of reads a second libmongoc gets from the database when nobody does
 * anything else with them: a session and a user by id, as GET /auth/me asks for.
 * `mongo_loop URI SECONDS THREADS SESSION USER` prints the rate. Run by `make bench`. */
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static mongoc_client_pool_t *pool;
static const char *ids[2];
static const char *const collections[2] = {"sessions", "users"};
static atomic_long done;
static atomic_int stop;

static void read_one(mongoc_client_t *client, const char *database, int which)
{
    mongoc_collection_t *collection =
        mongoc_client_get_collection(client, database, collections[which]);
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(ids[which]));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, filter, NULL, NULL);
    const bson_t *document;

    if (!mongoc_cursor_next(cursor, &document)) {
        fprintf(stderr, "mongo_loop: %s is not in %s\n", ids[which], collections[which]);
        exit(1);
    }
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    mongoc_collection_destroy(collection);
}

static void *work(void *database)
{
    while (!stop) {
        mongoc_client_t *client = mongoc_client_pool_pop(pool);

        read_one(client, database, 0);
        read_one(client, database, 1);
        mongoc_client_pool_push(pool, client);
        done++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc == 6 ? (int)strtol(argv[3], NULL, 10) : 0;
    pthread_t thread[64];
    mongoc_uri_t *uri;
    double seconds;

    if (threads < 1 || threads > 64) {
        fprintf(stderr, "usage: mongo_loop URI SECONDS THREADS SESSION USER\n");
        return 2;
    }
    mongoc_init();
    uri = mongoc_uri_new(argv[1]);
    pool = mongoc_client_pool_new(uri);
    ids[0] = argv[4];
    ids[1] = argv[5];
    seconds = strtod(argv[2], NULL);
    for (int i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, work, (void *)mongoc_uri_get_database(uri));
    usleep((useconds_t)(seconds * 1e6));
    printf("%.1f\n", (double)done / seconds);
    stop = 1;
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    return 0;
}
