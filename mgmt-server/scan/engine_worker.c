#include "mgmt-server/scan/engine_worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/engine_canary.h"
#include "mgmt-server/scan/engine_wire.h"
#include "mgmt-server/scan/sandbox.h"

/* libclamav's defaults skip what is large or deep and call it clean. These are as wide as it goes; what is still beyond
 * them is reported (HEURISTIC_EXCEEDS_MAX), never passed over. */
static const struct {
	enum cl_engine_field field;
	long long value;
} settings[] = {
	{ CL_ENGINE_MAX_FILESIZE, (1LL << 31) - 3 },
	{ CL_ENGINE_MAX_SCANSIZE, 16LL << 30 },
	{ CL_ENGINE_MAX_FILES, 1000000 },
	{ CL_ENGINE_MAX_RECURSION, 40 },
	{ CL_ENGINE_MAX_SCANTIME, 10 * 60 * 1000 },
	{ CL_ENGINE_MAX_EMBEDDEDPE, 256 << 20 },
	{ CL_ENGINE_MAX_HTMLNORMALIZE, 256 << 20 },
	{ CL_ENGINE_MAX_HTMLNOTAGS, 64 << 20 },
	{ CL_ENGINE_MAX_SCRIPTNORMALIZE, 256 << 20 },
	{ CL_ENGINE_MAX_ZIPTYPERCG, 64 << 20 },
	{ CL_ENGINE_DISABLE_CACHE, 1 }, /* it goes by MD5; ours goes by SHA-256 */
};

enum { LOAD_CPU_SECONDS = 900 };

static const struct sandbox box = {
	.role = SANDBOX_ENGINE,
	.memory_max =
		16ULL
		<< 30, /* address space: signatures are shared with the parent, contents are mapped */
	.data_max = 6ULL << 30, /* the official signatures take 1.5 of them */
	.cpu_seconds = 24 * 3600,
	.temp_max = 4ULL << 30,
};

/* The message of the scan under way; libclamav's callback has no context of its own. */
static char engine_message[ENGINE_TEXT_MAX - 16];

static void keep_message(enum cl_msg severity, const char *full, const char *text, void *context)
{
	(void)full, (void)context;
	if (severity >= CL_MSG_ERROR && !engine_message[0])
		snprintf(engine_message, sizeof(engine_message), "%s", text);
}

int engine_worker_configure(struct cl_engine *engine, const char *temp_folder)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		if (cl_engine_set_num(engine, settings[i].field, settings[i].value) != CL_SUCCESS)
			return -EINVAL;
	}
	return cl_engine_set_str(engine, CL_ENGINE_TMPDIR, temp_folder) == CL_SUCCESS ? 0 : -EINVAL;
}

static cl_error_t scan(struct cl_engine *engine, const void *data, size_t len, uint32_t way,
		       const char **name)
{
	struct cl_scan_options options = {
		.general = CL_SCAN_GENERAL_HEURISTICS,
		.parse = way == ENGINE_MEMORY ? CL_SCAN_PARSE_PE | CL_SCAN_PARSE_ELF : ~0u,
		.heuristic = CL_SCAN_HEURISTIC_EXCEEDS_MAX | CL_SCAN_HEURISTIC_ENCRYPTED_ARCHIVE |
			     CL_SCAN_HEURISTIC_ENCRYPTED_DOC,
	};
	unsigned long scanned = 0;
	cl_fmap_t *map = cl_fmap_open_memory(data, len);
	cl_error_t e;

	*name = NULL;
	if (!map)
		return CL_EMEM;
	e = cl_scanmap_callback(map, NULL, name, &scanned, engine, &options, NULL);
	cl_fmap_close(map);
	return e;
}

static bool finds_canary(struct cl_engine *engine, const void *data, size_t len)
{
	const char *name;

	return scan(engine, data, len, ENGINE_FILE, &name) == CL_VIRUS && name &&
	       strstr(name, ENGINE_CANARY_NAME);
}

