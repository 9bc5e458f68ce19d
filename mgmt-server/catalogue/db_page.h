/* db_page.h - what an SQLite file and its log look like on disk, as far as db_checksum needs it. */
#ifndef GODWIT_MGMT_SERVER_DB_PAGE_H
#define GODWIT_MGMT_SERVER_DB_PAGE_H

#include "mgmt-server/catalogue/db_checksum.h"

#include <stdint.h>

enum {
	DB_PAGE_LOG_HEADER = 32,
	DB_PAGE_FRAME_HEADER = 24,
	DB_PAGE_FRAME = DB_PAGE_FRAME_HEADER + DB_CHECKSUM_PAGE,
};

uint32_t db_page_crc(uint64_t number, const void *page, size_t len);
/* Write the reserved bytes of page @number (1, 2 …). */
void db_page_seal(uint64_t number, uint8_t page[DB_CHECKSUM_PAGE]);
/* A page of nothing but zeros is good: SQLite leaves such holes for pages that hold nothing. */
bool db_page_good(uint64_t number, const uint8_t page[DB_CHECKSUM_PAGE]);

#endif
