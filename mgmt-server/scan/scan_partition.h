/* scan_partition.h - what is done with a partition, by what libblkid says it holds. */
#ifndef GODWIT_SCAN_SCAN_PARTITION_H
#define GODWIT_SCAN_SCAN_PARTITION_H

enum scan_way {
	SCAN_WAY_READER,     /* a program walks its files */
	SCAN_WAY_RAW,        /* no files by design: scanned as one content */
	SCAN_WAY_VM,         /* the kernel's drivers, in a virtual machine */
	SCAN_WAY_VM_GROUP,   /* the same, together with all others of its type on this volume */
	SCAN_WAY_ZEROS,      /* zeros, it seems: nothing but zeros is clean */
	SCAN_WAY_INCOMPLETE, /* nobody can say what is in it */
};

struct scan_partition_rule {
	const char *type;
	enum scan_way way;
	const char *detail; /* the reader's program, or the reason's first word */
	const char *driver; /* the kernel's, for what the reader cannot read; NULL: there is none */
};

/* type: libblkid's name, "" for unknown; table_type: GPT type GUID or MBR type. Never NULL. */
const struct scan_partition_rule *scan_partition_rule(const char *type, const char *table_type);

#endif
