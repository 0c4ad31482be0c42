/* signals.c: when Apache may end a child. A stop ends a child that is not up yet, and on prefork
 * any child, from a signal handler: it clears the pools and calls exit(), whatever instruction it
 * came between. Inside of malloc() that is a damaged heap ("corrupted double-linked list"), a child
 * that waits for its own lock until it is killed, or a database closed in the middle of a write. So
 * the signals wait while there is more than pools to lose: they are late then, and never lost.
 *
 * A child's start: from before the user is looked up, which is where a child that never served
 * anybody was seen to die, to where Apache holds them back itself. Elsewhere: hooks and handler. */
#include "glue.h"

#include <signal.h>
#include <ap_mpm.h>

static int held_by_apache; /* by each thread of event and worker, all the time */

static void set(int how)
{
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(how, &ends, NULL);
}

int bizapi_start_begins(apr_pool_t *pchild, server_rec *main)
{
    set(SIG_BLOCK);
    return OK;
}

int bizapi_start_ends(apr_pool_t *pchild, server_rec *main)
{
    set(SIG_UNBLOCK);
    if (ap_mpm_query(AP_MPMQ_IS_THREADED, &held_by_apache) != APR_SUCCESS)
        held_by_apache = 1;
    return OK;
}

void bizapi_signals_hold(void)
{
    if (!held_by_apache)
        set(SIG_BLOCK);
}

void bizapi_signals_release(void)
{
    if (!held_by_apache)
        set(SIG_UNBLOCK);
}

int bizapi_signals_wait(void)
{
    sigset_t waiting;

    return !held_by_apache && sigpending(&waiting) == 0 &&
           (sigismember(&waiting, SIGTERM) || sigismember(&waiting, SIGHUP));
}
