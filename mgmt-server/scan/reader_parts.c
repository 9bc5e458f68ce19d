/* reader_parts.c - reports the partitions of a volume and what each holds; the first reader of every scan. */
#include <stdio.h>
#include <string.h>

#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/part_probe.h"
#include "mgmt-server/scan/reader.h"

int reader_walk(struct reader *reader, struct err *err)
{
	static struct part parts[PART_PROBE_MAX];
	size_t count;
	int r = part_probe(reader_volume(reader), reader_scratch(reader), parts, &count, err);

	for (size_t i = 0; r == 0 && i < count; i++) {
		struct reader_partition partition = {
			.number = parts[i].number,
			.offset = parts[i].offset,
			.length = parts[i].length,
			.type = parts[i].zero && !parts[i].type[0] ? "zero" : parts[i].type,
			.table_type = parts[i].table_type,
			.label = parts[i].label,
		};

		r = reader_partition(reader, &partition, err);
		if (r == 0 && parts[i].hides_table)
			r = reader_incomplete(
				reader,
				"it is a file system as a whole and has a partition table, too; "
				"partitions are not read",
				err);
	}
	return r;
}
