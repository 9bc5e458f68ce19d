/* ram_tables.h - the page tables of x86-64 in an image of physical memory: found without asking the guest, and walked.
 *
 * A root (what CR3 points to) is known by its shape: entries that are there point into memory, entries that are not are
 * zero, one half of it is a process and the other the kernel. So no state of a processor is needed, and every process
 * counts, not only those that were running. What only looks like a root costs time and nothing else.
 * All of this is the guest's: each table is walked at most once for each level, so loops end and the work is bounded.
 * 4 and 5 levels; pages of 4 KiB, 2 MiB and 1 GiB. Tables of 32-bit guests are not understood.
 * Source: Intel SDM volume 3, chapter 4.5; Linux arch/x86/mm/pgtable.c (what a PGD of a process holds).
 */
#ifndef GODWIT_SCAN_RAM_TABLES_H
#define GODWIT_SCAN_RAM_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

enum { RAM_TABLES_ENTRIES = 512, RAM_TABLES_PAGE = 4096, RAM_TABLES_LEVELS_MAX = 5 };

struct ram_tables_input {
	void *ctx;
	uint64_t size; /* of the physical address space, bytes */
	/* The page at @address, which is in [0, size). Return 0 or -errno. */
	int (*page)(void *ctx, uint64_t address, uint64_t entries[RAM_TABLES_ENTRIES]);
};

struct ram_tables;

int ram_tables_new(struct ram_tables **out, const struct ram_tables_input *input, struct err *err);
void ram_tables_free(struct ram_tables *tables);
DEFINE_CLEANUP(struct ram_tables *, ram_tables_free);

/* Could this page be a root, as far as it alone says? */
bool ram_tables_like_root(const uint64_t entries[RAM_TABLES_ENTRIES], uint64_t size);

/* Is the page at @root one, with what it points to? Return 4 or 5, its levels; 0: no; or -errno. */
int ram_tables_levels(const struct ram_tables *tables, uint64_t root);

/* @len bytes at @virtual are those at @physical, which may lie beyond the memory. Return 0 or -errno, which ends the walk. */
typedef int ram_tables_mapping(void *arg, uint64_t virtual, uint64_t physical, uint64_t len,
			       struct err *err);
/**
 * ram_tables_walk(tables, root, levels, fn, arg, err):
 * Every mapping of @root in ascending order, without those below a table that an earlier walk went through: what
 * processes share, the kernel above all, is reported once.
 *
 * Return 0, what @fn returned, or -errno of reading.
 */
int ram_tables_walk(struct ram_tables *tables, uint64_t root, int levels, ram_tables_mapping *fn,
		    void *arg, struct err *err);

#endif
