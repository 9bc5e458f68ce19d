/* reader_vm.c - takes in what the micro-VM says about file systems that only the kernel can read (vm_wire.h).
 *
 * Descriptor 3 is the VM's port here, not a volume. The frames come from a kernel that parsed hostile bytes.
 */
#include "common/io.h"
#include "mgmt-server/scan/reader.h"
#include "mgmt-server/scan/vm_stream.h"

static int read_port(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	return io_read_full(READER_INPUT_FD, buf, len);
}

int reader_walk(struct reader *reader, struct err *err)
{
	return vm_stream_take(&(struct vm_stream){ .read = read_port }, reader, err);
}
