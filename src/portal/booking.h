/* booking.h: one booking, for whom it is. */
#ifndef BIZ_BOOKING_H
#define BIZ_BOOKING_H

#include "core/biz.h"
#include "store/store.h"

/* The booking that the path names and its customer (NULL where that is gone), for staff or for the
 * user whom the customer is. NOT_FOUND for anybody else's as for none. */
biz_code booking_of(biz_req *req, biz_reply *reply, store_doc **booking, store_doc **customer);

#endif