static uint32_t canaries(struct cl_engine *engine, const uint8_t *zip, size_t zip_len)
{
	return (finds_canary(engine, engine_canary_text, ENGINE_CANARY_LEN) ? ENGINE_CANARY_PLAIN
									    : 0u) |
	       (finds_canary(engine, zip, zip_len) ? ENGINE_CANARY_ARCHIVE : 0u);
}

/* libclamav reports what it did not look at as if it were a finding. */
static bool is_unfinished(const char *name)
{
	static const char *const prefixes[] = { "Heuristics.Limits.", "Heuristics.Encrypted." };

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return true;
	}
	return false;
}

static void judge(struct engine_reply *reply, cl_error_t e, const char *name)
{
	if (e == CL_VIRUS && name && !is_unfinished(name)) {
		reply->verdict = ENGINE_INFECTED;
		snprintf(reply->text, sizeof(reply->text), "%s", name);
	} else if (e == CL_VIRUS) {
		reply->verdict = ENGINE_UNFINISHED;
		snprintf(reply->text, sizeof(reply->text), "%s",
			 name ? name : "a finding without a name");
	} else if (e != CL_CLEAN) {
		reply->verdict = ENGINE_UNFINISHED;
		snprintf(reply->text, sizeof(reply->text), "engine: %s", cl_strerror(e));
	} else if (engine_message[0]) {
		reply->verdict = ENGINE_UNFINISHED;
		snprintf(reply->text, sizeof(reply->text), "engine: %s", engine_message);
	} else {
		reply->verdict = ENGINE_CLEAN;
	}
}

static int scan_content(struct cl_engine *engine, int content, const struct engine_request *request,
			struct engine_reply *reply)
{
	uint64_t size = request->size;
	const char *name = NULL;
	cl_error_t e;
	void *data;

	engine_message[0] = 0;
	data = mmap(NULL, size, PROT_READ, MAP_SHARED, content, 0);
	if (data == MAP_FAILED)
		return -errno;
	e = scan(engine, data, size, request->way, &name);
	judge(reply, e, name);
	munmap(data, size);
	return 0;
}

int engine_worker_confine(const char *temp_folder, const char *signatures, struct err *err)
{
	struct sandbox own = box;

	own.temp_folder = temp_folder;
	own.read_folder = signatures;
	own.cpu_seconds = LOAD_CPU_SECONDS;
	return sandbox_enter(&own, err);
}

bool engine_worker_sees(struct cl_engine *engine)
{
	uint8_t zip[ENGINE_CANARY_ZIP_MAX];
	size_t zip_len = engine_canary_zip(zip);

	return zip_len > 0 && canaries(engine, zip, zip_len) == ENGINE_CANARIES;
}

void engine_worker_run(struct cl_engine *engine, int fd, const char *temp_folder)
{
	struct sandbox own = box;
	uint8_t zip[ENGINE_CANARY_ZIP_MAX];
	size_t zip_len = engine_canary_zip(zip);
	struct err err = { 0 };

	own.temp_folder = temp_folder;
	cl_set_clcb_msg(keep_message);
	if (sandbox_enter(&own, &err) < 0) {
		dprintf(STDERR_FILENO, "godwit-scan-engine: %s\n", err_text(&err));
		_exit(2);
	}
	for (;;) {
		struct engine_request request;
		struct engine_reply reply = { 0 };
		CLEANUP_FD int content = -1;

		if (engine_wire_receive(fd, &request, sizeof(request), &content, -1) || content < 0)
			_exit(0);
		if (scan_content(engine, content, &request, &reply) < 0) {
			reply.verdict = ENGINE_UNFINISHED;
			snprintf(reply.text, sizeof(reply.text),
				 "the engine could not map the content");
		}
		/* After the content, so that they prove the state in which it was scanned. */
		reply.canaries = canaries(engine, zip, zip_len);
		if (engine_wire_send(fd, &reply, sizeof(reply), -1) < 0)
			_exit(0);
	}
}
