/* booking.c: see booking.h. Called by the portal's handlers. */
#include "booking.h"

#include <string.h>

/* A customer and a user belong together where one names the other, or where they have the same
 * address and the user has confirmed it. */
static int is_of(const store_doc *customer, const store_doc *user)
{
    const char *user_id = store_str(customer, CUSTOMER_USER_ID);
    const char *email = store_str(customer, CUSTOMER_EMAIL);

    if (user_id != NULL)
        return !strcmp(user_id, store_doc_id(user));
    return email != NULL && store_bool(user, USER_EMAIL_VERIFIED) &&
           !strcmp(email, store_str(user, USER_EMAIL));
}

static int is_staff(const store_doc *user)
{
    const char *role = store_str(user, USER_ROLE);

    return role != NULL && (!strcmp(role, "staff") || !strcmp(role, "admin"));
}

biz_code booking_of(biz_req *req, biz_reply *reply, store_doc **booking, store_doc **customer)
{
    store *s = req->env->store;
    const char *customer_id;
    apr_status_t status =
        store_get(s, req->pool, COLL_BOOKINGS, apr_table_get(req->params, "id"), booking);

    *customer = NULL;
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    customer_id = store_str(*booking, BOOKING_CUSTOMER_ID);
    if (customer_id != NULL) {
        status = store_get(s, req->pool, COLL_CUSTOMERS, customer_id, customer);
        if (status != APR_SUCCESS && status != STORE_ENOENT)
            return biz_fail_store(req, reply, status);
    }
    if (is_staff(req->user) || (*customer != NULL && is_of(*customer, req->user)))
        return BIZ_OK;
    return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
}
