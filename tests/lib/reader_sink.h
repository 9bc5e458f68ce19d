/* reader_sink.h - a reader's surroundings (reader.h, volume_channel.h) without processes: the volume is memory, and what
 * is reported is checked and counted. For fuzz targets; whoever uses it must not need the real volume_channel.
 */
#ifndef GODWIT_TESTS_READER_SINK_H
#define GODWIT_TESTS_READER_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "mgmt-server/scan/reader.h"

struct reader_sink {
	uint64_t files, data_bytes, incomplete, checksum;
};

/* One at a time. data_max: after so many bytes of content the reader is told that its parent is gone. */
struct reader *reader_sink_new(const uint8_t *volume, size_t size, uint64_t data_max);
/* What was reported. A reader that breaks the order of calls has aborted before. */
struct reader_sink reader_sink_end(struct reader *reader);

#endif
