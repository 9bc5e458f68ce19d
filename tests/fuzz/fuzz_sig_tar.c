/* A bundle of signatures comes from outside: its tar reader stays within the archive and within its limit. */
#include <assert.h>
#include <string.h>

#include "mgmt-server/scan/sig_files.h"
#include "mgmt-server/scan/sig_tar.h"

enum { MAX_BYTES = 1 << 20 };

struct input {
	const uint8_t *data;
	size_t len, at;
	uint64_t open, total; /* bytes that the file under way may still have; of all files */
};

static int take(void *arg, uint8_t *buf, size_t len)
{
	struct input *in = arg;
	size_t n = in->len - in->at < len ? in->len - in->at : len;

	memcpy(buf, in->data + in->at, n);
	in->at += n;
	return (int)n;
}

static int begin(void *arg, const char *name, uint64_t size, uint64_t modified_s, struct err *err)
{
	struct input *in = arg;

	(void)modified_s, (void)err;
	assert(strlen(name) < SIG_TAR_NAME_MAX && !strchr(name, '/'));
	in->open = size;
	in->total += size;
	assert(in->total <= MAX_BYTES);
	return sig_files_name_valid(name) ? 0 : SIG_TAR_SKIP;
}

static int data(void *arg, const uint8_t *buf, size_t len, struct err *err)
{
	struct input *in = arg;
	volatile uint8_t last = buf[len - 1]; /* ASan sees it */

	(void)last, (void)err;
	assert(len <= in->open);
	in->open -= len;
	return 0;
}

static int end(void *arg, struct err *err)
{
	(void)err;
	assert(((struct input *)arg)->open == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct input in = { .data = bytes, .len = len };
	struct sig_tar_order order = { take, begin, data, end, &in, MAX_BYTES };
	uint64_t version, built;
	struct err err = { 0 };

	sig_tar_read(&order, &err);
	sig_files_header((const char *)bytes, len, &version, &built);
	return 0;
}
