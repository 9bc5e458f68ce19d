/* catalogue_schema.h - the tables of the catalogue, as a history of numbered migrations. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_SCHEMA_H
#define GODWIT_MGMT_SERVER_CATALOGUE_SCHEMA_H

#include "mgmt-server/catalogue/db.h"

extern const struct db_migration catalogue_schema[];
extern const size_t catalogue_schema_count;

#endif
