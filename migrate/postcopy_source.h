/* postcopy_source.h - the source side of QEMU's postcopy migration, played out of a snapshot: a desktop runs before its
 * memory has arrived.
 *
 * Order of messages (any other deadlocks or crashes some QEMU): header and configuration · OPEN_RETURN_PATH · PING ·
 * POSTCOPY_ADVISE · RAM SECTION_START verbatim · one RAM_DISCARD per block · PING · PACKAGED{LISTEN, device sections
 * without EOF and vmdesc, PING, RUN} · one SECTION_PART left open in which pages stream, requested ones first · EOS.
 * A page is never sent twice. Pages come from volume readers, several fetches in flight, demanded pages before
 * background ones. Source: QEMU 10.0 migration/postcopy-ram.c, migration/savevm.c; DESIGN section 7.
 */
#ifndef GODWIT_MIGRATE_POSTCOPY_SOURCE_H
#define GODWIT_MIGRATE_POSTCOPY_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "snapshot/chunk_io.h"
#include "snapshot/manifest.h"

struct postcopy_source_stats {
	atomic_uint_fast64_t pages_total, pages_sent, pages_zero;
	atomic_uint_fast64_t requests; /* page requests of the destination */
	atomic_uint_fast64_t bytes_sent;
	atomic_bool running; /* the package was loaded: the guest runs */
};

struct postcopy_source {
	const struct manifest
		*manifest; /* a MANIFEST_LIVE one: volumes qemu/head, qemu/tail, ram/NAME… */
	struct chunk_source source;
	int fd;                    /* connected to QEMU's migrate-incoming socket; not owned */
	bool recover;              /* QEMU is in postcopy-paused: ask what it has, send the rest */
	const atomic_bool *cancel; /* may be NULL */
	struct postcopy_source_stats *stats;
};

/**
 * postcopy_source_run(order, err):
 * Return 0 when every page was sent and QEMU said goodbye; -ECANCELED; -EPIPE when QEMU or its socket went away
 * (recoverable); -EBADMSG for a return path message that makes no sense; or -errno of fetching.
 */
int postcopy_source_run(const struct postcopy_source *order, struct err *err);

#endif
