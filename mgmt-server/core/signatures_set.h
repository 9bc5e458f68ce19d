/* signatures_set.h - folders of signature files and the link that names the current one. Internal to signatures. */
#ifndef GODWIT_MGMT_SERVER_SIGNATURES_SET_H
#define GODWIT_MGMT_SERVER_SIGNATURES_SET_H

#include "common/err.h"

/* An empty folder of that name, whatever was there. */
int signatures_set_empty(const char *folder, struct err *err);
/* Every regular file of @from also into @to, by hard links. */
int signatures_set_link(const char *from, const char *to, struct err *err);
/* ROOT/sets/new becomes ROOT/sets/NAME and ROOT/current, durable; sets other than it and the one before go. */
int signatures_set_install(const char *root, const char *name, struct err *err);

#endif
